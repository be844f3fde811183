"""Datagrams before a stack sees them; `test_edge_torture.py` has the cases of RFC 4475."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.sip.screen import MAX_HEADERS, Kind, screen

SOURCE = ("192.0.2.9", 40_000)
HEAD = (
    b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK1;rport\r\n"
    b"From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n"
)
WHOLE = HEAD + b"Content-Length: 0\r\n\r\n"


def test_message_comes_out_with_long_names_and_one_line_a_header() -> None:
    compact = (
        b"\r\nINVITE sip:a@b SIP/2.0\nv: SIP / 2.0 / UDP 192.0.2.9 ; branch = z9hG4bK1\n"
        b"f: Ann\n <sip:c@d> ; tag = 1\nt: < sip:a@b >\ni: x\nCSeq: 1 INVITE\n"
        b"x: 90\nl: 3\nc: application/sdp\n\nv=\xe9 beyond"
    )

    screened = screen(compact, SOURCE)

    assert screened.kind is Kind.MESSAGE
    assert screened.text == (
        "INVITE sip:a@b SIP/2.0\r\nvia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n"
        "from: Ann <sip:c@d>;tag=1\r\nto: <sip:a@b>\r\ncall-id: x\r\ncseq: 1 INVITE\r\n"
        "session-expires: 90\r\ncontent-type: application/sdp\r\ncontent-length: 3\r\n\r\nv=\xe9"
    )


def test_body_without_a_length_is_all_there_is() -> None:
    assert screen(HEAD + b"\r\nabc", SOURCE).text.endswith("content-length: 3\r\n\r\nabc")
    assert screen(HEAD.rstrip(), SOURCE).text.endswith("content-length: 0\r\n\r\n")


def test_line_ends_of_other_worlds_split_nothing() -> None:
    text = screen(WHOLE.replace(b"From: ", "From: Å\u2028\x0b".encode()), SOURCE).text

    assert "from: Å  <sip:c@d>;tag=1" in text.split("\r\n")
    assert len(text.splitlines()) == len(text.split("\r\n")) - 1


@pytest.mark.parametrize("datagram", [b"", b"\r\n\r\n", b"\0\0", b"  "])
def test_keep_alives(datagram: bytes) -> None:
    assert screen(datagram, SOURCE).kind is Kind.KEEP_ALIVE


@pytest.mark.parametrize(
    "datagram",
    [
        b"hello",
        b"GET / HTTP/1.1\r\n\r\n",
        WHOLE.replace(b"To:", b"To"),
        WHOLE.replace(b"To:", b"T o:"),
        WHOLE.replace(b"To:", b"X: 1\r\n" * MAX_HEADERS + b"To:"),
        b" \r\n" + WHOLE,
        b"SIP/2.0 999 x\r\n" + WHOLE.partition(b"\r\n")[2],
        b"SIP/2.0 200 x\r\nno header\r\n\r\n",
    ],
)
def test_garbage(datagram: bytes) -> None:
    assert screen(datagram, SOURCE).kind is Kind.GARBAGE


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (b"SIP/2.0\r\n", b"SIP/3.0\r\n", 505),
        (b"sip:a@b SIP", b"http://a SIP", 416),
        (b"sip:a@b SIP", b"a SIP", 400),
        (b"CSeq: 1", b"CSeq: 4294967296", 400),
        (b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE", 400),
        (b"To: <sip:a@b>", b"To: mailto:a@b", 400),
        (b"Call-ID: x", b"Call-ID: ", 400),
        (b"Call-ID: x", b"Call-ID: x\r\nMax-Forwards: 256", 400),
        (b"Call-ID: x", b"Call-ID: x\r\nMax-Forwards: -1", 400),
        (b"Call-ID: x", b"Call-ID: x\r\nCall-ID: y", 400),
        (b"Length: 0", b"Length: 1", 400),
        (b"Length: 0", b"Length: x", 400),
    ],
)
def test_malformed_request_is_answered(before: bytes, after: bytes, status: int) -> None:
    screened = screen(WHOLE.replace(before, after), SOURCE)

    assert screened.kind is Kind.MALFORMED
    assert screened.port == 40_000
    assert screened.response is not None
    lines = screened.response.decode().split("\r\n")
    assert lines[0].startswith(f"SIP/2.0 {status} ")
    assert "via: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK1;rport=40000;received=192.0.2.9" in lines


@pytest.mark.parametrize(
    ("via", "port"),
    [
        ("SIP/2.0/UDP 192.0.2.9:5070;branch=z", 5070),
        ("SIP/2.0/UDP 192.0.2.9;branch=z", 5060),
        ("SIP/2.0/UDP 192.0.2.9:0;branch=z", 5060),
        ("SIP/2.0/UDP [2001:db8::1]:5071;rport;branch=z", 40_000),
        ("SIP/2.0/UDP 192.0.2.9:99999;branch=z", 5060),
        ("nonsense", 40_000),
    ],
)
def test_answer_to_a_malformed_request_goes_where_its_via_says(via: str, port: int) -> None:
    text = WHOLE.replace(b"Length: 0", b"Length: 9")
    start, _, rest = text.partition(b"SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK1;rport")

    assert screen(start + via.encode() + rest, SOURCE).port == port


@pytest.mark.parametrize(
    "datagram",
    [
        WHOLE.replace(b"OPTIONS", b"ACK").replace(b"Length: 0", b"Length: 9"),
        WHOLE.replace(b"Via", b"X-Via"),
        b"SIP/2.0 200 OK\r\n" + WHOLE.partition(b"\r\n")[2].replace(b"CSeq: 1", b"CSeq: x"),
    ],
)
def test_malformed_without_an_answer(datagram: bytes) -> None:
    screened = screen(datagram, SOURCE)

    assert (screened.kind, screened.response) == (Kind.MALFORMED, None)


def test_tag_is_added_to_the_answer_only_where_there_is_none() -> None:
    with_tag = WHOLE.replace(b"To: <sip:a@b>", b"To: <sip:a@b>;tag=mine")

    for datagram, to in ((WHOLE, b"to: <sip:a@b>;tag=malformed"), (with_tag, b";tag=mine\r\n")):
        second_via = datagram.replace(b"From:", b"Via: SIP/2.0/UDP p;branch=q\r\nFrom:")
        response = screen(second_via.replace(b"Length: 0", b"Length: 9"), SOURCE).response
        assert response is not None
        assert to in response
        assert b"via: SIP/2.0/UDP p;branch=q\r\n" in response


def test_response_passes() -> None:
    datagram = b"SIP/2.0 486 Besetzt \xff\r\n" + WHOLE.partition(b"\r\n")[2]

    assert screen(datagram, SOURCE).text.startswith("SIP/2.0 486 Besetzt \\xff\r\nvia: ")


@given(st.binary(max_size=200))
def test_any_bytes_are_something(datagram: bytes) -> None:
    screen(datagram, SOURCE)
    screen(WHOLE[:40] + datagram, SOURCE)


@given(st.data())
def test_any_damage_is_something(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))

    screened = screen(bytes(damaged), SOURCE)

    if screened.kind is Kind.MESSAGE:
        again = screen(screened.text.encode("utf-8"), SOURCE)
        assert again.kind is Kind.MESSAGE
