"""Whose audio is whose: the turns of a model in what was queued for the caller.

Not here: the call (`bridge.py`).
Implements "Turns" of docs/explanation/models-and-interruptions.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, AudioFormat

_REMEMBERED = 256
"""Interrupted turns whose late audio is recognised; a model is a few turns ahead at most."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What an interruption left of one part of what the model had said.

    Attributes:
        turn: As given with the audio.
        part: As given with the audio; the turn where none was given.
        heard_ms: How much of the part the caller heard, milliseconds, 0 to `said_ms`.
        said_ms: How long the part was until the interruption.
        is_measured: Whether the server counted this; False: the last number it had told before.
    """

    turn: Any
    part: Any
    heard_ms: float
    said_ms: float
    is_measured: bool


@dataclass(slots=True)
class Part:
    """Some audio of one turn, in one piece.

    Attributes:
        turn: Whose it is.
        part: What of the turn.
        size_bytes: How long it is.
    """

    turn: Hashable
    part: Hashable
    size_bytes: int


class Turns:
    """Keeps the account of what was queued since the last interruption, and who was interrupted.

    Args:
        audio_format: Of the audio.
    """

    __slots__ = ("_audio_format", "_interrupted", "_parts")

    def __init__(self, audio_format: AudioFormat) -> None:
        self._audio_format = audio_format
        self._parts: list[Part] = []
        self._interrupted: deque[Hashable] = deque(maxlen=_REMEMBERED)

    def is_interrupted(self, turn: Hashable) -> bool:
        """Return whether audio of this turn must not be heard any more; None never is."""
        return turn is not None and turn in self._interrupted

    def is_new(self, turn: Hashable) -> bool:
        """Return whether other turns were queued before, and this one is not the last of them."""
        return bool(self._parts) and self._parts[-1].turn != turn

    def add(self, turn: Hashable, part: Hashable, size_bytes: int) -> None:
        """Audio was queued behind what there is.

        Args:
            turn: Whose it is.
            part: What of the turn; None stands for the turn.
            size_bytes: Its length; an odd byte is half a sample, completed by what follows.
        """
        part = turn if part is None else part
        last = self._parts[-1] if self._parts else None
        if last is not None and (last.turn, last.part) == (turn, part):
            last.size_bytes += size_bytes
        elif size_bytes:
            self._parts.append(Part(turn, part, size_bytes))

    def end(self) -> None:
        """The utterance ended behind what there is: half a sample at its end was dropped."""
        if self._parts:
            self._parts[-1].size_bytes -= _size(self._parts) % BYTES_PER_SAMPLE

    def all_heard(self) -> None:
        """Everything queued was played: none of it can be cut any more."""
        self._parts = []

    def interrupt(self, turn: Hashable = None) -> Sequence[Part]:
        """Everything queued is dropped, and no turn of it speaks again.

        Args:
            turn: One that is interrupted too, if nothing of it may have come yet.

        Returns:
            What was queued since the last interruption, for `cuts`.
        """
        parts, self._parts = self._parts, []
        for one in (turn, *(part.turn for part in parts)):
            if one is not None and one not in self._interrupted:
                self._interrupted.append(one)
        return parts

    def cuts(self, parts: Sequence[Part], unheard_ms: float, *, is_measured: bool) -> list[Cut]:
        """Return what was not heard to its end, in order; nothing of what was.

        Args:
            parts: From `interrupt`.
            unheard_ms: How much at the end of it all was dropped, milliseconds.
            is_measured: Whether that was counted where it plays.
        """
        total_bytes = _size(parts)
        total_bytes -= total_bytes % BYTES_PER_SAMPLE
        unheard_bytes = round(unheard_ms * self._audio_format.sample_rate_hz / 1000)
        left_bytes = max(0, total_bytes - unheard_bytes * BYTES_PER_SAMPLE)
        found: list[Cut] = []
        for part in parts:
            heard_bytes = min(left_bytes, part.size_bytes)
            left_bytes -= heard_bytes
            # Half a sample at its end is nobody's loss.
            if part.size_bytes - heard_bytes >= BYTES_PER_SAMPLE:
                heard_ms, said_ms = map(
                    self._audio_format.bytes_to_ms, (heard_bytes, part.size_bytes)
                )
                found.append(Cut(part.turn, part.part, heard_ms, said_ms, is_measured))
        return found


def _size(parts: Sequence[Part]) -> int:
    return sum(part.size_bytes for part in parts)
