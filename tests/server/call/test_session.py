"""Notify, claim, ready, closed: what every client of a connector is told, and when."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
import pytest

from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode, SessionCloseReason
from telcoflow_server.call.newcomers import WELCOME_TICKS
from telcoflow_server.call.placing import CallRefused
from telcoflow_server.call.session import (
    CLOSED_SESSIONS_KEPT,
    Client,
    Session,
    SessionBoard,
)
from tests.support.links import MemoryControlLink

CALLER, CALLEE = "+15550100", "+15550199"


@pytest.fixture
def board() -> SessionBoard:
    ids = (f"client-{number}" for number in count(1))
    return SessionBoard(
        lambda session, client: (f"ws://{client.reached_at}/m", "token"), ids.__next__
    )


def session(number: int = 1, connector: str = "c1") -> Session:
    return Session(f"s{number}", f"call{number}", connector, CALLER, CALLEE, 1_700_000_000)


class Peer:
    """A client process, as the board's far end."""

    def __init__(self, board: SessionBoard, connector: str = "c1", *, set_up: bool = True) -> None:
        self.link = MemoryControlLink()
        self.board = board
        self.client: Client = board.join(connector, self.link, "example.test")
        if set_up:
            self.say(type="setup", data={"sampleRate": 16000, "audioMode": "mixed"})
            for _ in range(WELCOME_TICKS):
                board.tick()

    def say(self, **message: Any) -> None:
        self.board.receive(self.client, msgspec.json.encode(message))

    def open(self, session_id: str = "s1") -> dict[str, Any]:
        self.link.take()
        self.say(type="session.open", sessionId=session_id, reqId="r1")
        (response,) = self.link.take()
        return response

    def ready(self, session_id: str = "s1") -> list[dict[str, Any]]:
        self.say(type="session.ready", sessionId=session_id)
        return self.link.take()

    def types(self) -> list[str]:
        return [message["type"] for message in self.link.take()]


def test_setup_is_answered_with_an_id(board: SessionBoard) -> None:
    peer = Peer(board)

    assert peer.link.take() == [{"type": "setup.done", "smWsId": "client-1"}]


def test_every_client_of_the_connector_is_notified(board: SessionBoard) -> None:
    peers = [Peer(board), Peer(board), Peer(board, "c2"), Peer(board, set_up=False)]
    for peer in peers:
        peer.link.take()

    board.announce(session())

    notification = {
        "type": "session.notify",
        "sessionId": "s1",
        "channel": "TELCO",
        "remoteAddress": CALLER,
        "localAddress": CALLEE,
        "activity": "NEW_INCOMING_CALL",
        "createdAt": 1_700_000_000,
    }
    assert [peer.link.take() for peer in peers] == [[notification], [notification], [], []]


def test_a_client_that_comes_late_hears_of_waiting_sessions(board: SessionBoard) -> None:
    board.announce(session())

    assert Peer(board).types() == ["setup.done", "session.notify"]


def test_a_client_hears_of_nothing_before_it_can_listen_and_of_everything_once(
    board: SessionBoard,
) -> None:
    board.announce(session(1))
    peer, gone = Peer(board, set_up=False), Peer(board, set_up=False)
    for one in (peer, gone):
        one.say(type="setup", data={"sampleRate": 16000, "audioMode": "mixed"})
    board.announce(session(2))
    board.close(session_of(board, 1), SessionCloseReason.CALL_TERMINATED)
    for _ in range(WELCOME_TICKS - 1):
        board.tick()
    assert peer.types() == ["setup.done"]

    board.leave(gone.client)
    for _ in range(2):
        board.tick()

    assert [message["sessionId"] for message in peer.link.take()] == ["s2"]
    assert gone.types() == ["setup.done"]


def session_of(board: SessionBoard, number: int) -> Session:
    found = board.find(f"s{number}", "c1")
    assert found is not None
    return found


def test_a_claim_and_ready_bring_the_call(board: SessionBoard) -> None:
    peer = Peer(board)
    board.announce(session())

    response = peer.open()
    delivered = peer.ready()

    assert response["ok"] is True
    assert response["content"]["session"] == {
        "id": "s1",
        "channel": "TELCO",
        "remoteAddress": CALLER,
        "localAddress": CALLEE,
        "openedAt": 1_700_000_000,
    }
    assert delivered == [
        {
            "type": "call.in",
            "sessionId": "s1",
            "callId": "call1",
            "url": "ws://example.test/m",
            "token": "token",
            "from": CALLER,
            "to": CALLEE,
            "orgUuid": "",
        }
    ]


def test_the_claimant_gets_the_audio_it_asked_for(board: SessionBoard) -> None:
    peer, waiting = Peer(board), session()
    board.announce(waiting)

    peer.open()

    assert waiting.audio.sample_rate_hz == 16000
    assert waiting.was_claimed


