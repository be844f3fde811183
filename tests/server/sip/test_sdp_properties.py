"""Any text at all, and any description: nothing undocumented is raised, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.sip.agreement import Agreement, CodecDescription, LocalMedia
from telcoflow_server.sip.negotiation import Accepted, NotAcceptable, OfferAnswer
from telcoflow_server.sip.sdp import (
    Attribute,
    Connection,
    Direction,
    Media,
    Origin,
    SdpError,
    SessionDescription,
    build_sdp,
    parse_sdp,
)
from tests.server.sip.descriptions import PHONES

CORPUS = sorted((Path(__file__).parent / "corpus_sdp").glob("*.sdp"))

CODECS = (
    CodecDescription("opus", 48000, 111, channels=2),
    CodecDescription("PCMU", 8000, 0),
    CodecDescription("PCMA", 8000, 8),
)

words = st.text("abcXYZ019-._", min_size=1, max_size=8)
values = st.text("abc 019:/;=", max_size=12).map(str.strip)
attributes = st.lists(st.builds(Attribute, words, st.none() | values), max_size=4).map(tuple)
connections = st.sampled_from(["192.0.2.1", "0.0.0.0", "2001:db8::1", "::"]).map(Connection.to)
media = st.builds(
    Media,
    st.sampled_from(["audio", "video", "image"]),
    st.integers(0, 65_535),
    st.sampled_from(["RTP/AVP", "RTP/SAVP", "udptl"]),
    st.lists(words, min_size=1, max_size=4).map(tuple),
    st.none() | connections,
    attributes,
)
descriptions = st.builds(
    SessionDescription,
    st.builds(Origin, words, words, words, connections),
    st.none() | connections,
    st.lists(media, max_size=4).map(tuple),
    attributes,
)

lines = st.sampled_from(
    sorted({line for text in PHONES.values() for line in text.splitlines()})
    + [f"a={one.value}" for one in Direction]
    + ["m=audio 4000 RTP/AVP 0 8 101", "m=audio 0 RTP/AVP 0", "c=IN IP4 0.0.0.0"]
)
offers = st.lists(lines, max_size=25).map("\r\n".join)


@given(descriptions)
def test_reading_what_was_written_gives_the_same(description: SessionDescription) -> None:
    assert parse_sdp(build_sdp(description)) == description


@given(st.text(max_size=400) | offers)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        description = parse_sdp(text)
    except SdpError:
        return

    assert parse_sdp(build_sdp(description)).media == description.media


@given(st.lists(offers | st.text(max_size=100), min_size=1, max_size=4))
def test_any_exchange_keeps_the_rules(texts: list[str]) -> None:
    one = OfferAnswer(LocalMedia("192.0.2.1", 5000, CODECS), 1)

    for text in texts:
        before = one.agreement
        try:
            outcome = one.answer(text)
        except SdpError:
            outcome = None
        if not isinstance(outcome, Accepted):
            assert one.agreement == before
            continue
        asked, answered = parse_sdp(text), parse_sdp(outcome.answer)
        # RFC 3264 §6: as many streams as offered, in their order; numbers of the offer only.
        kinds = [(one.kind, one.protocol) for one in asked.media]
        assert [(one.kind, one.protocol) for one in answered.media] == kinds
        (ours,) = [one for one in answered.media if one.port]
        theirs = asked.media[answered.media.index(ours)]
        assert set(ours.formats) <= set(theirs.formats)
        assert theirs.protocol in ("RTP/AVP", "RTP/AVPF")
        assert ours.port == 5000
        if not answered.direction_of(ours).sends:
            assert outcome.agreement.is_on_hold


@given(st.sampled_from(list(Direction)), offers)
def test_any_answer_is_taken_or_refused(direction: Direction, text: str) -> None:
    one = OfferAnswer(LocalMedia("192.0.2.1", 5000, CODECS), 1)
    one.offer(direction)

    try:
        outcome = one.take_answer(text)
    except SdpError:
        return

    if isinstance(outcome, Agreement):
        assert outcome.direction.sends <= direction.sends
        assert outcome.direction.receives <= direction.receives


@given(offers, offers)
def test_later_offer_has_distinct_numbers_and_all_streams(first: str, second: str) -> None:
    one = OfferAnswer(LocalMedia("192.0.2.1", 5000, CODECS), 1)
    for text in (first, second):
        try:
            one.answer(text)
        except SdpError:
            continue

    streams = parse_sdp(one.offer()).media

    (ours,) = [stream for stream in streams if stream.port]
    assert len(set(ours.formats)) == len(ours.formats)


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_kept_inputs_are_read_or_refused(file: Path) -> None:
    text = file.read_bytes().decode("latin-1")
    one = OfferAnswer(LocalMedia("192.0.2.1", 5000, CODECS), 1)

    try:
        outcome = one.answer(text)
    except SdpError:
        return

    assert isinstance(outcome, Accepted | NotAcceptable)
