"""Session descriptions as phones send them, and as none should."""

from __future__ import annotations

import pytest

from telcoflow_server.sip.sdp import (
    MAX_CHARACTERS,
    MAX_MEDIA,
    Attribute,
    Connection,
    Direction,
    Origin,
    RtpMap,
    SdpError,
    build_sdp,
    parse_sdp,
)
from tests.server.sip.descriptions import PHONES

SIMPLE = (
    "v=0\r\no=- 7 8 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
)


def test_description_is_read_line_by_line() -> None:
    description = parse_sdp(SIMPLE)

    assert description.origin == Origin("-", "7", "8", Connection("IP4", "192.0.2.1"))
    (audio,) = description.media
    assert (audio.kind, audio.port, audio.protocol) == ("audio", 4000, "RTP/AVP")
    assert audio.formats == ("0", "101")
    assert audio.payload_types == (0, 101)
    assert audio.rtp_maps()[101] == RtpMap(101, "telephone-event", 8000)
    assert audio.format_parameters(101) == "0-16"
    assert audio.format_parameters(0) is None
    assert audio.number("ptime") == 20
    assert description.connection_of(audio) == Connection("IP4", "192.0.2.1")
    assert description.direction_of(audio) is Direction.SENDRECV


def test_what_was_read_is_written_as_it_stood() -> None:
    assert build_sdp(parse_sdp(SIMPLE)) == SIMPLE


@pytest.mark.parametrize("phone", sorted(PHONES))
def test_descriptions_of_phones_survive_reading_and_writing(phone: str) -> None:
    description = parse_sdp(PHONES[phone])

    assert description.media
    assert parse_sdp(build_sdp(description)) == description


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n", " \r\n", "\r\n\r\n"])
def test_lines_may_end_as_they_like(ending: str) -> None:
    assert parse_sdp(SIMPLE.replace("\r\n", ending)) == parse_sdp(SIMPLE)


def test_description_without_media_is_readable() -> None:
    assert parse_sdp("v=0\r\n").media == ()
    assert parse_sdp("").origin is None


def test_missing_origin_is_written_as_an_empty_one() -> None:
    assert "o=- 0 0 IN IP4 127.0.0.1\r\n" in build_sdp(parse_sdp("m=audio 1 RTP/AVP 0\r\n"))


def test_user_name_of_an_origin_may_have_blanks() -> None:
    origin = parse_sdp("o=Desk Phone 3 4 IN IP6 2001:db8::1\r\n").origin

    assert origin == Origin("Desk Phone", "3", "4", Connection("IP6", "2001:db8::1"))


def test_only_the_first_origin_and_connection_count() -> None:
    description = parse_sdp(
        "o=- 1 1 IN IP4 192.0.2.1\r\no=- 2 2 IN IP4 192.0.2.2\r\n"
        "c=IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.2\r\n"
        "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127/3\r\nc=IN IP4 192.0.2.4\r\n"
    )

    assert description.origin is not None
    assert description.origin.version == "1"
    assert description.connection == Connection("IP4", "192.0.2.1")
    assert description.connection_of(description.media[0]) == Connection("IP4", "224.2.1.1")


@pytest.mark.parametrize("direction", list(Direction))
def test_direction_of_a_medium_comes_before_that_of_the_session(direction: Direction) -> None:
    session = parse_sdp(f"a={direction.value}\r\nm=audio 1 RTP/AVP 0\r\n")
    media = parse_sdp(f"a=sendrecv\r\nm=audio 1 RTP/AVP 0\r\na=mid:0\r\na={direction.value}\r\n")

    assert session.direction_of(session.media[0]) is direction
    assert media.direction_of(media.media[0]) is direction


def test_mirrored_directions() -> None:
    assert [one.mirrored for one in Direction] == [
        Direction.SENDRECV,
        Direction.RECVONLY,
        Direction.SENDONLY,
        Direction.INACTIVE,
    ]


def test_unspecified_addresses_of_both_families() -> None:
    assert Connection.to("0.0.0.0").is_unspecified
    assert Connection.to("::").is_unspecified
    assert not Connection.to("2001:db8::1").is_unspecified
    assert Connection.to("2001:db8::1").family == "IP6"


def test_map_that_cannot_be_read_is_like_none() -> None:
    (audio,) = parse_sdp(
        "m=audio 1 RTP/AVP 96 97 98 99 telephone 200\r\n"
        "a=rtpmap:96 opus/48000/2\r\na=rtpmap:96 other/8000\r\na=rtpmap:97 L16\r\n"
        "a=rtpmap:98 X/0\r\na=rtpmap:200 Y/8000\r\na=rtpmap\r\n"
    ).media

    assert audio.rtp_maps() == {96: RtpMap(96, "opus", 48000, 2)}
    assert audio.payload_types == (96, 97, 98, 99)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("a=ptime:20", 20),
        ("a=ptime:20.0", 20),
        ("a=ptime: 30 ", 30),
        ("a=ptime:", None),
        ("a=ptime", None),
        ("a=ptime:-20", None),
        ("a=ptime:99999999999", None),
        ("a=ptime:\u0662\u0660", None),
        ("a=ptime:x\r\na=ptime:40", 40),
    ],
)
def test_numbers_of_attributes(line: str, number: int | None) -> None:
    (audio,) = parse_sdp(f"m=audio 1 RTP/AVP 0\r\n{line}\r\n").media

    assert audio.number("ptime") == number


def test_attribute_values_keep_their_colons() -> None:
    (audio,) = parse_sdp("m=audio 1 RTP/AVP 0\r\na=x:a:b\r\na=y:\r\na=z\r\n").media

    assert audio.attributes == (Attribute("x", "a:b"), Attribute("y", ""), Attribute("z"))


@pytest.mark.parametrize(
    "text",
    [
        "v=1\r\n",
        "o=- 1 1 IN IP4\r\n",
        "o=- 1 1 IN IP5 192.0.2.1\r\n",
        "c=IN IP4\r\n",
        "c=ATM NSAP 47.0091\r\n",
        "c=IN IP4 /127\r\n",
        "m=audio\r\n",
        "m=audio x RTP/AVP 0\r\n",
        "m=audio 65536 RTP/AVP 0\r\n",
        "m=audio 1 RTP/AVP\r\n",
        "m=audio -1 RTP/AVP 0\r\n",
        "m=audio 1 RTP/AVP 0\r\n" * (MAX_MEDIA + 1),
        "a" * (MAX_CHARACTERS + 1),
    ],
)
def test_what_must_be_understood_and_is_not_is_an_error(text: str) -> None:
    with pytest.raises(SdpError) as raised:
        parse_sdp(text)

    assert raised.value.status == 400
    assert "192.0.2" not in str(raised.value)


def test_ports_may_come_with_a_count() -> None:
    assert parse_sdp("m=video 5000/2 RTP/AVP 31\r\n").media[0].port == 5000