def test_the_first_claim_wins(board: SessionBoard) -> None:
    first, second = Peer(board), Peer(board)
    board.announce(session())

    assert first.open()["ok"] is True
    refused = second.open()

    assert refused["ok"] is False
    assert refused["errorCode"] == ErrorCode.SESSION_BUSY
    assert refused["errorContent"]["boundSmWsId"] == first.client.client_id


def test_claiming_twice_is_the_same_claim(board: SessionBoard) -> None:
    peer = Peer(board)
    board.announce(session())

    assert peer.open()["ok"] is True
    assert peer.open()["ok"] is True
    assert len(peer.ready()) == 1
    assert peer.ready() == []


@pytest.mark.parametrize("session_id", ["nonsense", "s2"])
def test_an_unknown_or_foreign_session_is_not_found(board: SessionBoard, session_id: str) -> None:
    peer = Peer(board)
    board.announce(session(2, connector="c2"))

    assert peer.open(session_id)["errorCode"] == ErrorCode.SESSION_NOT_FOUND


def test_an_ended_session_is_closed_for_its_own_connector_only(board: SessionBoard) -> None:
    own, foreign = Peer(board), Peer(board, "c2")
    ended = session()
    board.announce(ended)
    board.close(ended, SessionCloseReason.CALL_TERMINATED)

    assert own.open()["errorCode"] == ErrorCode.SESSION_CLOSED
    assert foreign.open()["errorCode"] == ErrorCode.SESSION_NOT_FOUND


def test_only_so_many_ended_sessions_are_remembered(board: SessionBoard) -> None:
    peer = Peer(board)
    for number in range(CLOSED_SESSIONS_KEPT + 1):
        ended = session(number)
        board.announce(ended)
        board.close(ended, SessionCloseReason.CALL_TERMINATED)

    assert peer.open("s0")["errorCode"] == ErrorCode.SESSION_NOT_FOUND
    assert peer.open("s1")["errorCode"] == ErrorCode.SESSION_CLOSED


def test_the_owner_is_told_of_the_end_others_are_not(board: SessionBoard) -> None:
    owner, other, claimed = Peer(board), Peer(board), session()
    board.announce(claimed)
    owner.open()
    other.link.take()

    board.close(claimed, SessionCloseReason.CALL_TERMINATED)
    board.close(claimed, SessionCloseReason.CALL_TERMINATED)

    assert owner.link.take() == [
        {"type": "session.closed", "sessionId": "s1", "reason": "CALL_TERMINATED"}
    ]
    assert other.link.take() == []


def test_everybody_is_told_of_the_end_of_an_unclaimed_session(board: SessionBoard) -> None:
    peers, waiting = [Peer(board), Peer(board)], session()
    board.announce(waiting)
    for peer in peers:
        peer.link.take()

    board.close(waiting, SessionCloseReason.CALL_TERMINATED)

    assert [peer.types() for peer in peers] == [["session.closed"], ["session.closed"]]


def test_a_claim_whose_client_leaves_before_its_media_link_is_free_again(
    board: SessionBoard,
) -> None:
    leaver, stayer = Peer(board), Peer(board)
    board.announce(session())
    leaver.open()
    leaver.ready()
    stayer.link.take()

    board.leave(leaver.client)

    assert stayer.types() == ["session.notify"]
    assert stayer.open()["ok"] is True
    assert [message["type"] for message in stayer.ready()] == ["call.in"]


def test_a_call_with_its_media_link_is_not_notified_again(board: SessionBoard) -> None:
    leaver, live = Peer(board), session()
    board.announce(live)
    leaver.open()
    leaver.ready()
    board.attached(live)

    board.leave(leaver.client)
    returned = Peer(board)

    assert returned.types() == ["setup.done"]
    refused = returned.open()
    assert refused["errorCode"] == ErrorCode.SESSION_BUSY
    assert refused["errorContent"]["boundSmWsId"] == ""
    board.close(live, SessionCloseReason.CALL_TERMINATED)
    assert returned.link.take() == []


def test_a_second_leave_changes_nothing(board: SessionBoard) -> None:
    peer = Peer(board)
    board.leave(peer.client)
    board.leave(peer.client)

    board.announce(session())

    assert peer.types() == ["setup.done"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "setup", "data": {"sampleRate": 44100}}, ErrorCode.INVALID_REQUEST),
        ({"type": "setup", "data": {"sampleRate": "24000"}}, ErrorCode.MALFORMED_MESSAGE),
        (
            {"type": "setup", "data": {"sampleRate": 8000, "audioMode": "quadro"}},
            ErrorCode.INVALID_REQUEST,
        ),
        ({"type": "session.ready", "sessionId": "s1"}, ErrorCode.SESSION_NOT_OPEN),
        ({"type": "session.ready", "sessionId": None}, ErrorCode.MALFORMED_MESSAGE),
        ({"type": "teleport"}, ErrorCode.INVALID_REQUEST),
        ([1], ErrorCode.MALFORMED_MESSAGE),
    ],
)
def test_a_message_that_is_wrong_is_answered_with_a_code(
    board: SessionBoard, message: Any, code: ErrorCode
) -> None:
    peer = Peer(board)
    board.announce(session())
    peer.link.take()

    with pytest.raises(ProtocolViolation):
        board.receive(peer.client, msgspec.json.encode(message))

    (answer,) = peer.link.take()
    assert answer["type"] == "error"
    assert answer["errorCode"] == code


