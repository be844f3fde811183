"""Offer and answer, by the clauses of RFC 3264 and as phones play it."""

from __future__ import annotations

import pytest

from telcoflow_server.sip.agreement import Agreement, CodecDescription, LocalMedia
from telcoflow_server.sip.negotiation import Accepted, NotAcceptable, OfferAnswer, Refusal
from telcoflow_server.sip.sdp import Direction, Media, SdpError, SessionDescription, parse_sdp
from tests.server.sip.descriptions import PHONES

OPUS = CodecDescription("opus", 48000, 111, channels=2, fmtp="useinbandfec=1")
G722 = CodecDescription("G722", 8000, 9)
PCMU = CodecDescription("PCMU", 8000, 0)
PCMA = CodecDescription("PCMA", 8000, 8)

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
PCMU_OFFER = HEAD + "m=audio 4000 RTP/AVP 0\r\n"


def leg(*codecs: CodecDescription, address: str = "192.0.2.1", port: int = 5000) -> OfferAnswer:
    return OfferAnswer(LocalMedia(address, port, codecs or (PCMU, PCMA)), 1000)


def accepted(one: OfferAnswer, offer: str) -> Accepted:
    outcome = one.answer(offer)
    assert isinstance(outcome, Accepted), outcome
    return outcome


def audio_of(text: str) -> Media:
    return next(one for one in parse_sdp(text).media if one.kind == "audio" and one.port)


def version_of(text: str) -> int:
    origin = parse_sdp(text).origin
    assert origin is not None
    return int(origin.version)


