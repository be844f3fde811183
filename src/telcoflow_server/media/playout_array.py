"""Playouts of many agents as rows of arrays, while nothing is the matter with them.

Not here: one agent's playout and credit, which do everything else (`playout.py`, `credit.py`),
when an agent may be here (`legs/agent_array.py`). Implements "Many agents at once" of
docs/explanation/flow-control.md.

For audio of one rate that comes in frames of one tick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import BYTES_PER_SAMPLE, TICK_MS
from telcoflow_server.media.credit import SteadyWindow
from telcoflow_server.media.lead import MAX_LEAD_MS
from telcoflow_server.media.playout_state import PlayedOn, SteadyPlayout

MAX_HELD = MAX_LEAD_MS // TICK_MS + 1
"""Frames: more than any window."""

_NEVER = -1

Rows = NDArray[np.intp]
"""Numbers of rows, each at most once, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of one row since it entered, or was counted last.

    Attributes:
        played_on: See `Playout.catch_up`.
        window: See `Window.catch_up`.
        received_bytes: So much came.
    """

    played_on: PlayedOn
    window: SteadyWindow
    received_bytes: int


class PlayoutArray:
    """What `Playout` and `Window` keep of an agent's audio, for many agents.

    Says of each message and of each tick whether it is an ordinary one, and only then takes it.

    Args:
        rows: How many there may be.
        frame_samples: Of the rate.
    """

    def __init__(self, rows: int, frame_samples: int) -> None:
        self._frame_samples = frame_samples
        self._generation = np.zeros(rows, np.int64)
        self._received = np.zeros(rows, np.int64)
        self._played = np.zeros(rows, np.int64)
        self._heard = np.zeros(rows, np.int64)
        self._heard_per_frame = np.zeros(rows, np.int64)
        self._granted = np.zeros(rows, np.int64)
        self._window = np.zeros(rows, np.int64)
        self._seen = np.zeros(rows, np.int64)
        self._told_received = np.zeros(rows, np.int64)
        self._told_played = np.zeros(rows, np.int64)
        self._sounds_left = np.zeros(rows, np.int64)
        self._frames = np.zeros((rows, MAX_HELD, frame_samples), np.int16)
        self._head = np.zeros(rows, np.int64)
        self._held = np.zeros(rows, np.int64)
        # Since a row entered or was counted.
        self._counted_received = np.zeros(rows, np.int64)
        self._sounded = np.zeros(rows, np.int64)
        self._arrived_at = np.zeros(rows, np.int64)  # after so many of those ticks
        # Audio that the next tick takes note of.
        self._has_come = np.zeros(rows, np.bool_)
        self._came_with_more = np.zeros(rows, np.bool_)
        self._came_after_ms = np.zeros(rows, np.int64)
        self._has_more = np.zeros(rows, np.bool_)

    def enter(self, row: int, steady: SteadyPlayout, window: SteadyWindow) -> None:
        """Go on with a playout here, of which `MAX_HELD` frames are queued at most."""
        self._generation[row] = steady.generation
        self._received[row] = self._counted_received[row] = steady.received
        self._played[row] = steady.played
        self._heard[row] = steady.heard
        self._heard_per_frame[row] = self._frame_samples if steady.is_audible else 0
        self._granted[row] = window.granted
        self._window[row] = window.window
        self._seen[row] = window.seen
        self._told_received[row] = window.received
        self._told_played[row] = window.played
        self._sounds_left[row] = steady.sounds_left
        frames = np.frombuffer(steady.queued, "<i2").reshape(-1, self._frame_samples)
        self._frames[row, : len(frames)] = frames
        self._head[row] = 0
        self._held[row] = len(frames)
        self._sounded[row] = 0
        self._arrived_at[row] = _NEVER
        self._has_come[row] = False
        self._has_more[row] = steady.has_more

    def put(self, rows: Rows, messages: NDArray[np.void]) -> NDArray[np.bool_]:
        """Take the next audio of each of these rows, if it is an ordinary frame.

        Args:
            rows: Each at most once.
            messages: See `message_array.audio_of`, shape (rows,); of channel 0, with no flag but
                `MORE`.

        Returns:
            Which were taken; of the others nothing was touched.
        """
        flags, received = messages["flags"], self._received[rows]
        held = self._held[rows]
        is_taken: NDArray[np.bool_] = messages["offset"] == received.astype(np.uint64)
        is_taken &= messages["generation"] == self._generation[rows]
        is_taken &= received + self._frame_samples <= self._granted[rows]
        is_taken &= held < MAX_HELD
        if not is_taken.all():
            rows, messages = rows[is_taken], messages[is_taken]
            flags, held = flags[is_taken], held[is_taken]
        self._frames[rows, (self._head[rows] + held) % MAX_HELD] = messages["pcm"]
        self._held[rows] += 1
        self._received[rows] += self._frame_samples
        more = flags != 0
        self._has_more[rows] = more
        first = ~self._has_come[rows]
        firsts = rows[first]
        self._has_come[firsts] = True
        self._came_with_more[firsts] = more[first]
        self._came_after_ms[firsts] = messages["delay_ms"][first]
        return is_taken

    def are_due(self, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each of these rows has a frame, and may just play it."""
        return (self._held[rows] > 0) & (self._sounds_left[rows] > 0)

    def next_frames(self, rows: Rows) -> NDArray[np.int16]:
        """Return the frames that these rows, all due, play next: int16, shape (rows, samples)."""
        frames: NDArray[np.int16] = self._frames[rows, self._head[rows]]
        return frames

    def play(self, rows: Rows) -> None:
        """Let a tick pass in which these rows have played them."""
        self._head[rows] = (self._head[rows] + 1) % MAX_HELD
        self._held[rows] -= 1
        self._played[rows] += self._frame_samples
        self._heard[rows] += self._heard_per_frame[rows]
        self._sounds_left[rows] -= 1
        self._sounded[rows] += 1
        came = rows[self._has_come[rows]]
        self._arrived_at[came] = self._sounded[came]
        self._has_come[came] = False

    def positions(self, rows: Rows, messages: NDArray[np.void]) -> None:
        """Write the positions of these rows.

        Args:
            rows: Each at most once.
            messages: See `message_array.reply_of`, shape (rows,).
        """
        messages["generation"] = self._generation[rows]
        messages["received"] = self._received[rows]
        messages["played"] = self._played[rows]
        messages["window"] = self._window[rows]
        messages["seen"] = self._seen[rows]
        messages["heard"] = self._heard[rows]

    def told(self, rows: Rows) -> None:
        """The clients of these rows were told their positions."""
        self._told_received[rows] = self._received[rows]
        played = self._told_played[rows] = self._played[rows]
        self._granted[rows] = np.maximum(self._granted[rows], played + self._window[rows])

    def leave(self, row: int) -> Counted:
        """Return what became of a row since this or `count` was last asked, and what is queued."""
        at = (int(self._head[row]) + np.arange(int(self._held[row]))) % MAX_HELD
        frames: NDArray[np.int16] = self._frames[row, at]
        return self.count(row, frames.astype("<i2", copy=False).tobytes())

    def count(self, row: int, queued: bytes = b"") -> Counted:
        """Return what became of a row since this was last asked; what is queued stays here."""
        sounded, arrived_at = int(self._sounded[row]), int(self._arrived_at[row])
        arrival = None
        if self._has_come[row]:
            arrival = bool(self._came_with_more[row]), int(self._came_after_ms[row])
        received = int(self._received[row])
        counted = Counted(
            PlayedOn(
                sounded=sounded,
                received=received,
                has_more=bool(self._has_more[row]),
                arrived_ticks_ago=None if arrived_at == _NEVER else sounded - arrived_at,
                arrival=arrival,
                queued=queued,
            ),
            SteadyWindow(
                granted=int(self._granted[row]),
                window=int(self._window[row]),
                seen=int(self._seen[row]),
                received=int(self._told_received[row]),
                played=int(self._told_played[row]),
            ),
            (received - int(self._counted_received[row])) * BYTES_PER_SAMPLE,
        )
        self._counted_received[row] = received
        self._sounded[row] = 0
        self._arrived_at[row] = _NEVER
        return counted