def test_a_request_that_is_wrong_is_answered_by_its_id(board: SessionBoard) -> None:
    peer = Peer(board)
    peer.link.take()

    with pytest.raises(ProtocolViolation):
        peer.say(type="session.create", channel="TELCO", remoteAddress=None, reqId="r7")

    (answer,) = peer.link.take()
    assert (answer["reqId"], answer["ok"]) == ("r7", False)
    assert answer["errorCode"] == ErrorCode.MALFORMED_MESSAGE


def created(board: SessionBoard, **fields: Any) -> dict[str, Any]:
    peer = Peer(board)
    peer.link.take()
    peer.say(**{"type": "session.create", "remoteAddress": "+1", "reqId": "r7", **fields})
    (answer,) = peer.link.take()
    assert answer["reqId"] == "r7"
    return answer


def test_an_outbound_session_belongs_to_whoever_asked_for_it(board: SessionBoard) -> None:
    asked: list[tuple[str, str, int]] = []

    def make_call(connector: str, number: str, ring_s: int) -> Session:
        asked.append((connector, number, ring_s))
        made = session()
        board.add(made)
        return made

    board.make_call = make_call
    peer, other = Peer(board), Peer(board)
    peer.link.take()
    other.link.take()

    peer.say(type="session.create", channel="TELCO", remoteAddress="+1555", reqId="r7")

    (answer,) = peer.link.take()
    assert answer["content"] == {"sessionId": "s1", "created": True}
    assert asked == [("c1", "+1555", 60)]
    assert other.link.take() == [], "nobody else is notified"
    assert other.open()["errorCode"] == ErrorCode.SESSION_BUSY
    assert peer.open()["ok"] is True
    assert [message["type"] for message in peer.ready()] == ["call.in"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"channel": "WA"}, ErrorCode.CHANNEL_NOT_CONFIGURED),
        ({"remoteAddress": ""}, ErrorCode.INVALID_REQUEST),
        ({"remoteAddress": "+1\r\nx"}, ErrorCode.INVALID_REQUEST),
        ({"data": {"ringTimeSeconds": 0}}, ErrorCode.INVALID_REQUEST),
        ({"data": {"ringTimeSeconds": 121}}, ErrorCode.INVALID_REQUEST),
        ({"remoteAddress": "+99"}, ErrorCode.OUTBOUND_OVERFLOW),
    ],
)
def test_a_call_that_cannot_be_placed_is_refused_with_a_code(
    board: SessionBoard, fields: dict[str, Any], code: ErrorCode
) -> None:
    def make_call(connector: str, number: str, ring_s: int) -> Session:
        raise CallRefused(ErrorCode.OUTBOUND_OVERFLOW, "enough")

    board.make_call = make_call

    assert created(board, **fields)["errorCode"] == code


def test_a_node_that_calls_nobody_says_so(board: SessionBoard) -> None:
    assert created(board)["errorCode"] == ErrorCode.CHANNEL_NOT_CONFIGURED


def test_nothing_but_setup_is_taken_before_setup(board: SessionBoard) -> None:
    peer = Peer(board, set_up=False)
    board.announce(session())

    with pytest.raises(ProtocolViolation, match="setup"):
        peer.say(type="session.open", sessionId="s1", reqId="r1")

    assert [message["errorCode"] for message in peer.link.take()] == [ErrorCode.INVALID_REQUEST]


def test_open_sessions_are_listed_for_their_connector(board: SessionBoard) -> None:
    board.announce(session(1))
    board.announce(session(2, connector="c2"))

    listed = board.sessions("c1")

    assert [(info.id, info.state, info.remote_address) for info in listed] == [
        ("s1", "OPEN", CALLER)
    ]
    assert board.find("s1", "c1") is not None
    assert board.find("s1", "c2") is None
    assert board.find("s3", "c1") is None


def test_close_links_closes_them_all(board: SessionBoard) -> None:
    peers = [Peer(board), Peer(board, "c2")]

    board.close_links(CloseCode.GOING_AWAY, "the server stops")

    assert [peer.link.closed_with for peer in peers] == [CloseCode.GOING_AWAY] * 2


def test_clients_are_counted(board: SessionBoard) -> None:
    peers = [Peer(board), Peer(board, "c2")]
    assert board.client_count == 2

    board.leave(peers[0].client)

    assert board.client_count == 1


def test_what_clients_are_refused_is_counted(board: SessionBoard) -> None:
    peer = Peer(board)

    peer.open("nonsense")
    with pytest.raises(ProtocolViolation):
        peer.ready("nonsense")

    assert board.refusals == {ErrorCode.SESSION_NOT_FOUND: 1, ErrorCode.SESSION_NOT_OPEN: 1}