def test_answer_is_a_whole_description() -> None:
    outcome = accepted(
        leg(), HEAD + "m=audio 4000 RTP/AVP 8 0 96\r\na=rtpmap:96 telephone-event/8000\r\n"
    )

    assert outcome.answer == (
        "v=0\r\no=- 1000 1000 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        "m=audio 5000 RTP/AVP 0 96\r\na=rtpmap:0 PCMU/8000\r\n"
        "a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )
    assert outcome.agreement == Agreement(
        codec=PCMU,
        pt=0,
        telephone_event_pt=96,
        telephone_event_clock_hz=8000,
        comfort_noise_pt=None,
        remote=("192.0.2.9", 4000),
        remote_rtcp=("192.0.2.9", 4001),
        direction=Direction.SENDRECV,
        ptime_ms=20,
        remote_fmtp=None,
    )


@pytest.mark.parametrize("codecs", [(PCMU, PCMA), (PCMA, PCMU)])
def test_our_preference_decides(codecs: tuple[CodecDescription, ...]) -> None:
    outcome = accepted(leg(*codecs), HEAD + "m=audio 4000 RTP/AVP 0 8\r\n")

    assert outcome.agreement.codec is codecs[0]


def test_payload_number_is_the_offers() -> None:
    offer = (
        HEAD + "m=audio 4000 RTP/AVP 107 0 101\r\na=rtpmap:107 OPUS/48000/2\r\n"
        "a=fmtp:107 stereo=0\r\na=rtpmap:101 telephone-event/8000\r\n"
    )

    outcome = accepted(leg(OPUS, PCMU), offer)

    assert (outcome.agreement.codec, outcome.agreement.pt) == (OPUS, 107)
    assert outcome.agreement.remote_fmtp == "stereo=0"
    assert audio_of(outcome.answer).formats == ("107", "101")
    assert "a=rtpmap:107 opus/48000/2\r\na=fmtp:107 useinbandfec=1\r\n" in outcome.answer


def test_opus_with_one_channel_is_no_opus() -> None:
    offer = HEAD + "m=audio 4000 RTP/AVP 107\r\na=rtpmap:107 opus/48000\r\n"

    assert leg(OPUS).answer(offer) == NotAcceptable(Refusal.NOTHING_COMMON)


def test_digits_at_the_clock_of_the_codec_are_preferred() -> None:
    outcome = accepted(leg(OPUS, PCMU), PHONES["linphone"])

    assert outcome.agreement.telephone_event_pt == 101
    assert outcome.agreement.telephone_event_clock_hz == 48000
    assert outcome.agreement.remote == ("2001:db8::5", 7078)
    assert outcome.agreement.remote_rtcp == ("2001:db8::5", 58124)
    assert parse_sdp(outcome.answer).connection == parse_sdp(leg().offer()).connection


def test_static_number_may_be_given_another_meaning() -> None:
    offer = HEAD + "m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 odd/8000\r\n"

    assert accepted(leg(), offer).agreement.codec is PCMA


def test_number_without_a_meaning_is_passed_over() -> None:
    outcome = accepted(leg(), HEAD + "m=audio 4000 RTP/AVP 96 0\r\n")

    assert outcome.agreement.pt == 0
    assert outcome.agreement.telephone_event_pt is None
    assert audio_of(outcome.answer).formats == ("0",)


def test_comfort_noise_is_noted_and_not_answered() -> None:
    outcome = accepted(leg(), HEAD + "m=audio 4000 RTP/AVP 0 13\r\n")

    assert outcome.agreement.comfort_noise_pt == 13
    assert audio_of(outcome.answer).formats == ("0",)


@pytest.mark.parametrize(
    ("offered", "answered", "held"),
    [
        ("sendrecv", "sendrecv", False),
        ("sendonly", "recvonly", True),
        ("recvonly", "sendonly", False),
        ("inactive", "inactive", True),
    ],
)
def test_direction_is_mirrored(offered: str, answered: str, held: bool) -> None:
    outcome = accepted(leg(), PCMU_OFFER + f"a={offered}\r\n")

    assert f"a={answered}\r\n" in outcome.answer
    assert outcome.agreement.direction.value == answered
    assert outcome.agreement.is_on_hold is held


@pytest.mark.parametrize("offered", ["sendrecv", "sendonly", "inactive", "recvonly"])
@pytest.mark.parametrize("connection", ["IN IP4 0.0.0.0", "IN IP6 ::"])
def test_unspecified_address_is_the_old_way_to_hold(offered: str, connection: str) -> None:
    offer = PCMU_OFFER + f"c={connection}\r\na={offered}\r\n"

    agreement = accepted(leg(), offer).agreement

    assert agreement.is_on_hold
    assert agreement.direction.receives == (offered in ("sendrecv", "sendonly"))


def test_streams_keep_their_order_and_the_others_are_refused() -> None:
    offer = HEAD + (
        "m=video 4100 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\nm=audio 0 RTP/AVP 8\r\n"
        "m=audio 4000 RTP/AVP 0\r\nm=audio 4200 RTP/AVP 0\r\nm=image 4300 udptl t38\r\n"
    )

    lines = [(one.kind, one.port) for one in parse_sdp(accepted(leg(), offer).answer).media]

    assert lines == [("video", 0), ("audio", 0), ("audio", 5000), ("audio", 0), ("image", 0)]


def test_clear_stream_beside_an_encrypted_one_is_taken() -> None:
    offer = HEAD + "m=audio 4000 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 0\r\n"

    outcome = accepted(leg(), offer)

    assert [(one.protocol, one.port) for one in parse_sdp(outcome.answer).media] == [
        ("RTP/SAVP", 0),
        ("RTP/AVP", 5000),
    ]


def test_feedback_profile_is_answered_in_kind() -> None:
    outcome = accepted(leg(), HEAD + "m=audio 4000 RTP/AVPF 0\r\n")

    assert audio_of(outcome.answer).protocol == "RTP/AVPF"


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (HEAD, Refusal.NO_AUDIO),
        (HEAD + "m=audio 0 RTP/AVP 0\r\n", Refusal.NO_AUDIO),
        (HEAD + "m=video 4000 RTP/AVP 31\r\n", Refusal.NO_AUDIO),
        ("v=0\r\nm=audio 4000 RTP/AVP 0\r\n", Refusal.NO_AUDIO),
        (PHONES["SRTP phone"], Refusal.ENCRYPTED),
        (PHONES["browser"], Refusal.ENCRYPTED),
        (HEAD + "m=audio 4000 RTP/SAVP 18\r\nm=audio 4002 RTP/AVP 18\r\n", Refusal.ENCRYPTED),
        (HEAD + "m=audio 4000 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n", Refusal.NOTHING_COMMON),
        (HEAD + "m=audio 4000 RTP/AVP x\r\n", Refusal.NOTHING_COMMON),
    ],
)
def test_nothing_to_agree_on_is_not_acceptable(offer: str, reason: Refusal) -> None:
    one = leg()

    outcome = one.answer(offer)

    assert outcome == NotAcceptable(reason)
    assert isinstance(outcome, NotAcceptable)
    assert outcome.status == 488
    assert one.agreement is None


def test_refused_offer_leaves_what_holds() -> None:
    one = leg()
    before = accepted(one, PCMU_OFFER).agreement

    assert isinstance(one.answer(PHONES["SRTP phone"]), NotAcceptable)
    with pytest.raises(SdpError):
        one.answer("v=7\r\n")

    assert one.agreement == before


