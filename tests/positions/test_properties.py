"""What holds whatever an agent does and whatever becomes of its link: the whole system, in virtual
time, under random scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, CallState
from telcoflow_sdk.playback import Interruption, Mark
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.testing import LiveCallee, LivePhone, Sandbox, run_virtual
from telcoflow_server.legs.agent import AgentLeg
from tests.positions.ruler import SAMPLES_PER_MS, ruler
from tests.positions.stage import (
    Diary,
    Speaker,
    at_once,
    media_links,
    outage,
    release,
    serving,
)


class Do(Enum):
    """One step of a script; most have a number."""

    WRITE = auto()  # so many samples
    WRITE_IN_HALVES = auto()  # the same, split in the middle of a sample
    WAIT = auto()  # ms
    END = auto()
    MARK = auto()
    INTERRUPT = auto()
    PAUSE = auto()
    RESUME = auto()
    BARGE = auto()
    WHISPER = auto()
    SPY = auto()
    CUT = auto()  # the socket is gone, with all that is in it
    REPLACE = auto()  # the agent's end goes; what is under way arrives late, if ever
    AWAY = auto()  # cut, and no other link for so many ms
    HOLD = auto()
    RELEASE = auto()
    SLOW = auto()
    TURNS = auto()  # of the event loop: so that the next step hits a link that is being opened


Step = tuple[Do, int]

SLOW_BYTES_PER_S = 30_000.0
"""Less than audio needs."""

MODES = {Do.BARGE: "barge", Do.WHISPER: "whisper", Do.SPY: "spy"}

MOST = {Do.WRITE: 6_000, Do.WRITE_IN_HALVES: 6_000, Do.WAIT: 300, Do.AWAY: 1_500, Do.TURNS: 8}
"""The largest number of each; a script says how much of it, percent."""

OFTEN = {Do.WRITE: 4, Do.WAIT: 3, Do.MARK: 3, Do.INTERRUPT: 2, Do.CUT: 2, Do.TURNS: 2}
"""How often each is drawn, if not once."""

STEP = st.tuples(
    st.sampled_from([do for do in Do for _ in range(OFTEN.get(do, 1))]), st.integers(0, 100)
)


@dataclass(slots=True)
class Generation:
    """What was written between two interruptions.

    Attributes:
        first: Where on the ruler it begins.
        written: Samples.
        modes: From which sample on whom it was meant for.
        sent: When it was cleared, or has been seen.
    """

    first: int
    written: int = 0
    modes: list[tuple[int, str]] = field(default_factory=list)
    sent: int = 0
    requested: int = 0
    interruption: asyncio.Future[Interruption] | None = None


class Script:
    """Runs steps in a call of three; checks positions after each of them."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self._speaker = Speaker()
        self._mode = "barge"
        self._started: list[asyncio.Future[Any]] = []
        self._away: asyncio.Task[None] | None = None
        self._replaced: list[Any] = []
        self._is_over = asyncio.Event()
        self.generations = [Generation(0, modes=[(0, "barge")])]
        self.marks: list[tuple[str, int, int]] = []  # name, generation, offset

    async def run(self) -> None:
        async with Sandbox() as sandbox:
            self._sandbox = sandbox
            self.callee: LiveCallee = sandbox.callee(after_s=0.0)
            async with serving(sandbox, self._agent):
                self.caller: LivePhone = await sandbox.dial()
                await self._is_over.wait()
                await self.caller.listen(0.1)
                reason = await self.caller.hang_up()
        assert reason is EndReason.CALLER_HUNG_UP

    async def _agent(self, call: ActiveCall) -> None:
        self._call = call
        self.diary = Diary(call, events.MARK_PLAYED, events.MARK_CLEARED)
        await call.answer()
        await call.connect(20)
        self._rung_ticks = self.caller.line.heard_ticks
        server_call = self._sandbox.exchange.find(call.call_id)
        assert server_call is not None
        assert server_call.seat.agent is not None
        self._leg: AgentLeg = server_call.seat.agent.leg
        for step in self._steps:
            await self._take(*step)
            self._check_positions()
        await self._finish()
        self._is_over.set()

    async def _finish(self) -> None:
        """Let everything pass, and everything be played."""
        if self._away is not None:
            await self._away
        for link in [*self._replaced, *media_links(self._sandbox)]:
            link.up.rate_bytes_per_s = None
            release(link)
        await self._call.resume_playback()
        await self._call.drain()
        for future in self._started:
            await future
        await asyncio.sleep(0.1)
        self._check_positions()
        assert self._call.state is CallState.CONNECTED
        assert self._call.playback.queued_ms == self._call.playback.in_flight_ms == 0

    async def _take(self, do: Do, percent: int) -> None:
        number = 1 + percent * (MOST.get(do, 1) - 1) // 100
        call = self._call
        match do:
            case Do.WRITE | Do.WRITE_IN_HALVES:
                await self._write(number, in_halves=do is Do.WRITE_IN_HALVES)
            case Do.WAIT:
                for _ in range(number // 20 + 1):
                    await asyncio.sleep(min(number, 20) / 1000)
                    self._check_positions()
            case Do.TURNS:
                for _ in range(number):
                    await asyncio.sleep(0)
            case Do.END:
                call.end_utterance()
            case Do.MARK:
                name = f"m{len(self.marks)}"
                self.marks.append((name, len(self.generations) - 1, self.generations[-1].written))
                self._start(call.mark(name))
            case Do.INTERRUPT:
                self._note_sent()
                self.generations[-1].interruption = self._start(call.interrupt())
                following = Generation(self._speaker.said, modes=[(0, self._mode)])
                self.generations.append(following)
            case Do.PAUSE:
                self._start(call.pause_playback())
            case Do.RESUME:
                self._start(call.resume_playback())
            case Do.BARGE | Do.WHISPER | Do.SPY:
                self._mode = MODES[do]
                generation = self.generations[-1]
                generation.modes.append((generation.written, self._mode))
                self._start(getattr(call, self._mode)())
            case _:
                self._disturb(do, number)

    def _start(self, command: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Let a command leave; nobody waits for its answer."""
        future = at_once(command)
        self._started.append(future)
        return future

    async def _write(self, samples: int, *, in_halves: bool) -> None:
        pcm = self._speaker.next(samples).tobytes()
        self.generations[-1].written += samples
        middle = samples | 1 if in_halves else 0
        await self._call.send_audio(pcm[:middle])
        await self._call.send_audio(pcm[middle:])

    def _disturb(self, do: Do, number: int) -> None:
        links = media_links(self._sandbox)
        is_away = self._away is not None and not self._away.done()
        if not links or is_away:
            return
        link = links[-1]
        match do:
            case Do.CUT:
                link.cut()
            case Do.REPLACE:
                link.up.hold()
                link.agent.vanish()
                self._replaced.append(link)
            case Do.AWAY:
                self._away = asyncio.create_task(outage(link, number / 1000))
            case Do.HOLD:
                link.up.hold()
                link.down.hold()
            case Do.RELEASE:
                for one in [*self._replaced, link]:
                    release(one)
            case Do.SLOW:
                link.up.rate_bytes_per_s = SLOW_BYTES_PER_S

    # --- what holds at every step ---

    def _note_sent(self) -> int:
        """Return how much of the generation the client says was played."""
        generation, playback = self.generations[-1], self._call.playback
        queued, in_flight, lead = (
            round(ms * SAMPLES_PER_MS)
            for ms in (playback.queued_ms, playback.in_flight_ms, playback.lead_ms)
        )
        sent = generation.written - queued
        assert generation.sent <= sent
        generation.sent = sent
        played = sent - in_flight
        generation.requested = max(generation.requested, played + lead)
        return played

    def _check_positions(self) -> None:
        """requested >= sent >= received >= played, and the client knows of no more than that."""
        played_by_client = self._note_sent()
        number, received, played = self._leg.generation, self._leg.received, self._leg.played
        newest = len(self.generations) - 1
        assert number <= newest
        generation = self.generations[number]
        assert generation.requested >= generation.sent >= received >= played >= 0
        assert generation.written >= generation.sent
        if number == newest:
            assert played >= played_by_client >= 0

    # --- what holds in the end ---

    def check_sound(self) -> None:
        """Nothing is heard twice, or lost unless it was cleared, or by others than it is for."""
        expected: dict[str, list[Any]] = {"barge": [], "whisper": [], "spy": []}
        for generation in self.generations:
            played = generation.written
            if generation.interruption is not None:
                dropped_ms = generation.interruption.result().dropped_ms
                played -= round(dropped_ms * SAMPLES_PER_MS)
            assert 0 <= played <= generation.written
            ends = [offset for offset, _ in generation.modes[1:]] + [generation.written]
            for (begin, mode), end in zip(generation.modes, ends, strict=True):
                piece = ruler(generation.first + begin, max(0, min(end, played) - begin))
                for listener in {"barge": ("barge", "whisper"), "whisper": ("whisper",)}.get(
                    mode, ()
                ):
                    expected[listener].append(piece)
        nothing = [np.zeros(0, np.int16)]
        line = self.caller.line
        by_caller = line.heard(self._rung_ticks, line.heard_ticks)
        by_callee = self.callee.heard.samples
        for heard, listener in ((by_caller, "barge"), (by_callee, "whisper")):
            heard = heard[heard != 0]
            assert np.array_equal(heard, np.concatenate(nothing + expected[listener]))

    def check_marks(self) -> None:
        """Each is told once, in order, and for what it is."""
        told = [one for _, _, (one,) in self.diary.entries]
        marks = [mark for mark in told if isinstance(mark, Mark)]
        assert [mark.name for mark in marks] == [name for name, _, _ in self.marks]
        for mark, (_, number, offset) in zip(marks, self.marks, strict=True):
            generation = self.generations[number]
            played = generation.written
            if generation.interruption is not None:
                dropped_ms = generation.interruption.result().dropped_ms
                played -= round(dropped_ms * SAMPLES_PER_MS)
            if mark.at_ms is None:
                assert generation.interruption is not None
                assert offset >= played
            else:
                assert offset <= played


def holds(steps: list[Step]) -> None:
    script = Script(steps)
    run_virtual(script.run())
    script.check_sound()
    script.check_marks()


common = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(common, max_examples=100, derandomize=True)
@given(st.lists(STEP, min_size=10, max_size=40))
def test_positions_sound_and_marks_hold_whatever_happens(steps: list[Step]) -> None:
    holds(steps)


@pytest.mark.long
@settings(common, max_examples=2_000)
@given(st.lists(STEP, min_size=20, max_size=80))
def test_they_hold_in_thousands_of_scripts(steps: list[Step]) -> None:
    holds(steps)
