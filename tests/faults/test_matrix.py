"""Every fault at every moment of a call, on either link: the people on the phone never suffer more
than silence or a hang-up, and nothing is left behind. In virtual time.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.testing import run_virtual
from tests.support.faults import Fault
from tests.support.faulty_call import (
    AGENT_SAYS,
    BEGINS_S,
    CONNECT_S,
    GREETING,
    LAST_WORDS,
    LOWEST,
    QUESTION,
    Faulty,
    Moment,
    Samples,
    Which,
    assert_no_loop,
    run,
    said_by,
)

HARMLESS = (Fault.FREEZE, Fault.BYTEWISE)
"""What a media link survives: what was held up arrives, late."""

RESUMED = (Fault.CUT, Fault.STALL, Fault.AGENT_LEFT_OPEN, Fault.SERVER_LEFT_OPEN)
"""What it does not survive; another link takes its place."""

GRACE_S = 10.0
"""How long a call waits for that."""

RINGBACK_S = 1.02
"""The callee answers after a second; the tick on which it does belongs to the ringing."""


def open_descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").glob("*")}


def run_without_a_trace(which: Which, fault: Fault, moment: Moment) -> Faulty:
    """Run it; assert that nothing of it is left."""
    threads, descriptors = set(threading.enumerate()), open_descriptors()

    outcome = run_virtual(run(which, fault, moment))

    assert outcome.left == []
    assert set(threading.enumerate()) == threads
    assert open_descriptors() == descriptors
    return outcome


def agent_heard(outcome: Faulty) -> Samples:
    """Return what of the caller's words came out of `audio_stream`."""
    return said_by(np.frombuffer(bytes(outcome.agent_heard), np.int16), QUESTION)


def ringback_s(heard: Samples) -> float:
    """Return for how long something else than speech was heard."""
    tone = (heard != 0) & (np.abs(heard.astype(np.int32)) < LOWEST)
    return float(tone.sum()) / 24_000


def assert_people_were_well_treated(outcome: Faulty) -> None:
    caller, callee = outcome.caller.heard.samples, outcome.callee.heard.samples
    assert_no_loop(caller, AGENT_SAYS)
    assert_no_loop(callee, AGENT_SAYS)
    assert_no_loop(callee, np.concatenate((QUESTION, LAST_WORDS)))
    # The agent hears the last words if it could not do its part and is still there.
    by_agent = np.frombuffer(bytes(outcome.agent_heard), np.int16)
    assert_no_loop(by_agent, np.concatenate((QUESTION, LAST_WORDS)))
    assert ringback_s(caller) <= RINGBACK_S, "ringback goes on"
    if outcome.was_connected:
        last_words = callee[callee <= LAST_WORDS.max()]
        assert last_words.tolist() == LAST_WORDS.tolist(), "caller and callee go on"


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("fault", Fault)
def test_a_fault_of_the_control_link_is_not_heard_in_a_call(fault: Fault, moment: Moment) -> None:
    outcome = run_without_a_trace(Which.CONTROL, fault, moment)

    assert_people_were_well_treated(outcome)
    assert said_by(outcome.caller.heard.samples, AGENT_SAYS).tolist() == AGENT_SAYS.tolist()
    assert (outcome.reason, outcome.errors) == (EndReason.CALLER_HUNG_UP, [])
    assert outcome.was_connected
    assert outcome.is_well_again


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("fault", HARMLESS)
def test_what_was_held_up_on_the_media_link_is_heard_late_and_whole(
    fault: Fault, moment: Moment
) -> None:
    outcome = run_without_a_trace(Which.MEDIA, fault, moment)

    assert_people_were_well_treated(outcome)
    assert said_by(outcome.caller.heard.samples, AGENT_SAYS).tolist() == AGENT_SAYS.tolist()
    assert (outcome.reason, outcome.errors) == (EndReason.CALLER_HUNG_UP, [])
    assert outcome.is_well_again


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("fault", RESUMED)
def test_a_media_link_that_is_lost_is_resumed_and_nothing_else_is(
    fault: Fault, moment: Moment
) -> None:
    outcome = run_without_a_trace(Which.MEDIA, fault, moment)

    assert_people_were_well_treated(outcome)
    assert said_by(outcome.caller.heard.samples, AGENT_SAYS).tolist() == AGENT_SAYS.tolist()
    assert agent_heard(outcome).tolist() == (QUESTION.tolist() if outcome.has_asked else [])
    assert (outcome.reason, outcome.errors) == (EndReason.CALLER_HUNG_UP, [])
    assert outcome.outages == {events.MEDIA_INTERRUPTED: 1, events.MEDIA_RESUMED: 1}
    assert outcome.was_connected
    assert outcome.is_well_again


@pytest.mark.parametrize("moment", Moment)
def test_a_media_link_that_is_too_slow_ends_no_call(moment: Moment) -> None:
    outcome = run_without_a_trace(Which.MEDIA, Fault.SLOW, moment)

    assert_people_were_well_treated(outcome)
    heard = said_by(outcome.caller.heard.samples, AGENT_SAYS)
    assert heard[: GREETING.size].tolist() == GREETING.tolist()
    assert outcome.reason is EndReason.CALLER_HUNG_UP
    assert outcome.outages[events.MEDIA_INTERRUPTED] == outcome.outages[events.MEDIA_RESUMED]
    assert outcome.was_connected
    assert outcome.is_well_again


@pytest.mark.parametrize("moment", Moment)
def test_a_call_whose_agent_cannot_come_back_ends_or_goes_on_without_it(moment: Moment) -> None:
    outcome = run_without_a_trace(Which.MEDIA, Fault.GONE, moment)

    assert_people_were_well_treated(outcome)
    assert outcome.outages == {events.MEDIA_INTERRUPTED: 1}
    if outcome.was_connected:
        assert outcome.reason is EndReason.CALLER_HUNG_UP
    else:
        assert outcome.reason is EndReason.AGENT_LOST
        assert outcome.ended_s == pytest.approx(BEGINS_S[moment] + GRACE_S, abs=0.05)
    assert outcome.was_connected is (BEGINS_S[moment] >= CONNECT_S)
    assert outcome.is_well_again


def test_a_call_with_a_fault_gives_the_same_bytes_again() -> None:
    first, again = (
        run_virtual(run(Which.MEDIA, Fault.SLOW, Moment.AGENT_TALKING)) for _ in range(2)
    )

    assert first.caller.heard.pcm == again.caller.heard.pcm
    assert first.agent_heard == again.agent_heard
    assert first.ended_s == again.ended_s


@pytest.mark.parametrize(
    ("heard", "problem"),
    [
        (np.concatenate((AGENT_SAYS[:4_800], AGENT_SAYS[:4_800])), "in another order"),
        (np.repeat(AGENT_SAYS[4_800:4_801], 24_000), "heard twice"),
        (AGENT_SAYS[:480] + 5_000, "nobody said"),
    ],
)
def test_a_loop_and_a_stuck_sound_are_told(heard: Samples, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        assert_no_loop(heard, AGENT_SAYS)
