"""The smaller parts: pipe, digits, routes, credentials asked for twice, names of statuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.sip.access import Access, Denied
from telcoflow_server.sip.accounts import EdgeSettings, Extension, Private, Trunk
from telcoflow_server.sip.commands import Command, HangUp, Overload, Serve
from telcoflow_server.sip.events import Cancelled, DialogId, EdgeStatistics, Event, Listening
from telcoflow_server.sip.exchange import Exchange, Login
from telcoflow_server.sip.guard import LoginGuard
from telcoflow_server.sip.info import parse_digit
from telcoflow_server.sip.message import Body, Headers, OutgoingRequest, Request, Response
from telcoflow_server.sip.numbers import number_of
from telcoflow_server.sip.peer import Peer, name_of, tag_of
from telcoflow_server.sip.pipe import (
    MAX_MESSAGE_BYTES,
    BadMessage,
    CommandReader,
    EventReader,
    encode,
)
from telcoflow_server.sip.reasons import reason_of
from telcoflow_server.sip.transfer import noticed_status
from telcoflow_server.sip.uri import SipError, SipUri, parse_uri
from tests.server.sip.conftest import extension
from tests.server.sip.fake_stack import Desk
from tests.support.sip_phone import authorization

EVENTS: list[Event] = [Listening(), Cancelled(dialog=DialogId("d")), EdgeStatistics(dialogs=3)]


@given(st.lists(st.integers(1, 40), max_size=30))
def test_events_survive_any_cutting_of_the_stream(sizes: list[int]) -> None:
    stream = b"".join(encode(event) for event in EVENTS)
    reader = EventReader()
    read = []

    for size in [*sizes, len(stream)]:
        read += reader.read(stream[:size])
        stream = stream[size:]

    assert read == EVENTS


@pytest.mark.parametrize(
    "stream",
    [
        (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"),
        (3).to_bytes(4, "big") + b"\xff\xff\xff",
        encode(Listening()),
    ],
)
def test_stream_that_cannot_be_read_is_an_error(stream: bytes) -> None:
    with pytest.raises(BadMessage):
        CommandReader().read(stream)


def test_commands_are_read() -> None:
    commands: list[Command] = [Serve(), Overload(is_overloaded=True), HangUp(dialog=DialogId("d"))]

    assert CommandReader().read(b"".join(map(encode, commands))) == commands


def test_private_values_are_never_shown_and_passed_on() -> None:
    secret = Private("+4930")

    assert f"{secret} {secret!r} {secret.__rich_repr__()}" == "<hidden> <hidden> []"
    assert secret.value == "+4930"


def test_trunk_with_a_source_that_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="carrier"):
        Trunk(name="x", host="y", sources=("carrier.example",))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_everywhere_needs_an_address_to_be_reached_at(host: str) -> None:
    with pytest.raises(ValueError, match="advertised_host"):
        EdgeSettings(host=host)

    assert EdgeSettings(host=host, advertised_host="192.0.2.1").host == host


@pytest.mark.parametrize(
    ("content_type", "text", "digit"),
    [
        ("application/dtmf-relay", "Signal=A\r\nDuration=99999999\r\n", ("A", 10_000)),
        ("application/dtmf-relay;x=y", "signal = 10", ("*", 160)),
        ("application/dtmf-relay", "Duration=100", None),
        ("application/dtmf-relay", "Signal=99", None),
        ("application/dtmf", " d ", ("D", 160)),
        ("application/dtmf", "ten", None),
        ("text/plain", "5", None),
    ],
)
def test_digits_in_bodies(content_type: str, text: str, digit: tuple[str, int] | None) -> None:
    assert parse_digit(Body(text, content_type)) == digit


PARTS = (
    "preamble\r\n--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    "--b1\r\ncontent-type : application/SDP\r\nContent-Disposition: session\r\n\r\nv=0\r\n\r\n"
    "--b1--\r\n"
)


@pytest.mark.parametrize(
    ("content_type", "text", "sdp"),
    [
        ("application/sdp", "v=0\r\n", "v=0\r\n"),
        ("Application/SDP;charset=utf-8", "v=0\r\n", "v=0\r\n"),
        ("multipart/mixed;boundary=b1", PARTS, "v=0\r\n"),
        ('multipart/mixed; Boundary="b1"', PARTS, "v=0\r\n"),
        ("multipart/mixed;boundary=b2", PARTS, None),
        ("multipart/mixed", PARTS, None),
        ("multipart/mixed;boundary=b1", PARTS.replace("SDP", "isup"), None),
        ("text/plain", "v=0\r\n", None),
    ],
)
def test_descriptions_in_bodies(content_type: str, text: str, sdp: str | None) -> None:
    assert Body(text, content_type).sdp == sdp


def test_statuses_have_names() -> None:
    assert [reason_of(status) for status in (486, 499, 699, 799)] == [
        "Busy Here",
        "Bad Request",
        "Busy Everywhere",
        "Refused",
    ]


def peer(*routes: str) -> Peer:
    return Peer(
        call_id="c",
        ours="<sip:a@b>;tag=1",
        theirs="<sip:c@d>;tag=2",
        contact="<sip:a@b>",
        target=parse_uri("sip:c@192.0.2.9:5070"),
        routes=routes,
    )


def test_request_goes_to_the_contact_or_the_first_proxy() -> None:
    direct, routed = peer().request("BYE"), peer("<sip:192.0.2.1;lr>", "<sip:p2;lr>").request("BYE")

    assert (direct.target, direct.uri) == (("192.0.2.9", 5070), "sip:c@192.0.2.9:5070")
    assert (routed.target, routed.uri) == (("192.0.2.1", 5060), "sip:c@192.0.2.9:5070")
    assert routed.routes == ("<sip:192.0.2.1;lr>", "<sip:p2;lr>")


def test_strict_router_is_addressed_itself() -> None:
    request = peer("<sip:192.0.2.1>", "<sip:p2;lr>").request("BYE")

    assert request.uri == "sip:192.0.2.1"
    assert request.routes == ("<sip:p2;lr>", "<sip:c@192.0.2.9:5070>")


def test_contact_that_cannot_be_used_leaves_the_target() -> None:
    one = peer()

    one.refresh_target((("contact", "?"),))
    one.refresh_target(())

    assert one.target == SipUri("sip", "c", "192.0.2.9", 5070)
    assert (tag_of(None), tag_of("?"), name_of("?")) == (None, None, None)


def test_caller_without_names_makes_no_dialog() -> None:
    request = Request("INVITE", "sip:x", "c", 1, (("from", "<sip:a@b>"),), None, ("h", 1))

    with pytest.raises(SipError):
        Peer.of_caller(request, "t", "<sip:us>", is_behind_nat=False)


class Asked:
    """A far end that asks for credentials."""

    def __init__(self, login: Login | None = None) -> None:
        self.desk = Desk()
        self.heard: list[int] = []
        self.exchange = Exchange(
            self.desk,
            self._build,
            login,
            lambda: "c",
            lambda one, now_s: self.heard.append(one.status),
        )

    def _build(self, credentials: Headers) -> OutgoingRequest:
        return OutgoingRequest(
            "OPTIONS", "sip:x", "a", "b", "c", 1, ("192.0.2.9", 5060), headers=credentials
        )

    def challenge(self, extra: str = "", text: str = 'Digest realm="r", nonce="n"') -> None:
        self.desk.sent[-1].hear(Response(401, (("www-authenticate", text + extra),)), 0.0)


LOGIN = Login("u", Private("p"))


def test_credentials_are_shown_once_and_again_only_for_a_stale_nonce() -> None:
    asked = Asked(LOGIN)

    asked.challenge()
    asked.challenge(", stale=TRUE")
    asked.challenge(', stale="true"')

    assert len(asked.desk.sent) == 3
    assert asked.heard == [401]


@pytest.mark.parametrize("login", [None, LOGIN])
def test_challenge_that_cannot_be_met_is_the_answer(login: Login | None) -> None:
    asked = Asked(login)

    asked.challenge(text="Basic x")

    assert asked.heard == [401]


def test_cancelled_request_shows_no_credentials() -> None:
    asked = Asked(LOGIN)
    asked.exchange.cancel()

    asked.challenge()

    assert asked.heard == [401]
    assert asked.desk.sent[0].is_cancelled


def access(**settings: object) -> Access:
    return Access(EdgeSettings(**settings), LoginGuard(), b"s")  # type: ignore[arg-type]


def request_with(*texts: str) -> Request:
    headers = tuple(("authorization", text) for text in texts)
    return Request("REGISTER", "sip:x", "c", 1, headers, None, ("192.0.2.9", 1))


def test_extension_with_two_hashes_is_offered_both_the_stronger_first() -> None:
    both = Extension(user="a", ha1_md5=Private("1"), ha1_sha256=Private("2"))

    denied = access(extensions=(both,)).extension_of(request_with(), "a", 0)

    assert isinstance(denied, Denied)
    assert ["SHA-256" in value for _, value in denied.headers] == [True, False]


def test_credentials_for_others_are_passed_over_and_old_ones_asked_for_again() -> None:
    known = access(extensions=(extension("a"),))
    first = known.extension_of(request_with(), "a", 0)
    assert isinstance(first, Denied)
    challenge = first.headers[0][1]
    others = authorization(challenge.replace("telcoflow", "other"), "a", "secret", "REGISTER", "x")
    ours = authorization(challenge, "a", "secret", "REGISTER", "x")

    stale = known.extension_of(request_with(ours[1]), "a", 100)
    right = known.extension_of(request_with("Basic x", others[1], ours[1]), "a", 1)

    assert isinstance(stale, Denied)
    assert "stale=true" in stale.headers[0][1]
    assert not stale.is_wrong
    assert isinstance(right, Extension)


def test_trunks_are_known_by_their_addresses() -> None:
    trunk = Trunk(name="t", host="h", sources=("192.0.2.0/24", "2001:db8::/32"))
    known = access(trunks=(trunk,))

    found = [known.trunk_at(one) for one in ("192.0.2.7", "2001:db8::1", "198.51.100.1", "name")]

    assert found == [trunk, trunk, None, None]


def test_trunk_that_names_nobody_calls_what_it_says() -> None:
    request = Request("INVITE", "sip:host", "c", 1, (("to", "<sip:host>"),), None, ("h", 1))

    assert number_of(request, Trunk(name="t", host="h")) == ""


def test_notice_that_ends_without_a_status_is_a_failure() -> None:
    headers = (("event", "refer;id=1"), ("subscription-state", "terminated"))
    request = Request("NOTIFY", "sip:x", "c", 1, headers, None, ("h", 1))
    trying = Request(
        "NOTIFY", "sip:x", "c", 1, headers, Body("SIP/2.0 100 Trying", "message/sipfrag"), ("h", 1)
    )

    assert (noticed_status(request), noticed_status(trying)) == (500, 500)