@pytest.mark.parametrize(
    ("lines", "ptime_ms"),
    [
        ("", 20),
        ("a=ptime:30\r\n", 30),
        ("a=ptime:20\r\na=maxptime:10\r\n", 10),
        ("a=ptime:5\r\n", 10),
        ("a=ptime:0\r\n", 20),
        ("a=ptime:45\r\n", 40),
        ("a=ptime:200\r\n", 60),
        ("a=maxptime:150\r\n", 20),
    ],
)
def test_packet_time_follows_the_far_end(lines: str, ptime_ms: int) -> None:
    outcome = accepted(leg(), PCMU_OFFER + lines)

    assert outcome.agreement.ptime_ms == ptime_ms
    assert audio_of(outcome.answer).number("ptime") == ptime_ms


@pytest.mark.parametrize(
    ("line", "rtcp"),
    [
        ("a=rtcp:5555", ("192.0.2.9", 5555)),
        ("a=rtcp:5555 IN IP4 192.0.2.77", ("192.0.2.77", 5555)),
        ("a=rtcp:", ("192.0.2.9", 4001)),
        ("a=rtcp:99999", ("192.0.2.9", 4001)),
        ("a=rtcp:x", ("192.0.2.9", 4001)),
    ],
)
def test_rtcp_goes_where_the_far_end_says(line: str, rtcp: tuple[str, int]) -> None:
    assert accepted(leg(), PCMU_OFFER + line + "\r\n").agreement.remote_rtcp == rtcp


def test_our_rtcp_port_is_told_unless_it_is_the_next_one() -> None:
    beside = OfferAnswer(LocalMedia("192.0.2.1", 5000, (PCMU,), rtcp_port=5001), 1)
    elsewhere = OfferAnswer(LocalMedia("192.0.2.1", 5000, (PCMU,), rtcp_port=6001), 1)

    assert "a=rtcp:" not in beside.offer()
    assert "a=rtcp:6001\r\n" in elsewhere.offer()


def test_offer_lists_all_codecs_and_digits() -> None:
    audio = audio_of(leg(OPUS, G722, PCMU, address="2001:db8::1").offer())

    assert audio.formats == ("111", "9", "0", "101")
    assert audio.protocol == "RTP/AVP"


def test_offer_of_either_family() -> None:
    assert "c=IN IP6 2001:db8::1\r\n" in leg(address="2001:db8::1").offer()
    assert "c=IN IP4 192.0.2.1\r\n" in leg().offer()


def test_late_offer_is_answered() -> None:
    one = leg(OPUS, PCMU, PCMA)
    one.offer()

    agreement = one.take_answer(
        HEAD + "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )

    assert isinstance(agreement, Agreement)
    assert (agreement.codec, agreement.pt, agreement.telephone_event_pt) == (PCMA, 8, 101)
    assert one.agreement == agreement


def test_second_answer_to_one_offer_replaces_the_first() -> None:
    one = leg()
    one.offer()
    one.take_answer(PCMU_OFFER)

    again = one.take_answer(PCMU_OFFER.replace("4000", "4500"))

    assert isinstance(again, Agreement)
    assert again.remote == ("192.0.2.9", 4500)


@pytest.mark.parametrize("has_answered", [False, True])
def test_answer_without_an_offer_is_a_mistake(has_answered: bool) -> None:
    one = leg()
    if has_answered:
        one.answer(PCMU_OFFER)

    with pytest.raises(ValueError, match="open offer"):
        one.take_answer(PCMU_OFFER)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HEAD + "m=audio 0 RTP/AVP 0\r\n", Refusal.NO_AUDIO),
        (HEAD + "m=audio 4000 RTP/AVP 18\r\n", Refusal.NOTHING_COMMON),
        (HEAD + "m=audio 0 RTP/AVP 0\r\nm=audio 4000 RTP/AVP 0\r\n", Refusal.NO_AUDIO),
    ],
)
def test_answer_may_refuse(answer: str, reason: Refusal) -> None:
    one = leg()
    one.offer()

    assert one.take_answer(answer) == NotAcceptable(reason)
    assert one.agreement is None


@pytest.mark.parametrize(
    ("offered", "answered", "ours"),
    [
        (Direction.SENDRECV, "recvonly", Direction.SENDONLY),
        (Direction.SENDONLY, "sendrecv", Direction.SENDONLY),
        (Direction.SENDONLY, "recvonly", Direction.SENDONLY),
        (Direction.INACTIVE, "sendrecv", Direction.INACTIVE),
        (Direction.RECVONLY, "sendonly", Direction.RECVONLY),
    ],
)
def test_answer_cannot_add_to_the_direction_offered(
    offered: Direction, answered: str, ours: Direction
) -> None:
    one = leg()
    one.offer(offered)

    agreement = one.take_answer(PCMU_OFFER + f"a={answered}\r\n")

    assert isinstance(agreement, Agreement)
    assert agreement.direction is ours


