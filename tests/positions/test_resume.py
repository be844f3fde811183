"""A media link is lost at every moment of a call: both directions go on at the very sample."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall
from telcoflow_sdk.playback import CallStatistics, Resumption
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.testing import LivePhone, PhoneState, Sandbox, run_virtual
from tests.positions.ruler import Samples, assert_heard_once, read, ruler
from tests.positions.stage import Diary, Ear, hold, media_link, outage, release, serving
from tests.support.faults import Fault, MemoryLine, begin

SPEECH_S = 6.0
SPEECH_SAMPLES = int(SPEECH_S * 24_000)
"""What the agent says to its partner, and the partner to the agent, at the same time."""

GRACE_S = 10.0


class Loss(StrEnum):
    """How a link is lost, and how long that lasts."""

    CUT = "cut"
    AWAY = "cut, and two seconds without another one"
    FROZEN = "frozen until the agent gives it up"
    AGENT_LEFT_OPEN = "half-open, the agent is not told"
    SERVER_LEFT_OPEN = "half-open, the server is not told"


OUTAGE_S = {
    Loss.CUT: (0.0, 0.001),
    Loss.AWAY: (2.0, 3.1),
    Loss.FROZEN: (0.0, 0.001),  # from when the agent takes it for lost
    Loss.AGENT_LEFT_OPEN: (0.0, 0.001),
    Loss.SERVER_LEFT_OPEN: (0.0, 0.001),
}


class Moment(StrEnum):
    RINGING = "ringing"
    GREETING = "greeting"
    TALKING = "talking"
    PAUSED = "paused"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WHISPERING = "whispering"
    CLOSING = "closing"


@dataclass(slots=True)
class Outcome:
    """What came of a call.

    Attributes:
        partner: Whom the agent talked with: the caller, or the callee it whispered to.
        ear: What came out of the agent's `audio_stream`.
        statistics: Of the agent's call.
        spoke_s: When the partner began to talk, on the call's time axis.
    """

    caller: LivePhone
    callee: LivePhone
    ear: Ear = field(default_factory=Ear)
    diary: Diary | None = None
    statistics: CallStatistics | None = None
    spoke_s: float = -1.0

    def partner(self, moment: Moment) -> LivePhone:
        return self.callee if moment is Moment.WHISPERING else self.caller


async def lose(sandbox: Sandbox, loss: Loss) -> None:
    link = media_link(sandbox)
    match loss:
        case Loss.CUT:
            link.cut()
        case Loss.AWAY:
            await outage(link, 2.0)
        case Loss.FROZEN:
            hold(link)
            await asyncio.sleep(4.5)
            release(link)
        case Loss.AGENT_LEFT_OPEN:
            begin(Fault.AGENT_LEFT_OPEN, MemoryLine([link]))
        case Loss.SERVER_LEFT_OPEN:
            begin(Fault.SERVER_LEFT_OPEN, MemoryLine([link]))


class Play:
    """One call, in which the link is lost at one moment.

    Args:
        audio_mode: With "isolated", the agent listens to its partner's own channel.
    """

    def __init__(self, moment: Moment, loss: Loss, audio_mode: str = "mixed") -> None:
        self._moment = moment
        self._loss = loss
        self._audio_mode = audio_mode
        self._losing: asyncio.Task[None] | None = None
        self._is_over = asyncio.Event()

    async def run(self) -> Outcome:
        async with Sandbox() as sandbox:
            self._sandbox = sandbox
            callee = sandbox.callee(after_s=1.0)
            async with serving(sandbox, self._agent, audio_mode=self._audio_mode):
                self.began_s = asyncio.get_running_loop().time()
                self.outcome = outcome = Outcome(await sandbox.dial(), callee)
                await self._is_over.wait()
                if outcome.caller.state is not PhoneState.ENDED:
                    await outcome.caller.listen(0.2)
                    await outcome.caller.hang_up()
                await outcome.ear.ended.wait()
        return outcome

    def _lose_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()

        def begin_now() -> None:
            self._losing = asyncio.create_task(lose(self._sandbox, self._loss))

        loop.call_later(seconds, begin_now)

    async def _agent(self, call: ActiveCall) -> None:
        try:
            await self._talk(call)
        finally:
            self._is_over.set()

    async def _talk(self, call: ActiveCall) -> None:
        outcome, moment = self.outcome, self._moment
        outcome.diary = Diary(call, events.MEDIA_INTERRUPTED, events.MEDIA_RESUMED)
        speech = ruler(0, SPEECH_SAMPLES).tobytes()
        channel = {"mixed": 0, "isolated": 2 if moment is Moment.WHISPERING else 1}
        stream = call.audio_stream(channel[self._audio_mode])
        listening = asyncio.create_task(outcome.ear.listen(stream))
        talking: asyncio.Task[None] | None = None
        if moment is Moment.RINGING:
            await call.send_audio(speech)
            self._lose_in(0.5)
            await asyncio.sleep(1.0)
            await call.answer()
            talking = self._partner_talks()
        elif moment in (Moment.CONNECTING, Moment.CONNECTED, Moment.WHISPERING):
            await call.answer()
            talking = await self._connect(call, speech)
        else:
            self._lose_in({Moment.GREETING: 0.1, Moment.CLOSING: 2.5}.get(moment, 2.0))
            await call.answer()
            await call.send_audio(speech)
            talking = self._partner_talks()
        if moment is Moment.PAUSED:
            await asyncio.sleep(1.5)
            await call.pause_playback()
            await asyncio.sleep(1.5)
            await call.resume_playback()
        if moment is Moment.CLOSING:
            await asyncio.sleep(1.0)
            await call.close(drain_timeout_s=30.0)
        else:
            assert await call.drain()
            await talking
        outcome.statistics = call.statistics()
        self._is_over.set()
        await listening

    async def _connect(self, call: ActiveCall, speech: bytes) -> asyncio.Task[None]:
        if self._moment is Moment.CONNECTING:
            self._lose_in(0.5)
            talking = self._partner_talks()
            await call.connect(20)
            await call.send_audio(speech)
            return talking
        await call.connect(20)
        if self._moment is Moment.WHISPERING:
            await call.whisper()
        talking = self._partner_talks()
        await call.send_audio(speech)
        self._lose_in(1.0)
        return talking

    def _partner_talks(self) -> asyncio.Task[None]:
        self.outcome.spoke_s = asyncio.get_running_loop().time() - self.began_s
        partner = self.outcome.partner(self._moment)
        return asyncio.create_task(partner.say(ruler(0, SPEECH_SAMPLES)))


def assert_all_was_heard(moment: Moment, outcome: Outcome) -> None:
    heard: Samples = outcome.partner(moment).heard.samples
    if moment in (Moment.CONNECTING, Moment.CONNECTED, Moment.WHISPERING):
        heard = heard[-len(outcome.ear.timeline) :]
        first = np.flatnonzero(heard == ruler(0, 1)[0])[0]
        heard = heard[first:]
    assert_heard_once(heard, 0, SPEECH_SAMPLES)


def assert_all_was_received(outcome: Outcome, *, is_cut_short: bool) -> None:
    ear = outcome.ear
    assert set(ear.gaps_ms) == {0.0}
    reading = read(ear.timeline)
    assert reading.is_without_a_hole
    assert (np.diff(reading.places) == 1).all(), "they spoke without a pause"
    # Tick n comes at the end of its 20 ms.
    assert -0.02001 <= reading.places[0] / 24_000 - outcome.spoke_s <= 0.00001
    if not is_cut_short:
        assert reading.size == SPEECH_SAMPLES


def assert_one_outage(loss: Loss, outcome: Outcome) -> None:
    assert outcome.diary is not None
    (lost_s, interrupted, _), (back_s, resumed, (resumption,)) = outcome.diary.entries
    assert (interrupted, resumed) == (events.MEDIA_INTERRUPTED, events.MEDIA_RESUMED)
    assert isinstance(resumption, Resumption)
    assert resumption.lost_ms == 0
    assert resumption.outage_ms == pytest.approx((back_s - lost_s) * 1000)
    shortest_s, longest_s = OUTAGE_S[loss]
    assert shortest_s <= back_s - lost_s <= longest_s
    assert outcome.statistics is not None
    assert outcome.statistics.outages == 1


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("loss", Loss)
def test_both_directions_go_on_at_the_very_sample(loss: Loss, moment: Moment) -> None:
    outcome = run_virtual(Play(moment, loss).run())

    is_closing = moment is Moment.CLOSING
    assert_all_was_heard(moment, outcome)
    assert_all_was_received(outcome, is_cut_short=is_closing)
    assert_one_outage(loss, outcome)
    reason = EndReason.AGENT_CLOSED if is_closing else EndReason.CALLER_HUNG_UP
    assert outcome.caller.end_reason is reason


@pytest.mark.parametrize("moment", [Moment.TALKING, Moment.WHISPERING])
@pytest.mark.parametrize("loss", Loss)
def test_so_do_isolated_channels(loss: Loss, moment: Moment) -> None:
    outcome = run_virtual(Play(moment, loss, "isolated").run())

    assert_all_was_heard(moment, outcome)
    assert_all_was_received(outcome, is_cut_short=False)
    assert_one_outage(loss, outcome)
