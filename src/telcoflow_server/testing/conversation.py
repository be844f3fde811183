"""What a conversation with an agent must be like, asserted on what a phone has said and heard.

Not here: phrases and finding sounds (`conversation_sound.py`), the picture (`cli/picture.py`).
Implements docs/how-to/test-conversations.md.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self

import numpy as np

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.media.plane import MIX_RATE_HZ
from telcoflow_server.media.sound import Sound
from telcoflow_server.testing.conversation_sound import (
    SAMPLES_PER_MS,
    Found,
    Phrase,
    find,
    overlaps,
    phrases,
    silences,
)
from telcoflow_server.testing.phone import LivePhone
from telcoflow_server.testing.sound import Speech, read_speech

PAUSE_MS = 200.0
"""A silence as short as that is within a phrase: the pause between two words, not its end."""


_TOLD_PHRASES = 12
"""How many an error lists, of those nearest to what is wrong."""


class ConversationError(AssertionError):
    """A conversation is not as it must be; the text says what, when, how much, and by how much."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Conversation:
    """A call as it was at its caller's ear and mouth, for assertions on the agent.

    Whatever the phone has heard is the agent's. Every assertion returns the largest value that it
    measured, and fails if there was nothing to measure. Times are those of the recording: for the
    phone that called, from the moment the call was placed.

    Attributes:
        said: What the phone said: int16, shape (n,), 24 kHz.
        heard: What it heard, at the same time.
        answered_ms: When the call was answered.
        pause_ms: How long a silence ends a phrase.
        picture: Where a failing assertion draws the call, as PNG; None: it does not.
        from_ms, until_ms: The part that is looked at.
    """

    said: Sound = field(repr=False)
    heard: Sound = field(repr=False)
    answered_ms: float = 0.0
    pause_ms: float = PAUSE_MS
    picture: Path | None = None
    from_ms: float = 0.0
    until_ms: float = math.inf

    @classmethod
    def of(
        cls, phone: LivePhone, *, pause_ms: float = PAUSE_MS, picture: str | Path | None = None
    ) -> Self:
        """Return the conversation that a phone has had until now."""
        return cls(
            said=phone.line.said(),
            heard=phone.heard.samples,
            answered_ms=float(phone.line.answered_ticks * TICK_MS),
            pause_ms=pause_ms,
            picture=None if picture is None else Path(picture),
        )

    def between(self, from_s: float, until_s: float = math.inf) -> Self:
        """Return a part of it: the caller's phrases that begin there, and what else is there.

        Raises:
            ValueError: it ends before it begins.
        """
        if not 0 <= from_s < until_s:
            raise ValueError(f"there is nothing between {from_s} s and {until_s} s")
        return dataclasses.replace(self, from_ms=from_s * 1000, until_ms=until_s * 1000)

    @property
    def caller_phrases(self) -> list[Phrase]:
        """When the caller speaks in this part of the call."""
        found = phrases(self.said, self.pause_ms)
        return [one for one in found if self.from_ms <= one.begin_ms < self._end_ms]

    @property
    def agent_phrases(self) -> list[Phrase]:
        """When the agent speaks, in the whole call."""
        start = round(self.answered_ms * SAMPLES_PER_MS)
        found = phrases(self.heard[start:], self.pause_ms)
        return [Phrase(*(self.answered_ms + ms for ms in dataclasses.astuple(o))) for o in found]

    def assert_greets_within(self, limit_ms: float) -> float:
        """The agent's first sound comes so soon after the answer. Returns ms."""
        __tracebackhide__ = True
        first = next((one.begin_ms for one in self.agent_phrases), math.inf)
        wait = Phrase(self.answered_ms, min(first, self._end_ms))
        if wait.duration_ms > limit_ms:
            self._fail("the agent said nothing for {took} after the answer", wait, limit_ms)
        if math.isinf(first):
            self._nothing("the agent said nothing, and the call was over too soon to tell")
        return wait.duration_ms

    def assert_answers_within(self, limit_ms: float) -> float:
        """The agent speaks so soon after each end of the caller's speech.

        A phrase in which the caller goes on before that is no end, nor one during which the agent
        goes on speaking, nor one that is followed by less than the limit.

        Returns:
            The longest it took, ms; 0 if it began while the caller was still speaking.
        """
        __tracebackhide__ = True
        callers, agents = self.caller_phrases, self.agent_phrases
        took_ms: list[float] = []
        for number, phrase in enumerate(callers):
            if any(a.begin_ms <= phrase.begin_ms and a.end_ms > phrase.end_ms for a in agents):
                continue
            begins = (
                max(agent.begin_ms, phrase.end_ms)
                for agent in agents
                if agent.begin_ms > phrase.begin_ms and agent.end_ms > phrase.end_ms
            )
            goes_on_ms = callers[number + 1].begin_ms if number + 1 < len(callers) else math.inf
            wait = Phrase(phrase.end_ms, min(next(begins, math.inf), goes_on_ms, self._end_ms))
            if wait.duration_ms > limit_ms:
                what = "the agent said nothing for {took} after the caller's end of speech"
                self._fail(what, wait, limit_ms, took_ms)
            if wait.end_ms < min(goes_on_ms, self._end_ms):
                took_ms.append(wait.duration_ms)
        return self._largest(
            took_ms, f"no end of the caller's speech is followed by {limit_ms:g} ms of listening"
        )

    def assert_stops_within(self, limit_ms: float) -> float:
        """The agent stops so soon after each time the caller begins to speak over it. Returns ms.

        A stop is the last sound before a silence of `pause_ms`.
        """
        __tracebackhide__ = True
        took_ms: list[float] = []
        for phrase in self.caller_phrases:
            spoken_over = self._agent_at(phrase.begin_ms)
            if spoken_over is None:
                continue
            stop = Phrase(phrase.begin_ms, spoken_over.end_ms)
            if stop.duration_ms > limit_ms:
                what = "the agent went on for {took} after the caller began to speak over it"
                self._fail(what, stop, limit_ms, took_ms)
            took_ms.append(stop.duration_ms)
        return self._largest(took_ms, "the caller never began to speak while the agent spoke")

    def assert_never_talks_over(self, limit_ms: float) -> float:
        """The two never speak at once for longer than that, whoever began. Returns ms."""
        __tracebackhide__ = True
        callers = self.caller_phrases
        if not callers:
            self._nothing("the caller never spoke")
        found = overlaps(callers, self.agent_phrases)
        for both in found:
            if both.duration_ms > limit_ms:
                self._fail("the agent spoke over the caller for {took}", both, limit_ms)
        return max((both.duration_ms for both in found), default=0.0)

    def assert_no_silence_over(self, limit_s: float) -> float:
        """From the answer on, nobody speaks for no longer than that. Returns seconds."""
        __tracebackhide__ = True
        whole = Phrase(max(self.from_ms, self.answered_ms), self._end_ms)
        if whole.duration_ms <= 0:
            self._nothing("nothing was heard after the answer")
        found = silences(phrases(self.said, self.pause_ms), self.agent_phrases, whole)
        longest = max(found, key=lambda one: one.duration_ms, default=Phrase(0, 0))
        if longest.duration_ms > limit_s * 1000:
            self._fail("nobody said anything for {took}", longest, limit_s * 1000)
        return longest.duration_ms / 1000

    def assert_cancelled(self, turn: Speech, within_ms: float) -> None:
        """Nothing of a turn is heard any more so soon after the caller first spoke over the agent.

        Args:
            turn: All that the agent would have said, as it gave it away: see `Speech`. Of a call
                that is not at 24 kHz, as a WAV file, so that its rate is known.
            within_ms: From the caller's first sound on.

        Raises:
            ConversationError: something of it is; or nothing is heard of it before, so that this
                is no test.
            ValueError: the turn is silent.
        """
        __tracebackhide__ = True
        begins = [p.begin_ms for p in self.caller_phrases if self._agent_at(p.begin_ms)]
        if not begins:
            self._nothing("the caller never began to speak while the agent spoke")
        sound, begin_ms = read_speech(turn), begins[0]
        if self._find(sound, self.from_ms, begin_ms) is None:
            self._nothing("nothing of this turn is heard before the caller speaks, either")
        found = self._find(sound, begin_ms + within_ms, self._end_ms)
        if found is not None:
            what = "a piece of the cancelled turn was heard {took} after the caller spoke over it"
            end_ms = found.in_recording_ms + found.duration_ms
            self._fail(what, Phrase(begin_ms, end_ms), within_ms, where=found)

    def assert_never_heard(self, sound: Speech) -> None:
        """Nothing of a sound is heard in this part of the call; `sound` as in `assert_cancelled`.

        Raises:
            ConversationError: something of it is.
            ValueError: it is silent.
        """
        __tracebackhide__ = True
        found = self._find(read_speech(sound), self.from_ms, self._end_ms)
        if found is not None:
            begin_ms = found.in_recording_ms
            heard = Phrase(begin_ms, begin_ms + found.duration_ms)
            self._fail("a piece of what must not be heard was heard", heard, 0.0, where=found)

    @property
    def _end_ms(self) -> float:
        return min(self.until_ms, self.heard.size / SAMPLES_PER_MS)

    def _agent_at(self, at_ms: float) -> Phrase | None:
        """Return what the agent is saying at this time."""
        speaking = (one for one in self.agent_phrases if one.begin_ms < at_ms < one.end_ms)
        return next(speaking, None)

    def _find(self, sound: Sound, from_ms: float, until_ms: float) -> Found | None:
        first, last = (max(0, round(ms * SAMPLES_PER_MS)) for ms in (from_ms, until_ms))
        found = find(sound, self.heard[first:last])
        if found is None:
            return None
        at_ms = found.in_recording_ms + first / SAMPLES_PER_MS
        return dataclasses.replace(found, in_recording_ms=at_ms)

    def _largest(self, took_ms: list[float], nothing: str) -> float:
        __tracebackhide__ = True
        if not took_ms:
            self._nothing(nothing)
        return max(took_ms)

    def _nothing(self, why: str) -> NoReturn:
        __tracebackhide__ = True
        told = [f"nothing to measure: {why}", *self._turns(self.from_ms)]
        raise ConversationError("\n  ".join(told))

    def _fail(
        self,
        what: str,
        wrong: Phrase,
        limit_ms: float,
        before_ms: list[float] | None = None,
        where: Found | None = None,
    ) -> NoReturn:
        __tracebackhide__ = True
        title = what.format(took=_ms(wrong.duration_ms))
        if limit_ms:
            title += f", {_ms(limit_ms)} are allowed"
        told = [title, f"from {_s(wrong.begin_ms)} to {_s(wrong.end_ms)} of the call"]
        if where is not None:
            told.append(f"the piece is at {_s(where.in_sound_ms)} of the sound that was given")
        if before_ms:
            told.append(f"right before that: {', '.join(map(_ms, before_ms))}")
        told += [*self._turns(wrong.begin_ms), *self._draw(title, wrong, limit_ms)]
        raise ConversationError("\n  ".join(told))

    def _turns(self, around_ms: float) -> list[str]:
        """Return who spoke when, as lines of a message."""
        spoken = [(phrase, "caller") for phrase in phrases(self.said, self.pause_ms)]
        spoken += [(phrase, "agent ") for phrase in self.agent_phrases]
        spoken.sort(key=lambda one: abs(one[0].begin_ms - around_ms))
        spoken = sorted(spoken[:_TOLD_PHRASES], key=lambda one: one[0].begin_ms)
        return [
            f"answered  {_s(self.answered_ms)}",
            *(f"{who}    {_s(one.begin_ms)} to {_s(one.end_ms)}" for one, who in spoken),
        ]

    def _draw(self, title: str, wrong: Phrase, limit_ms: float) -> list[str]:
        """Draw the call, if that is wanted; return what to say of it."""
        if self.picture is None:
            return []
        # When it is needed: drawing takes a second to load.
        from telcoflow_server.cli.measure import Recording
        from telcoflow_server.cli.picture import FaultPicture, draw_fault

        said = np.zeros_like(self.heard)
        said[: self.said.size] = self.said[: self.heard.size]
        picture = FaultPicture(
            recording=Recording(MIX_RATE_HZ, (said, self.heard)),
            answered_ms=self.answered_ms,
            title=title,
            begin_ms=wrong.begin_ms,
            limit_ms=min(wrong.begin_ms + limit_ms, wrong.end_ms),
            end_ms=wrong.end_ms,
        )
        try:
            self.picture.parent.mkdir(parents=True, exist_ok=True)
            draw_fault(picture, self.picture)
        except OSError as error:
            return [f"no picture: {error}"]
        return [f"picture: {self.picture}"]


def _ms(ms: float) -> str:
    return f"{ms:.0f} ms"


def _s(ms: float) -> str:
    return f"{ms / 1000:.3f} s"
