"""Phones without a person: they call or are called, play by a script, record what they hear.

Not here: reading WAV files (`media/sound.py`), which phone a number reaches (`simulation.py`).
Implements "Simulated phones" of docs/reference/rest.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS, AudioFormat
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.ports import CalleeProgress, PressedDigit
from telcoflow_server.legs.behaviour import Behaviour
from telcoflow_server.media.plane import MIX_RATE_HZ

SILENCE_DB = -50.0
"""Below this a frame counts as silence: speech at the far end of its fades, well above the
rounding noise of any codec."""
HANG_UP_AFTER_SILENCE_MS = 3_000
"""A person with nothing more to say who hears nothing puts the phone down."""
FLOOR_DB = -96.0
"""What a level never falls below: one step of a 16-bit sample, and a number in any format."""

KEY_MS = 120.0
"""How long people hold a key."""

_FRAME_SAMPLES = AudioFormat(MIX_RATE_HZ).frame_samples
_SAMPLES_PER_MS = MIX_RATE_HZ // 1000
_FULL_SCALE = 32768.0
_SILENCE_POWER = 10 ** (SILENCE_DB / 10)


class HeardLane(Protocol):
    """Where a phone records what it hears."""

    def write(self, frame: NDArray[np.int16]) -> None:
        """Take one tick, shape (480,). Never raises."""

    def close(self) -> None:
        """End the recording. Never raises."""


@dataclass(frozen=True, slots=True, eq=False)
class Play:
    """One sound of a script.

    Args:
        sound: int16, shape (n,), mono, 24 kHz.
        at_ms: When it begins, counted from the answer; `None`: as the one before it ends.
    """

    sound: NDArray[np.int16]
    at_ms: int | None = None

    def __post_init__(self) -> None:
        if self.at_ms is not None and self.at_ms < 0:
            raise ValueError(f"at_ms must be 0 or more, not {self.at_ms}")


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """What a simulated phone does.

    Args:
        plays: In the order that `at_ms=None` refers to. Where two overlap, both are heard.
        hang_up_after_ms: Counted from the answer, or from tick 0 while there is none. `None`:
            after everything was played and 3 s of silence were heard, or never.
        is_patient: Whether it never hangs up by itself, however long it hears nothing.
    """

    plays: tuple[Play, ...] = ()
    hang_up_after_ms: int | None = None
    is_patient: bool = False

    def __post_init__(self) -> None:
        if self.hang_up_after_ms is not None and self.hang_up_after_ms < 0:
            raise ValueError(f"hang_up_after_ms must be 0 or more, not {self.hang_up_after_ms}")


@dataclass(frozen=True, slots=True, eq=False)
class _Sound:
    """One sound in its place: samples after the answer."""

    start: int
    end: int
    samples: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Levels:
    """Loudness of the last tick, dB of full scale (root mean square), `FLOOR_DB` to 0."""

    spoken_db: float
    heard_db: float


@dataclass(frozen=True, slots=True)
class PhoneStatistics:
    """What passed through the phone.

    Attributes:
        frames_spoken: Ticks in which a sound of the script was playing.
        frames_heard: Ticks heard, silence and ringing included.
        frames_audible: Those of them at `SILENCE_DB` or above.
    """

    frames_spoken: int
    frames_heard: int
    frames_audible: int


class SimulatedPhone:
    """A party that follows a script; a `FrameSource`, a `FrameSink` and a `Phone`.

    Attach it at 24 kHz (`MIX_RATE_HZ`) from tick 0 on, so that its recording starts there. It
    plays sample-exactly: `at_ms` is a position in samples after the answering tick.

    Args:
        script: What it does.
        heard_lane: Given every frame it hears, unchanged; closed when the call ends.
    """

    def __init__(self, script: Script, heard_lane: HeardLane | None = None) -> None:
        self._script = script
        self._lane = heard_lane
        self._upcoming, self._end_samples = _timeline(script.plays)
        self._playing: list[_Sound] = []
        self._answered_tick: int | None = None
        self._has_ended = False
        self._has_hung_up = False
        self._silent_ticks = 0
        # Of the last tick. Loudness is worked out when it is asked for: hardly anybody does.
        self._spoken = np.zeros(_FRAME_SAMPLES, dtype=np.int16)
        self._heard = np.zeros(_FRAME_SAMPLES, dtype=np.int16)
        self._frames_spoken = 0
        self._frames_heard = 0
        self._frames_audible = 0
        self._pressed: list[PressedDigit] = []
        self.digits_heard = ""
        self.transferred_to: str | None = None

    sample_rate_hz = MIX_RATE_HZ

    def hears_early(self, tick: int) -> None:
        """It hears whatever there is, from the first tick on."""

    def take_digits(self) -> list[PressedDigit]:
        """Return the keys pressed since this was last asked; see `press_key`."""
        pressed, self._pressed = self._pressed, []
        return pressed

    def press_key(self, digit: str, duration_ms: float = KEY_MS) -> None:
        """Press a key, as the person would."""
        self._pressed.append(PressedDigit(digit, duration_ms))

    def press(self, digits: str) -> None:
        """Hear digits: they are kept in `digits_heard`."""
        self.digits_heard += digits

    def transfer(self, number: str) -> None:
        """Call somebody else: in a simulation whoever that is answers."""
        self.transferred_to = number

    @property
    def transferred(self) -> bool | None:
        """Whether it reached them; None while it was not asked to."""
        return None if self.transferred_to is None else True

    def answered(self, tick: int) -> None:
        """The call was answered on this tick: the script begins with it."""
        self._answered_tick = tick

    def ended(self, tick: int, reason: EndReason) -> None:
        """The call is over: silence from here on, both ways."""
        del tick, reason  # the script makes no difference between ends
        self._has_ended = True
        if self._lane is not None:
            self._lane.close()

    @property
    def has_hung_up(self) -> bool:
        """Whether the script has put the phone down."""
        return self._has_hung_up

    @property
    def levels(self) -> Levels:
        """How loud the last tick was, spoken and heard."""
        return Levels(level_db(self._spoken), level_db(self._heard))

    def statistics(self) -> PhoneStatistics:
        """Return the phone's counters."""
        return PhoneStatistics(self._frames_spoken, self._frames_heard, self._frames_audible)

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Speak: fill `out` with what the script plays in this tick. See `FrameSource.take`."""
        if self._answered_tick is None or self._has_ended or self._has_hung_up:
            self._spoken.fill(0)
            return False
        begin = (tick - self._answered_tick) * _FRAME_SAMPLES
        end = begin + _FRAME_SAMPLES
        while self._upcoming and self._upcoming[-1].start < end:
            self._playing.append(self._upcoming.pop())
        playing = self._playing = [sound for sound in self._playing if begin < sound.end]
        if not playing:
            self._spoken.fill(0)
            return False
        if len(playing) == 1 and playing[0].start <= begin and end <= playing[0].end:
            at = begin - playing[0].start
            out[:] = playing[0].samples[at : at + _FRAME_SAMPLES]
        else:
            out[:] = _mixed(playing, begin, end)
        self._spoken[:] = out
        self._frames_spoken += 1
        return True

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Hear one frame, record it, and see whether it is time to hang up."""
        if self._has_ended:
            return
        self._frames_heard += 1
        self._heard[:] = frame
        is_audible = _power(frame) >= _SILENCE_POWER
        self._frames_audible += is_audible
        if self._lane is not None:
            self._lane.write(frame)
        since = tick + 1 - (self._answered_tick or 0)  # ticks done, this one included
        if self._script.hang_up_after_ms is not None:
            self._has_hung_up |= since * TICK_MS >= self._script.hang_up_after_ms
        elif self._answered_tick is not None and not self._script.is_patient:
            is_speaking = since * _FRAME_SAMPLES <= self._end_samples
            self._silent_ticks = 0 if is_audible or is_speaking else self._silent_ticks + 1
            self._has_hung_up |= self._silent_ticks * TICK_MS >= HANG_UP_AFTER_SILENCE_MS


