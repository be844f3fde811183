"""Phones that a test holds in its hand: dial, say, listen, hang up.

Not here: their audio (`line.py`), where they are (`sandbox.py`).
Implements "Phones" of docs/how-to/test-your-agent.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.commands import DTMF_DIGITS
from telcoflow_server.call.ports import CalleeProgress
from telcoflow_server.call.report import CallReport
from telcoflow_server.legs.behaviour import Behaviour
from telcoflow_server.testing.line import PhoneLine, PhoneState
from telcoflow_server.testing.sound import Heard, Speech, read_speech

WAIT_S = 60.0
"""How long is waited for what the other side does: as long as a call rings."""

_TICKS_PER_S = 1000 // TICK_MS


class LivePhone:
    """A phone: it calls the agent, says what it is told and keeps what it hears.

    Seconds are those of the call, which in virtual time pass at once. Any number of tasks may use
    a phone at the same time, as somebody who talks listens, too.

    Args:
        state: Where it stands at the beginning.

    Attributes:
        report: After the end, of a phone that called: its call in numbers, such as the silences
            in what the agent said that the agent did not mean. None before, and for others.
    """

    def __init__(self, state: PhoneState = PhoneState.RINGING) -> None:
        self.report: CallReport | None = None
        self.line = PhoneLine(state, self._changed)
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def state(self) -> PhoneState:
        """Where the phone stands: RINGING, TALKING, ENDED; IDLE while nobody has called it."""
        return self.line.state

    @property
    def end_reason(self) -> EndReason | None:
        """Why its call ended; None while it has not."""
        return self.line.end_reason

    @property
    def heard(self) -> Heard:
        """Everything heard so far, ringing included."""
        return Heard(self.line.heard(0, self.line.heard_ticks))

    async def answered(self, timeout_s: float = WAIT_S) -> None:
        """Wait until the two sides talk.

        Raises:
            TimeoutError: they do not yet.
            RuntimeError: the call ended before.
        """
        await self._until(lambda: self.state is not PhoneState.RINGING, timeout_s, "to be answered")
        if self.state is PhoneState.ENDED:
            raise RuntimeError(f"the call ended before it was answered: {self.end_reason}")

    async def ended(self, timeout_s: float = WAIT_S) -> EndReason:
        """Wait until the call is over; return why it ended.

        Raises:
            TimeoutError: it goes on.
        """
        await self._until(lambda: self.state is PhoneState.ENDED, timeout_s, "to end")
        assert self.line.end_reason is not None, "a call ends with a reason"
        return self.line.end_reason

    async def say(self, speech: Speech) -> None:
        """Say something; returns when it was said, or the call is over.

        What is said before the call is answered is said from the answer on. Two tasks that speak
        at once are heard one after the other.

        Args:
            speech: See `Speech`.

        Raises:
            SoundError: this is no sound.
            OSError: the file cannot be read.

        Cancellation: the phone falls silent.
        """
        self.line.say(read_speech(speech))
        try:
            await self._until(lambda: not self.line.is_speaking, None, "to have spoken")
        except asyncio.CancelledError:
            self.line.be_quiet()
            raise

    def press(self, digits: str) -> None:
        """Press keys, one after the other: the agent hears of each (`events.DTMF`).

        Raises:
            ValueError: a phone has the keys 0 to 9, * and #, and A to D.
        """
        wrong = set(digits) - set(DTMF_DIGITS)
        if wrong:
            raise ValueError(f"a phone has the keys {DTMF_DIGITS}, and no others")
        for digit in digits:
            self.line.press_key(digit)

    @property
    def digits_heard(self) -> str:
        """What the agent has sent with `send_dtmf` so far."""
        return self.line.digits_heard

    @property
    def transferred_to(self) -> str | None:
        """Whom the agent has transferred this phone to, if it has."""
        return self.line.transferred_to

    async def listen(self, seconds: float) -> Heard:
        """Return what is heard in the next `seconds`; shorter if the call ends meanwhile."""
        first = self.line.heard_ticks
        last = first + round(seconds * _TICKS_PER_S)
        await self._until(lambda: self._is_over_or_heard(last), None, "to listen")
        return Heard(self.line.heard(first, last))

    async def listen_until_quiet(self, quiet_s: float = 1.0, timeout_s: float = WAIT_S) -> Heard:
        """Let the other side finish: return what is heard until it was quiet for a while.

        Args:
            quiet_s: How long a silence ends what was said.
            timeout_s: For the first sound, and for the silence after it.

        Returns:
            All of it, the silences before and after included; shorter if the call ends meanwhile.

        Raises:
            TimeoutError: nothing was heard, or it does not stop.
        """
        line, first = self.line, self.line.heard_ticks
        quiet_ticks = round(quiet_s * _TICKS_PER_S)

        def is_over_or_loud() -> bool:
            return self._is_over_or_heard(first + 1) and (
                line.quiet_ticks == 0 or self.state is PhoneState.ENDED
            )

        def is_over_or_quiet() -> bool:
            return line.quiet_ticks >= quiet_ticks or self.state is PhoneState.ENDED

        await self._until(is_over_or_loud, timeout_s, "to hear something")
        await self._until(is_over_or_quiet, timeout_s, "to hear the end of it")
        return Heard(line.heard(first, line.heard_ticks))

    async def hang_up(self) -> EndReason:
        """Put the phone down; returns when the call is over, and why.

        Of a phone that rings, that is declining.
        """
        self.line.has_hung_up = True
        self.line.progress = CalleeProgress.DECLINED
        return await self.ended()

    def _is_over_or_heard(self, ticks: int) -> bool:
        return self.line.heard_ticks >= ticks or self.state is PhoneState.ENDED

    async def _until(self, is_true: Callable[[], bool], timeout_s: float | None, what: str) -> None:
        if is_true():
            return
        waiter = is_true, asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter[1]
        except TimeoutError:
            raise TimeoutError(
                f"the phone waited {timeout_s:g} s {what}; it is {self.state}"
            ) from None
        finally:
            self._waiters.remove(waiter)

    def _changed(self) -> None:
        # Asked here and not in the tasks that wait: most ticks wake nobody.
        for is_true, future in self._waiters:
            if not future.done() and is_true():
                future.set_result(None)


class LiveCallee(LivePhone):
    """A phone that is called: by `ActiveCall.connect`, or by `TelcoflowClient.call`.

    Args:
        number: How it is reached.
        answers: What comes of its ringing, unless the test is faster.
        after_s: How long it rings before that.
    """

    def __init__(self, number: str, answers: Behaviour, after_s: float) -> None:
        super().__init__(PhoneState.IDLE)
        self.number = number
        self._answers = answers
        self._after_ticks = round(after_s * _TICKS_PER_S)

    async def rings(self, timeout_s: float = WAIT_S) -> None:
        """Wait until somebody calls; returns at once in a call. `TimeoutError`: nobody does."""
        calls = (PhoneState.RINGING, PhoneState.TALKING)
        await self._until(lambda: self.state in calls, timeout_s, "to be called")

    async def answered(self, timeout_s: float = WAIT_S) -> None:
        """Wait until somebody has called and both sides talk. Raises as `LivePhone.answered`."""
        await self.rings(timeout_s)
        await super().answered(timeout_s)

    def pick_up(self) -> None:
        """Answer; does nothing unless it rings."""
        self.line.progress = CalleeProgress.ANSWERED

    def _changed(self) -> None:
        line = self.line
        is_undecided = line.progress is CalleeProgress.RINGING
        if (
            self.state is PhoneState.RINGING
            and is_undecided
            and line.rung_ticks > self._after_ticks
        ):
            line.progress = _COMES_TO[self._answers]
        super()._changed()


_COMES_TO = {
    Behaviour.ANSWER: CalleeProgress.ANSWERED,
    Behaviour.BUSY: CalleeProgress.BUSY,
    Behaviour.DECLINE: CalleeProgress.DECLINED,
    Behaviour.NO_ANSWER: CalleeProgress.RINGING,
}