def test_version_grows_with_the_description_and_only_then() -> None:
    one = leg()

    first = accepted(one, PCMU_OFFER).answer
    same = accepted(one, PCMU_OFFER).answer
    held = accepted(one, PCMU_OFFER + "a=sendonly\r\n").answer
    resumed = accepted(one, PCMU_OFFER).answer

    assert same == first
    assert [version_of(text) for text in (first, held, resumed)] == [1000, 1001, 1002]


def test_moving_changes_the_next_description() -> None:
    one = leg()
    accepted(one, PCMU_OFFER)

    one.move(LocalMedia("192.0.2.1", 5100, (PCMU,)))
    moved = accepted(one, PCMU_OFFER).answer

    assert audio_of(moved).port == 5100
    assert version_of(moved) == 1001


def test_our_later_offer_keeps_streams_and_numbers() -> None:
    one = leg(OPUS, PCMU)
    offer = HEAD + (
        "m=video 4100 RTP/AVP 99\r\nm=audio 4000 RTP/AVPF 107 0 111\r\n"
        "a=rtpmap:107 opus/48000/2\r\na=rtpmap:111 telephone-event/8000\r\n"
    )
    accepted(one, offer)

    video, audio = parse_sdp(one.offer(Direction.SENDONLY)).media

    assert (video.kind, video.port) == ("video", 0)
    assert (audio.protocol, audio.formats) == ("RTP/AVPF", ("107", "0", "111"))
    assert SessionDescription(None, None, (audio,)).direction_of(audio) is Direction.SENDONLY


def test_number_the_far_end_has_given_another_meaning_is_not_used() -> None:
    one = leg(PCMU, OPUS)
    accepted(
        one,
        HEAD + "m=audio 4000 RTP/AVP 0 111 101\r\n"
        "a=rtpmap:111 telephone-event/8000\r\na=rtpmap:101 speex/8000\r\n",
    )

    assert audio_of(one.offer()).formats == ("0", "96", "111")


def test_number_whose_meaning_the_far_end_changes_is_given_up() -> None:
    one = leg(PCMU, OPUS)
    accepted(one, HEAD + "m=audio 4000 RTP/AVP 0 96\r\na=rtpmap:96 opus/48000/2\r\n")
    accepted(one, HEAD + "m=audio 4000 RTP/AVP 0 96\r\na=rtpmap:96 telephone-event/8000\r\n")

    assert audio_of(one.offer()).formats == ("0", "111", "96")


def test_all_numbers_taken_leaves_us_our_own() -> None:
    one = leg(PCMU, OPUS)
    maps = "".join(f"a=rtpmap:{pt} x{pt}/8000\r\n" for pt in range(96, 128))
    formats = " ".join(str(pt) for pt in range(96, 128))
    accepted(one, HEAD + f"m=audio 4000 RTP/AVP 0 {formats}\r\n{maps}")

    assert audio_of(one.offer()).formats == ("0", "111", "101")


def test_withdrawn_offer_cannot_be_answered() -> None:
    one = leg()
    before = accepted(one, PCMU_OFFER).agreement
    one.offer(Direction.SENDONLY)

    one.withdraw_offer()

    assert one.agreement == before
    with pytest.raises(ValueError, match="open offer"):
        one.take_answer(PCMU_OFFER)


def test_re_offer_may_change_codec_and_address() -> None:
    one = leg(PCMU, PCMA)
    accepted(one, PCMU_OFFER)

    agreement = accepted(one, "v=0\r\nc=IN IP4 192.0.2.50\r\nm=audio 4444 RTP/AVP 8\r\n").agreement

    assert (agreement.codec, agreement.remote) == (PCMA, ("192.0.2.50", 4444))


@pytest.mark.parametrize("phone", sorted(PHONES))
def test_offers_of_phones_lead_somewhere(phone: str) -> None:
    outcome = leg(OPUS, G722, PCMU, PCMA).answer(PHONES[phone])

    encrypted = phone in ("SRTP phone", "browser")
    assert isinstance(outcome, NotAcceptable) is encrypted


def test_hold_and_resume_as_a_softphone_does_it() -> None:
    one = leg()
    accepted(one, PHONES["baresip"])

    held = accepted(one, PHONES["baresip"].replace("a=sendrecv", "a=sendonly"))
    resumed = accepted(one, PHONES["baresip"])

    assert held.agreement.is_on_hold
    assert "a=recvonly\r\n" in held.answer
    assert not resumed.agreement.is_on_hold