_COMES_TO = {
    Behaviour.ANSWER: CalleeProgress.ANSWERED,
    Behaviour.BUSY: CalleeProgress.BUSY,
    Behaviour.DECLINE: CalleeProgress.DECLINED,
    Behaviour.NO_ANSWER: CalleeProgress.RINGING,
}

DEFAULT_RING_MS = 1_000
"""How long a phone rings before it does what it does: long enough to hear ringback."""


@dataclass(frozen=True, slots=True, eq=False)
class CalleeScript:
    """What a simulated phone does that is called.

    Args:
        behaviour: What comes of the ringing.
        after_ms: Counted from the first ring.
        script: From its answer on. Unless it says when, the phone stays until the others leave.
    """

    behaviour: Behaviour = Behaviour.ANSWER
    after_ms: int = DEFAULT_RING_MS
    script: Script = Script(is_patient=True)

    def __post_init__(self) -> None:
        if self.after_ms < 0:
            raise ValueError(f"after_ms must be 0 or more, not {self.after_ms}")


class SimulatedCallee:
    """A phone that is called: a `Callee` of 24 kHz. One is made for every time it is dialled.

    Args:
        script: What it does.
        heard_lane: As of `SimulatedPhone`: given what it hears, from its answer on.
    """

    def __init__(self, script: CalleeScript, heard_lane: HeardLane | None = None) -> None:
        self._behaviour = script.behaviour
        self._ring_ticks = -(-script.after_ms // TICK_MS)
        self._first_ring_tick: int | None = None
        self._phone = SimulatedPhone(script.script, heard_lane)

    def ring(self, tick: int) -> CalleeProgress:
        """Ring, and return what came of it so far. See `Callee.ring`."""
        if self._first_ring_tick is None:
            self._first_ring_tick = tick
        if tick - self._first_ring_tick < self._ring_ticks:
            return CalleeProgress.RINGING
        return _COMES_TO[self._behaviour]

    sample_rate_hz = MIX_RATE_HZ

    def hears_early(self, tick: int) -> None:
        """See `SimulatedPhone`."""

    def take_digits(self) -> list[PressedDigit]:
        """See `SimulatedPhone`."""
        return self._phone.take_digits()

    def press_key(self, digit: str, duration_ms: float = KEY_MS) -> None:
        """See `SimulatedPhone`."""
        self._phone.press_key(digit, duration_ms)

    def press(self, digits: str) -> None:
        """See `SimulatedPhone`."""
        self._phone.press(digits)

    def transfer(self, number: str) -> None:
        """See `SimulatedPhone`."""
        self._phone.transfer(number)

    @property
    def transferred(self) -> bool | None:
        """See `SimulatedPhone`."""
        return self._phone.transferred

    def decline(self) -> None:
        """Put the phone down while it rings, whatever it would have done."""
        self._behaviour, self._ring_ticks = Behaviour.DECLINE, 0

    def answered(self, tick: int) -> None:
        """The script begins with this tick."""
        self._phone.answered(tick)

    def ended(self, tick: int, reason: EndReason) -> None:
        """The call is over, or nobody waits for an answer any more."""
        self._phone.ended(tick, reason)

    @property
    def has_hung_up(self) -> bool:
        """Whether the script has put the phone down."""
        return self._phone.has_hung_up

    @property
    def levels(self) -> Levels:
        """How loud the last tick was, spoken and heard."""
        return self._phone.levels

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """Speak; see `SimulatedPhone.take`."""
        return self._phone.take(tick, out)

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Hear; see `SimulatedPhone.put`."""
        self._phone.put(tick, frame)


def level_db(frame: NDArray[np.int16]) -> float:
    """Return a frame's root mean square in dB of full scale, `FLOOR_DB` at least."""
    power = _power(frame)
    return max(FLOOR_DB, 10 * log10(power)) if power else FLOOR_DB


def _power(frame: NDArray[np.int16]) -> float:
    """Return the mean square, 0 to 1."""
    samples = frame.astype(np.float64)
    return float(np.dot(samples, samples)) / frame.size / _FULL_SCALE**2


def _timeline(plays: tuple[Play, ...]) -> tuple[list[_Sound], int]:
    """Return the sounds of a script, the last one first, and the sample at which all have ended."""
    sounds: list[_Sound] = []
    end = last_end = 0
    for play in plays:
        start = end if play.at_ms is None else play.at_ms * _SAMPLES_PER_MS
        end = start + play.sound.size
        last_end = max(last_end, end)
        sounds.append(_Sound(start, end, play.sound))
    return sorted(sounds, key=lambda sound: -sound.start), last_end


def _mixed(playing: list[_Sound], begin: int, end: int) -> NDArray[np.int64]:
    """Return what sounds between two samples, saturated."""
    mix = np.zeros(end - begin, dtype=np.int64)
    for sound in playing:
        first, last = max(begin, sound.start), min(end, sound.end)
        mix[first - begin : last - begin] += sound.samples[first - sound.start : last - sound.start]
    return np.clip(mix, -32768, 32767)
