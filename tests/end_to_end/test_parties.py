"""Three parties proved by sound: each has a tone of its own, and each recording is analysed.

The server, the phones and the agent's client talk over real sockets. In virtual time, to the
sample, the same is shown in `tests/server/call/test_modes.py`.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from tests.support.commands import sandbox, telcoflow
from tests.support.server import wav_bytes, wav_samples
from tests.support.tones import WINDOW_MS, amplitudes, tone

pytestmark = pytest.mark.slow

CALLER_HZ, CALLEE_HZ = 500, 900
AGENT_HZ = {"barge": 1500, "whisper": 2000, "spy": 2500}
"""What the agent says in each mode, so that a sound tells for whom it was meant."""

TURNS = ("barge", "whisper", "barge", "spy", "whisper", "spy", "barge", "whisper")
"""Every switch from one mode to another."""

BURST_MS = 300
LOUD = 6000
PRESENT, ABSENT = 0.9 * LOUD, 0.01 * LOUD
SPILT = 0.1 * LOUD
"""What a narrowband agent's burst leaves beside its own bin if a late tick cuts it: the filter's
1.5 ms stand alone in a window then."""


@dataclass(frozen=True, slots=True)
class Told:
    """A call that has ended: its report, and what everybody heard or said."""

    modes: list[str]
    """In force in each window, from the call's first on; "" before the callee came."""
    caller: NDArray[np.int16]
    callee: NDArray[np.int16]
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    said: dict[str, NDArray[np.int16]]
    quiet: float
    """A tone below this amplitude is not there."""
    agent: list[NDArray[np.int16]]
    """Channels 0 to 2 of what the agent received, at its own rate, from the connection on."""

    @property
    def connected(self) -> int:
        """The first window of the connected call."""
        return self.modes.count("")


