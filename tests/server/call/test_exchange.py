"""All calls of a node: placed, found, ended, one never at another's cost."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import CloseCode, EndReason
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Draining, NewCall, QuotaExceeded
from telcoflow_server.call.recordings import Recordings
from telcoflow_server.call.report import CallReport
from tests.support.exchange import CALLEE, CALLER, MemoryPhone, Node


class Tape:
    """A recording in memory."""

    def __init__(self) -> None:
        self.frames: list[NDArray[np.int16]] = []
        self.is_closed = False

    def write(self, frame: NDArray[np.int16]) -> None:
        assert not self.is_closed
        self.frames.append(frame.copy())

    def close(self) -> None:
        self.is_closed = True


def test_a_call_is_found_until_it_ends() -> None:
    node, phone = Node(), MemoryPhone()
    call = node.place(phone)

    assert node.exchange.find(call.identity.call_id) is call
    assert node.exchange.find("nonsense") is None
    call.end(EndReason.CALLER_HUNG_UP)
    assert node.exchange.find(call.identity.call_id) is None


def test_a_recording_has_both_sides_on_one_time_axis() -> None:
    node, tape = Node(), Tape()
    speech = np.arange(1, 4801, dtype=np.int16)
    phone = MemoryPhone(speech)
    call = node.place(phone, recordings=Recordings(tape))
    node.run(3)
    agent = node.agent(call)
    agent.command("call.answer")
    agent.say(speech.tobytes())
    node.run(20)

    call.end(EndReason.CALLER_HUNG_UP)

    assert tape.is_closed
    recorded = np.concatenate(tape.frames)
    assert recorded.shape == (23 * 480, 2)
    assert np.array_equal(recorded[3 * 480 : 13 * 480, 0], speech)
    assert np.array_equal(recorded[:, 1], phone.heard), "what the caller heard, when it did"


def test_a_draining_node_takes_no_new_calls_and_says_when_it_is_empty() -> None:
    node, emptied = Node(), []
    first, second = node.place(MemoryPhone()), node.place(MemoryPhone())
    node.exchange.on_empty = lambda: emptied.append(True)
    node.exchange.is_draining = True

    with pytest.raises(Draining, match="no new ones"):
        node.place(MemoryPhone())
    first.end(EndReason.CALLER_HUNG_UP)
    assert emptied == []
    second.end(EndReason.CALLER_HUNG_UP)
    assert emptied == [True]


def test_a_connector_with_as_many_calls_as_it_may_have_gets_no_more_until_one_ends() -> None:
    node = Node(calls_per_connector=2)
    first, second = node.place(MemoryPhone()), node.place(MemoryPhone())

    with pytest.raises(QuotaExceeded, match="has 2 calls"):
        node.place(MemoryPhone())
    with pytest.raises(QuotaExceeded):
        node.exchange.place_outbound(NewCall("c1", "", CALLEE, 0), 30)
    other = node.exchange.place(MemoryPhone(), NewCall("c2", CALLER, CALLEE, 0))
    first.end(EndReason.CALLER_HUNG_UP)
    third = node.place(MemoryPhone())

    assert node.exchange.calls == (second, other, third)


def test_shutting_down_ends_every_call_and_link() -> None:
    node, phones = Node(), [MemoryPhone(), MemoryPhone()]
    _, agent = node.answered_call(phones[0])
    node.place(phones[1])

    node.exchange.shut_down()

    assert [phone.end for phone in phones] == [(0, EndReason.SERVER_SHUTDOWN)] * 2
    assert agent.link.closed_with is CloseCode.NORMAL
    assert node.client_link.closed_with is CloseCode.GOING_AWAY
    assert node.exchange.call_count == 0


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (EndReason.CALLER_HUNG_UP, "CALL_TERMINATED"),
        (EndReason.AGENT_CLOSED, "SDK_REQUEST"),
        (EndReason.SERVER_SHUTDOWN, "FORCE_CLOSE"),
    ],
)
def test_clients_are_told_of_the_end_in_the_words_of_the_protocol(
    reason: EndReason, told: str
) -> None:
    node = Node()
    call = node.place(MemoryPhone())

    call.end(reason)

    assert node.client_link.take()[-1]["reason"] == told


def test_closing_a_session_ends_its_call() -> None:
    node, phone = Node(), MemoryPhone()
    node.place(phone)
    session = node.exchange.board.find(node.client_link.take()[0]["sessionId"], "c1")
    assert session is not None

    node.exchange.end_session(session)

    assert phone.end == (0, EndReason.SESSION_CLOSED)


class ForgetfulPhone(MemoryPhone):
    """A phone whose hook cannot be read."""

    @property
    def has_hung_up(self) -> bool:
        raise OSError("broken hook")

    @has_hung_up.setter
    def has_hung_up(self, value: bool) -> None:
        pass


def test_a_call_that_fails_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    node, broken, fine = Node(), ForgetfulPhone(), MemoryPhone()
    node.place(broken)
    other = node.place(fine)

    with caplog.at_level(logging.ERROR):
        node.run(5)

    assert broken.end == (1, EndReason.SERVER_ERROR)
    assert not other.is_over
    assert "broken hook" in caplog.text


class DeafPhone(MemoryPhone):
    """A phone whose earpiece raises."""

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        raise OSError("broken earpiece")


def test_a_phone_that_fails_ends_its_call_alone() -> None:
    node, broken, fine = Node(), DeafPhone(), MemoryPhone()
    node.place(broken)
    other = node.place(fine)

    node.run(2)

    assert broken.end == (1, EndReason.SERVER_ERROR)
    assert not other.is_over


def test_a_call_whose_legs_fail_in_the_same_tick_ends_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node, phone = Node(), DeafPhone()
    _, agent = node.answered_call(phone)
    agent.link.send_binary = _raise  # type: ignore[method-assign]

    node.run(1)

    assert phone.end == (1, EndReason.SERVER_ERROR)
    assert caplog.text.count("leg failed") == 1


def test_legs_that_fail_are_counted() -> None:
    node = Node()
    node.place(DeafPhone())
    fine = node.place(MemoryPhone())

    node.run(1)

    assert node.exchange.plane_statistics().failed_legs == 1
    assert node.exchange.calls == (fine,)


def _raise(message: bytes) -> None:
    raise OSError("broken link")


def test_whoever_placed_the_call_is_told_of_its_end_once() -> None:
    node, ended = Node(), list[Call]()
    call = node.place(MemoryPhone(), on_ended=ended.append, call_id="mine")
    assert call.identity.call_id == "mine"

    call.end(EndReason.CALLER_HUNG_UP)
    call.end(EndReason.CALLER_HUNG_UP)

    assert ended == [call]


def test_a_report_tells_the_lateness_of_its_own_time() -> None:
    node = Node()
    for _ in range(100):
        node.exchange.tick(0.5)
    call, _ = node.answered_call(MemoryPhone())
    assert node.exchange.report(call).tick_lateness_ms.p99 == 0.0

    node.run(50)

    report = node.exchange.report(call)
    assert report.tick_lateness_ms.p50 == pytest.approx(1.0)
    assert report.tick_lateness_ms.p99 == pytest.approx(1.0)
    assert report.duration_ms == 1000
    assert (report.frames_to_agent, report.end_reason) == (50, None)
    call.end(EndReason.CALLER_HUNG_UP)
    assert node.exchange.lateness(call).p99 == 0.0


def test_the_line_that_ends_a_call_holds_no_number(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    call, _ = node.answered_call(MemoryPhone())

    with caplog.at_level(logging.DEBUG):
        call.end(EndReason.CALLER_HUNG_UP)

    assert call.identity.call_id in caplog.text
    assert CALLER not in caplog.text
    assert CALLEE not in caplog.text


def test_the_node_tells_which_calls_run_and_what_the_plane_holds() -> None:
    node = Node()
    call, _ = node.answered_call(MemoryPhone())

    assert node.exchange.calls == (call,)
    assert node.exchange.plane_statistics().legs == 2


def test_the_report_of_every_call_that_ends_is_handed_on() -> None:
    node, reports = Node(), list[CallReport]()
    node.exchange.on_report = reports.append
    call = node.place(MemoryPhone())

    call.end(EndReason.CALLER_HUNG_UP)

    assert [report.call_id for report in reports] == [call.identity.call_id]
