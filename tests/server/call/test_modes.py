"""Barge, whisper, spy: who hears the agent, to the sample, the switching instants included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.call.call import Call
from telcoflow_server.call.history import LISTED
from telcoflow_server.call.ports import CalleeProgress
from telcoflow_server.call.recordings import Recordings
from telcoflow_server.media.routing import Slot
from tests.server.call.test_exchange import Tape
from tests.support.exchange import MemoryAgent, MemoryCallee, MemoryDialer, MemoryPhone, Node

FRAME = 480
MODES = ("agent.barge", "agent.whisper", "agent.spy")
HEARD_BY_CALLER = {"agent.barge"}
HEARD_BY_CALLEE = {"agent.barge", "agent.whisper"}


class Conference:
    """Caller, callee and agent, connected; nobody says anything yet."""

    def __init__(self, *, sample_rate_hz: int = 24_000, audio_mode: str = "mixed") -> None:
        self.caller, self.callee = MemoryPhone(), MemoryCallee()
        self.node = Node(
            dialer=MemoryDialer(self.callee), sample_rate_hz=sample_rate_hz, audio_mode=audio_mode
        )
        self.stereo = Tape()
        self.split = {slot: Tape() for slot in Slot}
        self.call: Call = self.node.place(
            self.caller, recordings=Recordings(self.stereo, self.split)
        )
        (notification,) = self.node.client_link.take()
        self.node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r")
        self.agent: MemoryAgent = self.node.agent(self.call)
        self.callee.progress = CalleeProgress.ANSWERED
        self.agent.command("call.connect")
        self.node.run(2)
        self.caller.forget()  # the ringback

    def switch(self, mode: str) -> None:
        """Change the mode as our SDK does: when everything said before has left."""
        while self.agent.is_speaking:
            self.node.run(1)
        response = self.agent.response(self.agent.command(mode))
        assert response is not None
        assert response["success"] is True

    def say(self, value: int, samples: int) -> None:
        self.agent.say(np.full(samples, value, np.int16).tobytes())


STEP = st.tuples(
    st.sampled_from(MODES),
    st.integers(1, 2000),  # samples said in that mode
    st.integers(0, 6),  # ticks until the next step
)


@given(steps=st.lists(STEP, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_everything_is_heard_by_those_whom_its_mode_names_and_by_nobody_else(
    steps: list[tuple[str, int, int]],
) -> None:
    conference = Conference()
    for number, (mode, samples, ticks) in enumerate(steps, 1):
        conference.switch(mode)
        conference.say(number, samples)
        conference.node.run(ticks)

    conference.node.run(60)

    for phone, heard_modes in (
        (conference.caller, HEARD_BY_CALLER),
        (conference.callee, HEARD_BY_CALLEE),
    ):
        heard = phone.heard[phone.heard != 0]
        expected = [
            np.full(samples, number, np.int16)
            for number, (mode, samples, _) in enumerate(steps, 1)
            if mode in heard_modes
        ]
        assert np.array_equal(heard, np.concatenate([np.zeros(0, np.int16), *expected]))


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 24_000])
def test_not_a_sample_of_a_whisper_reaches_the_caller_when_the_mode_changes(
    sample_rate_hz: int,
) -> None:
    """The filter of a narrowband agent remembers 1.5 ms of the whisper."""
    conference = Conference(sample_rate_hz=sample_rate_hz)
    conference.switch("agent.whisper")
    frame = sample_rate_hz // 50
    conference.say(20_000, frame * 10)
    conference.switch("agent.barge")
    conference.node.run(20)

    assert np.abs(conference.callee.heard.astype(int)).max() > 10_000
    assert not conference.caller.heard.any()


@pytest.mark.parametrize("mode", MODES)
def test_in_each_mode_everybody_hears_whom_they_should(mode: str) -> None:
    """Each party says a number of its own; what a listener hears is their sum."""
    conference = Conference()
    conference.switch(mode)
    conference.caller.speak(np.full(FRAME * 20, 1, np.int16))
    conference.callee.speak(np.full(FRAME * 20, 10, np.int16))
    conference.say(100, FRAME * 20)
    before = len(conference.agent.link.audio)

    conference.node.run(15)

    by_caller = 100 if mode in HEARD_BY_CALLER else 0
    by_callee = 100 if mode in HEARD_BY_CALLEE else 0
    assert set(conference.caller.heard[-FRAME * 10 :]) == {10 + by_caller}
    assert set(conference.callee.heard[-FRAME * 10 :]) == {1 + by_callee}
    agent_heard = np.frombuffer(conference.agent.link.audio[before:], np.int16)
    assert set(agent_heard[-FRAME * 10 :]) == {11}
    stereo = np.concatenate(conference.stereo.frames)[-FRAME * 10 :]
    assert set(stereo[:, 0]) == {1}
    assert set(stereo[:, 1]) == {10 + max(by_caller, by_callee)}
    for slot, value in ((Slot.CALLER, 1), (Slot.CALLEE, 10), (Slot.AGENT, 100)):
        said = np.concatenate(conference.split[slot].frames)
        assert set(said[-FRAME * 10 :]) == {value}
        assert len(said) == len(np.concatenate(conference.stereo.frames))


def test_audio_heard_by_nobody_is_used_up_at_playout_speed_and_not_counted_as_heard() -> None:
    conference = Conference()
    conference.switch("agent.spy")
    conference.say(5, FRAME * 50)
    conference.node.run(20)
    assert conference.agent.is_speaking

    response = conference.agent.response(conference.agent.command("agent.interrupt"))

    assert response is not None
    assert response["result"]["heard_ms"] == 0
    assert response["result"]["dropped_ms"] > 0


def test_spy_does_not_cut_the_whisper_before_it() -> None:
    conference = Conference()
    conference.switch("agent.whisper")
    conference.say(7, FRAME * 5 + 100)
    conference.switch("agent.spy")
    conference.say(9, FRAME)

    conference.node.run(30)

    assert np.array_equal(
        conference.callee.heard[conference.callee.heard != 0], np.full(FRAME * 5 + 100, 7)
    )
    assert not conference.caller.heard.any()


def test_a_clear_drops_the_whisper_but_not_the_change_to_it() -> None:
    conference = Conference()
    conference.say(3, FRAME * 2)
    conference.agent.serve()
    conference.agent.command("agent.whisper")

    conference.agent.command("agent.interrupt")
    conference.say(4, FRAME * 3)
    conference.node.run(30)

    assert not conference.caller.heard.any()
    assert set(conference.callee.heard) == {0, 4}


def test_mode_changes_are_reported_where_they_were_heard() -> None:
    conference = Conference()
    conference.say(1, FRAME * 2)
    conference.agent.serve()
    changed_at = conference.call.tick
    conference.agent.command("agent.whisper")

    conference.node.run(10)

    report = conference.node.exchange.report(conference.call)
    assert [entered.mode for entered in report.modes] == ["barge", "whisper"]
    assert report.modes[1].at_ms == (changed_at + 2) * 20


def test_only_so_many_mode_changes_are_listed() -> None:
    conference = Conference()
    for _ in range(LISTED // 2 + 1):
        for mode in ("agent.whisper", "agent.barge"):
            conference.agent.command(mode)
            conference.node.run(1)

    assert len(conference.node.exchange.report(conference.call).modes) == LISTED


def test_a_mode_is_for_connected_calls_only() -> None:
    node = Node()
    _, agent = node.answered_call(MemoryPhone())

    for mode in MODES:
        response = agent.response(agent.command(mode))
        assert response is not None
        assert response["error_code"] == ErrorCode.INVALID_STATE
        assert "ANSWERED" in response["error_message"]


def test_isolated_channels_are_aligned_to_the_sample() -> None:
    conference = Conference(audio_mode="isolated")
    conference.caller.speak(np.arange(1, FRAME * 20 + 1, dtype=np.int16))
    conference.callee.speak(np.arange(10_001, 10_001 + FRAME * 20, dtype=np.int16))
    start = {channel: len(conference.agent.link.channels[channel]) for channel in range(3)}

    conference.node.run(20)

    mixed, caller, callee = (
        np.frombuffer(conference.agent.link.channels[channel][start[channel] :], np.int16)
        for channel in range(3)
    )
    assert len(mixed) == len(caller) == len(callee) == FRAME * 20
    assert np.array_equal(mixed, caller + callee)
    assert caller[0] != 0
    assert np.all(callee - caller == 10_000)


def test_isolated_channels_of_a_call_of_two_have_a_silent_callee() -> None:
    node = Node(audio_mode="isolated")
    call = node.place(MemoryPhone(np.arange(1, FRAME * 10 + 1, dtype=np.int16)))
    (notification,) = node.client_link.take()
    node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r")
    agent = node.agent(call)
    agent.command("call.answer")

    node.run(10)

    mixed, caller, callee = (agent.link.channels[channel] for channel in range(3))
    assert mixed == caller
    assert len(callee) == len(caller)
    assert not any(callee)


def test_call_tells_its_mode_while_an_agent_and_a_callee_are_there() -> None:
    conference = Conference()
    modes = [conference.call.mode]
    for command in MODES:
        conference.switch(command)
        conference.node.run(1)
        modes.append(conference.call.mode)

    conference.agent.command("call.close")
    conference.node.run(2)

    assert modes == ["barge", "barge", "whisper", "spy"]
    assert conference.call.mode is None


def test_ringback_is_not_what_the_callee_says() -> None:
    node = Node(dialer=MemoryDialer(MemoryCallee()), audio_mode="isolated")
    call = node.place(MemoryPhone(np.full(FRAME * 50, 7, np.int16)))
    (notification,) = node.client_link.take()
    node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r")
    agent = node.agent(call)
    agent.command("call.answer")
    agent.command("call.connect")

    node.run(20)

    mixed, caller, callee = (agent.link.channels[channel] for channel in range(3))
    assert mixed == caller
    assert len(callee) == len(caller)
    assert not any(callee)
