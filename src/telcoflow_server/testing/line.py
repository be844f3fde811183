"""The audio of a phone that a test holds: says what it is given, keeps what it hears.

Not here: waiting (`phone.py`). Driven by the tick; no asyncio.
Implements docs/how-to/test-your-agent.md together with `phone.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.ports import CalleeProgress, PressedDigit
from telcoflow_server.legs.simulated import KEY_MS, SILENCE_DB, level_db
from telcoflow_server.media.plane import MIX_RATE_HZ
from telcoflow_server.media.sound import Sound
from telcoflow_server.testing.sound import FRAME_SAMPLES


class PhoneState(StrEnum):
    """Where a phone stands."""

    IDLE = "IDLE"  # a callee nobody has called yet
    RINGING = "RINGING"  # the other side's, for a caller; its own, for a callee
    TALKING = "TALKING"
    ENDED = "ENDED"


_SILENCE = np.zeros(FRAME_SAMPLES, np.int16)


class PhoneLine:
    """A phone on the line; a `PhoneOnLine`, and to those who ring it a `Callee`.

    Args:
        state: RINGING for a phone that calls, IDLE for one that waits to be called.
        changed: Called after everything that happens to it, at least once a tick.
    """

    def __init__(self, state: PhoneState, changed: Callable[[], None]) -> None:
        self.state = state
        self.end_reason: EndReason | None = None
        self.progress = CalleeProgress.RINGING
        self.rung_ticks = 0
        self.quiet_ticks = 0
        """For how long nothing was heard."""
        self.has_hung_up = False
        self.digits_heard = ""
        self.transferred_to: str | None = None
        self._pressed: list[PressedDigit] = []
        self.answered_ticks = 0
        """How many frames had been heard when the call was answered, the last one if several."""
        self._changed = changed
        self._speech: deque[Sound] = deque()
        self._frames: list[Sound] = []
        self._said: dict[int, Sound] = {}

    # --- the test's side -------------------------------------------------------------------

    def say(self, sound: Sound) -> None:
        """Say this after what is still to be said; after the call nobody says anything."""
        if sound.size and self.state is not PhoneState.ENDED:
            self._speech.append(sound)

    def be_quiet(self) -> None:
        """Say no more of what is still to be said."""
        self._speech.clear()

    @property
    def is_speaking(self) -> bool:
        """Whether something is still to be said."""
        return bool(self._speech)

    @property
    def heard_ticks(self) -> int:
        """How many frames were heard."""
        return len(self._frames)

    def heard(self, first: int, last: int) -> Sound:
        """Return frames `first` to before `last` of what was heard, as one sound."""
        frames = self._frames[first:last]
        return np.concatenate(frames) if frames else np.zeros(0, np.int16)

    def said(self) -> Sound:
        """Return what was said, on the time axis of all that was heard: silence where nothing."""
        frames = [self._said.get(number, _SILENCE) for number in range(len(self._frames))]
        return np.concatenate(frames) if frames else np.zeros(0, np.int16)

    def begin_to_ring(self) -> None:
        """Somebody calls this phone."""
        self.state = PhoneState.RINGING
        self.end_reason = None
        self.progress = CalleeProgress.RINGING
        self.rung_ticks = 0
        self.has_hung_up = False
        self._changed()

    def press_key(self, digit: str) -> None:
        """Press a key."""
        self._pressed.append(PressedDigit(digit, KEY_MS))

    # --- the call's side -------------------------------------------------------------------

    sample_rate_hz = MIX_RATE_HZ

    def hears_early(self, tick: int) -> None:
        """See `Phone`: it hears whatever there is."""

    def take_digits(self) -> list[PressedDigit]:
        """See `Keypad`."""
        pressed, self._pressed = self._pressed, []
        return pressed

    def press(self, digits: str) -> None:
        """See `Keypad`."""
        self.digits_heard += digits
        self._changed()

    def transfer(self, number: str) -> None:
        """See `Keypad`: whoever that is answers."""
        self.transferred_to = number

    @property
    def transferred(self) -> bool | None:
        """See `Keypad`."""
        return None if self.transferred_to is None else True

    def ring(self, tick: int) -> CalleeProgress:
        """See `Callee`."""
        self.rung_ticks += 1
        self._changed()
        return self.progress

    def answered(self, tick: int) -> None:
        """See `Phone`."""
        self.state = PhoneState.TALKING
        self.answered_ticks = len(self._frames)
        self._changed()

    def ended(self, tick: int, reason: EndReason) -> None:
        """See `Phone`: what was not said is not said any more."""
        self.state = PhoneState.ENDED
        self.end_reason = reason
        self._speech.clear()
        self._changed()

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """See `FrameSource`."""
        if self.state is not PhoneState.TALKING or not self._speech:
            return False
        filled = 0
        while self._speech and filled < out.size:
            sound = self._speech.popleft()
            piece = sound[: out.size - filled]
            out[filled : filled + piece.size] = piece
            filled += piece.size
            if piece.size < sound.size:
                self._speech.appendleft(sound[piece.size :])
        out[filled:] = 0
        self._said[len(self._frames)] = out.copy()  # the frame of this tick is heard after it
        return True

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """See `FrameSink`."""
        self._frames.append(frame.copy())
        is_audible = bool(frame.any()) and level_db(frame) >= SILENCE_DB
        self.quiet_ticks = 0 if is_audible else self.quiet_ticks + 1
        self._changed()
