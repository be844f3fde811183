"""Calls of simulated phones: placed or dialled, and kept for a while after their end.

Not here: the phones (`legs/simulated.py`), HTTP (`api/sandbox.py`). In a sandbox only.
Implements the simulated phones of docs/reference/rest.md.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Draining, Exchange, NewCall, QuotaExceeded
from telcoflow_server.call.placing import CallRefused
from telcoflow_server.call.ports import Callee, DialRequest
from telcoflow_server.call.recordings import Recording, Recordings
from telcoflow_server.call.report import CallReport
from telcoflow_server.call.session import Session
from telcoflow_server.legs.agent_state import AgentAudio
from telcoflow_server.legs.simulated import CalleeScript, Script, SimulatedCallee, SimulatedPhone
from telcoflow_server.media.record import Lane, Recorder
from telcoflow_server.media.routing import Slot

FINISHED_CALLS_KEPT = 500
"""Reports and recordings of ended calls that can still be fetched: more than end at once in a
load test on one machine. Their files are a minute of speech, about 10 MB, each."""

FETCH_GRACE_S = 2.0
"""How long recordings stay for whoever placed the last calls of a sandbox that shuts down."""

PHONES_KEPT = 64
"""Registered phones; each may hold minutes of sound."""

TIMELINE_TICKS_KEPT = 30_000
"""Ten minutes of queue levels for the picture."""

DEFAULT_CALLEE = CalleeScript()
"""Whoever is called and was told nothing: answers after a second, listens, and stays."""


class PhoneBook:
    """Which simulated phone a dialled number reaches; a `Dialer`."""

    def __init__(self) -> None:
        self._phones: OrderedDict[tuple[str, str], CalleeScript] = OrderedDict()
        self._lines: dict[str, Callable[[CalleeScript], SimulatedCallee]] = {}

    def register(self, connector_uuid: str, number: str, script: CalleeScript) -> None:
        """Let a number of a connector's behave so; the oldest of many is forgotten."""
        self._phones.pop((connector_uuid, number), None)
        self._phones[connector_uuid, number] = script
        while len(self._phones) > PHONES_KEPT:
            self._phones.popitem(last=False)

    def connect(self, call_id: str, ring: Callable[[CalleeScript], SimulatedCallee]) -> None:
        """Let phones that this call dials be made by `ring`, from what their number is to do."""
        self._lines[call_id] = ring

    def disconnect(self, call_id: str) -> None:
        """The call is over."""
        self._lines.pop(call_id, None)

    def dial(self, request: DialRequest) -> Callee:
        """See `Dialer`: every number is somebody's, also to a caller with a real phone."""
        ring = self._lines.get(request.call_id) or SimulatedCallee
        number = (request.connector_uuid, request.number)
        return ring(self._phones.get(number, DEFAULT_CALLEE))


@dataclass(frozen=True, slots=True)
class Folders:
    """Where recordings go.

    Args:
        scratch: Until they are fetched or forgotten.
        kept: The recordings of calls, for good; None: they are forgotten like the rest.
        is_split: Whether to keep one recording for each party, too.
    """

    scratch: Path
    kept: Path | None
    is_split: bool = False


class Timeline:
    """Where an agent's audio was, tick by tick, for the first ten minutes of a call.

    Attributes:
        queued_ms: At the server.
        heard_ms: Of the utterance in progress.
        lead_ms: What was kept queued and in flight.
    """

    __slots__ = ("heard_ms", "lead_ms", "queued_ms")

    def __init__(self) -> None:
        self.queued_ms = array("f")
        self.heard_ms = array("f")
        self.lead_ms = array("f")

    def add(self, audio: AgentAudio) -> None:
        """Note one tick."""
        if len(self.queued_ms) < TIMELINE_TICKS_KEPT:
            self.queued_ms.append(audio.queued_ms)
            self.heard_ms.append(audio.heard_ms)
            self.lead_ms.append(audio.lead_ms)