class Agent:
    """Connects each call, says a burst in each of the turns' modes, ends the call."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self.heard = [bytearray() for _ in range(3)]

    async def take(self, call: ActiveCall) -> None:
        listening = [asyncio.create_task(self._listen(call, number)) for number in range(3)]
        await call.connect()
        for mode in TURNS:
            # Nothing is waited for: a mode is for what is queued after it.
            await getattr(call, mode)()
            await call.send_audio(self._burst(AGENT_HZ[mode]))
        await call.disconnect()
        await asyncio.gather(*listening)

    async def _listen(self, call: ActiveCall, channel: int) -> None:
        async for chunk in call.audio_stream(channel):
            self.heard[channel] += chunk

    def _burst(self, hz: int) -> bytes:
        # It swells and fades, so that its spectrum stays narrow wherever a window cuts it.
        sound = tone(hz, BURST_MS, self._rate_hz, LOUD)
        return np.rint(sound * np.hanning(len(sound))).astype("<i2").tobytes()


async def conference(folder: Path, rate_hz: int) -> Told:
    """Hold a conference and return all that is left of it."""
    for name, hz in (("caller-says", CALLER_HZ), ("callee-says", CALLEE_HZ)):
        sound = tone(hz, 15_000, amplitude=LOUD)
        await asyncio.to_thread((folder / f"{name}.wav").write_bytes, wav_bytes(sound))
    heard, callee_heard = folder / "heard.wav", folder / "callee-heard.wav"
    agent = Agent(rate_hz)
    async with sandbox("--record-dir", folder, "--record-split") as server:
        config = TelcoflowClientConfig.sandbox(
            api_key="sandbox",
            connector_uuid="sandbox",
            base_url=server.url,
            sample_rate=rate_hz,
            audio_mode="isolated",
        )
        async with TelcoflowClient(config) as client:
            client.on(events.INCOMING_CALL)(agent.take)
            async with telcoflow(
                *("call", "--url", server.url, "--json"),
                *("--play", folder / "caller-says.wav", "--record", heard),
                *("--callee-play", folder / "callee-says.wav", "--callee-record", callee_heard),
            ) as placed:
                finished = await placed.finished()
    assert finished.exit_code == 0, finished.stderr
    return told(folder, json.loads(finished.stdout), agent)


def told(folder: Path, report: dict[str, object], agent: Agent) -> Told:
    duration_ms, entered = report["duration_ms"], report["modes"]
    assert isinstance(duration_ms, int)
    assert isinstance(entered, list)
    modes = [""] * (duration_ms // WINDOW_MS)
    for one in entered:
        first = one["at_ms"] // WINDOW_MS
        modes[first:] = [one["mode"]] * (len(modes) - first)
    recorded = wav(folder / f"{report['call_id']}.wav")
    return Told(
        modes,
        wav(folder / "heard.wav"),
        wav(folder / "callee-heard.wav"),
        recorded[:, 0],
        recorded[:, 1],
        {
            who: wav(folder / f"{report['call_id']}.{who}.wav")
            for who in ("caller", "callee", "agent")
        },
        SPILT if report["gap_count"] else ABSENT,
        [np.frombuffer(channel, np.int16) for channel in agent.heard],
    )


def wav(file: Path) -> NDArray[np.int16]:
    return wav_samples(file.read_bytes())


def bursts(samples: NDArray[np.int16], hz: int) -> float:
    """Return how many bursts of a tone are in a recording, by their energy."""
    window = tone(hz, BURST_MS, amplitude=LOUD) * np.hanning(24 * BURST_MS)
    one = np.sum(amplitudes(np.rint(window).astype(np.int16), hz) ** 2)
    return float(np.sum(amplitudes(samples, hz) ** 2) / one)


@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
async def test_everybody_hears_whom_the_mode_names_at_every_instant(
    rate_hz: int, tmp_path: Path
) -> None:
    call = await conference(tmp_path, rate_hz)

    assert set(call.modes[call.connected :]) == {"barge", "whisper", "spy"}
    people_hear_each_other_throughout(call)
    the_agent_is_heard_by_those_whom_its_mode_names(call)
    the_agent_hears_both_and_each_by_itself(call, rate_hz)


def people_hear_each_other_throughout(call: Told) -> None:
    connected = slice(call.connected * 480, None)
    for name, samples, present, absent in (
        ("caller", call.caller, (CALLEE_HZ,), (CALLER_HZ,)),
        ("callee", call.callee, (CALLER_HZ,), (CALLEE_HZ,)),
        ("left", call.left, (CALLER_HZ,), (CALLEE_HZ, *AGENT_HZ.values())),
        ("right", call.right, (CALLEE_HZ,), (CALLER_HZ,)),
        ("caller's own", call.said["caller"], (CALLER_HZ,), (CALLEE_HZ, *AGENT_HZ.values())),
        ("callee's own", call.said["callee"], (CALLEE_HZ,), (CALLER_HZ, *AGENT_HZ.values())),
        ("agent's own", call.said["agent"], (), (CALLER_HZ, CALLEE_HZ)),
    ):
        for hz in present:
            assert (amplitudes(samples[connected], hz) > PRESENT).all(), (name, hz)
        for hz in absent:
            assert amplitudes(samples[connected], hz).max() < call.quiet, (name, hz)


def the_agent_is_heard_by_those_whom_its_mode_names(call: Told) -> None:
    connected = slice(call.connected * 480, None)
    for mode, hz in AGENT_HZ.items():
        # In its own recording all of its bursts are, each while its mode was in force.
        says = np.flatnonzero(amplitudes(call.said["agent"], hz) > call.quiet)
        assert {call.modes[window] for window in says} == {mode}
        count = TURNS.count(mode)
        for name, samples, heard in (
            ("agent's own", call.said["agent"], count),
            ("caller", call.caller, count if mode == "barge" else 0),
            ("callee", call.callee, count if mode != "spy" else 0),
            ("right", call.right, count if mode != "spy" else 0),
        ):
            assert bursts(samples[connected], hz) == pytest.approx(heard, abs=0.1), (name, mode)
            if not heard:
                assert amplitudes(samples[connected], hz).max() < call.quiet, (name, mode)


def the_agent_hears_both_and_each_by_itself(call: Told, rate_hz: int) -> None:
    assert len({len(channel) for channel in call.agent}) == 1
    for number, present in enumerate(((CALLER_HZ, CALLEE_HZ), (CALLER_HZ,), (CALLEE_HZ,))):
        samples = call.agent[number][rate_hz // 50 :]  # a filter fills up in the first window
        for hz in (CALLER_HZ, CALLEE_HZ, *AGENT_HZ.values()):
            found = amplitudes(samples, hz, rate_hz)
            if hz in present:
                assert (found > PRESENT).all(), (number, hz)
            else:
                assert found.max() < ABSENT, (number, hz)