@dataclass(slots=True, eq=False)
class SimulatedCall:
    """A call with a simulated phone in it, running or ended.

    Attributes:
        caller: The phone in the caller's place: of an outbound call the one dialled, or None yet.
        callee: The phone last rung by `connect`, or None.
        callee_script: What that phone does; None: what its number is registered for.
        report: After the end.
        timeline: Where the agent's audio was, tick by tick.
        ended: Set with the report.
    """

    call: Call
    heard_file: Path
    callee_heard_file: Path
    call_file: Path
    callee_script: CalleeScript | None = None
    caller: SimulatedPhone | SimulatedCallee | None = None
    callee: SimulatedCallee | None = None
    report: CallReport | None = None
    timeline: Timeline = field(default_factory=Timeline)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def hang_up(self) -> None:
        """Put the phone in the caller's place down."""
        is_ringing = self.call.state is CallState.PENDING
        if is_ringing and isinstance(self.caller, SimulatedCallee):
            self.caller.decline()
        else:
            self.call.end(EndReason.CALLER_HUNG_UP)


class Simulation:
    """The calls of a sandbox.

    Args:
        exchange: Where they run.
        book: Its dialer.
        recorder: Writes what phones hear.
        folders: Where to.

    Concurrency: one event loop; no method waits.
    """

    def __init__(
        self, exchange: Exchange, book: PhoneBook, recorder: Recorder, folders: Folders
    ) -> None:
        self.exchange = exchange
        self.book = book
        self._recorder = recorder
        self._folders = folders
        self._calls: OrderedDict[str, SimulatedCall] = OrderedDict()
        self._last_end_s = -FETCH_GRACE_S

    @property
    def fetch_grace_s(self) -> float:
        """How long to wait before the recordings of the calls that ended last are deleted."""
        return max(0.0, self._last_end_s + FETCH_GRACE_S - time.monotonic())

    def place(
        self, new_call: NewCall, script: Script, callee_script: CalleeScript | None
    ) -> SimulatedCall:
        """Let a simulated phone call.

        Raises:
            Draining, QuotaExceeded: as `Exchange.check_room`.
        """
        call_id = self._next_id(new_call.connector_uuid)
        heard = self._recorder.open(self._heard_file(call_id), channels=1)
        phone = SimulatedPhone(script, heard)
        call = self.exchange.place(
            phone,
            new_call,
            recordings=self._recordings(call_id),
            call_id=call_id,
            on_ended=self._ended,
        )
        simulated = self._keep(call)
        simulated.caller, simulated.callee_script = phone, callee_script
        return simulated

    def make_call(self, connector_uuid: str, number: str, ring_time_s: int) -> Session:
        """Place a call to a simulated phone for an agent; a `CallMaker`."""
        try:
            call_id = self._next_id(connector_uuid)
            session = self.exchange.place_outbound(
                NewCall(connector_uuid, "", number, int(time.time())),
                ring_time_s,
                recordings=self._recordings(call_id),
                call_id=call_id,
                on_ended=self._ended,
            )
        except Draining as error:
            raise CallRefused(ErrorCode.DRAINING, str(error)) from None
        except QuotaExceeded as error:
            raise CallRefused(ErrorCode.OUTBOUND_OVERFLOW, str(error)) from None
        call = self.exchange.find(call_id)
        assert call is not None, "placed just now"
        self._keep(call)
        return session

    def find(self, call_id: str, connector_uuid: str) -> SimulatedCall | None:
        """Return this connector's call of that id, unless it ended long ago."""
        simulated = self._calls.get(call_id)
        is_theirs = simulated and simulated.call.identity.connector_uuid == connector_uuid
        return simulated if is_theirs else None

    def calls(self, connector_uuid: str) -> list[SimulatedCall]:
        """Return a connector's calls, newest first."""
        return [
            simulated
            for simulated in reversed(self._calls.values())
            if simulated.call.identity.connector_uuid == connector_uuid
        ]

    def sample(self) -> None:
        """Note the queue level of every running call; called once before each tick."""
        for simulated in self._calls.values():
            if simulated.report is None:
                simulated.timeline.add(simulated.call.seat.audio)

    def flush(self) -> None:
        """Wait until recordings of ended calls are in their files; blocks."""
        self._recorder.flush()

    def close(self) -> None:
        """Delete what nobody can fetch any more."""
        for simulated in self._calls.values():
            self._forget(simulated)
        self._calls.clear()

    # --- one call --------------------------------------------------------------------------

    def _next_id(self, connector_uuid: str) -> str:
        self.exchange.check_room(connector_uuid)  # asked before files are made for the call
        return self.exchange.new_id()

    def _keep(self, call: Call) -> SimulatedCall:
        call_id = call.identity.call_id
        simulated = self._calls[call_id] = SimulatedCall(
            call,
            self._heard_file(call_id),
            self._folders.scratch / f"{call_id}.callee-heard.wav",
            self._call_file(call_id),
        )
        self.book.connect(call_id, lambda script: self._ring(simulated, script))
        return simulated

    def _ring(self, simulated: SimulatedCall, script: CalleeScript) -> SimulatedCallee:
        """Make the phone that is dialled: whom an outbound call is for, else the callee."""
        if simulated.caller is None:
            tape = _Tape(self._recorder, simulated.heard_file, simulated.call)
            simulated.caller = person = SimulatedCallee(script, tape)
            return person
        tape = _Tape(self._recorder, simulated.callee_heard_file, simulated.call)
        simulated.callee = callee = SimulatedCallee(simulated.callee_script or script, tape)
        return callee

    def _ended(self, call: Call) -> None:
        simulated = self._calls[call.identity.call_id]
        self.book.disconnect(call.identity.call_id)
        simulated.report = self.exchange.report(call)
        simulated.caller = simulated.callee = None  # they hold the sounds they played
        simulated.ended.set()
        self._last_end_s = time.monotonic()
        finished = [other for other in self._calls.values() if other.report is not None]
        for old in finished[:-FINISHED_CALLS_KEPT]:
            del self._calls[old.call.identity.call_id]
            self._forget(old)

    def _forget(self, simulated: SimulatedCall) -> None:
        simulated.heard_file.unlink(missing_ok=True)
        simulated.callee_heard_file.unlink(missing_ok=True)
        if self._folders.kept is None:
            simulated.call_file.unlink(missing_ok=True)

    # --- files -----------------------------------------------------------------------------

    def _heard_file(self, call_id: str) -> Path:
        return self._folders.scratch / f"{call_id}.heard.wav"

    def _call_file(self, call_id: str) -> Path:
        return (self._folders.kept or self._folders.scratch) / f"{call_id}.wav"

    def _recordings(self, call_id: str) -> Recordings:
        split: dict[Slot, Recording] = {}
        if self._folders.is_split and self._folders.kept is not None:
            for slot in Slot:
                file = self._folders.kept / f"{call_id}.{slot.name.lower()}.wav"
                split[slot] = self._recorder.open(file, channels=1)
        return Recordings(self._recorder.open(self._call_file(call_id), channels=2), split)


class _Tape:
    """What a phone hears that joins a call after its beginning, aligned with tick 0.

    The file is made when there is something to hear.
    """

    def __init__(self, recorder: Recorder, file: Path, call: Call) -> None:
        self._recorder = recorder
        self._file = file
        self._call = call
        self._lane: Lane | None = None

    def write(self, frame: NDArray[np.int16]) -> None:
        """Record one tick."""
        if self._lane is None:
            self._lane = self._recorder.open(self._file, channels=1)
            self._lane.skip(self._call.tick * TICK_MS)
        self._lane.write(frame)

    def close(self) -> None:
        """End the recording, if it ever began."""
        if self._lane is not None:
            self._lane.close()
