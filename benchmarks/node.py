"""The server under test: one node, calls placed from within, numbers asked for on its input.

Not here: agents (`agents.py`, `talkers.py`), who asks (`server.py`, `stop.py`,
`soak.py`). Calls are placed as the sandbox does, without the upload and the recordings.

Argument: see `main`.
"""

from __future__ import annotations

import asyncio
import cProfile
import logging
import pstats
import random
import sys
import time
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import lines
from benchmarks.numbers import percentile
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.app import Server
from telcoflow_server.call.exchange import NewCall
from telcoflow_server.legs.simulated import Play, Script, SimulatedPhone
from telcoflow_server.media.lead import LeadRange
from telcoflow_server.media.sound import load_sound
from telcoflow_server.settings import (
    SANDBOX_CONNECTOR,
    LimitSettings,
    MediaSettings,
    ServerSettings,
    Settings,
)
from telcoflow_server.speech import SENTENCE

REPEATED = 100
"""Callers say the same 7 s for 12 minutes."""

EAR = "+3"
"""The number of the caller whose ear is timed."""

ANSWER_TIMEOUT_S = 30.0

SHOWN = 14
"""Functions in a profile."""

_AUDIBLE = 104
"""The smallest sample that counts as sound: -50 dBFS."""


class TimedEar(SimulatedPhone):
    """A caller who says nothing and notes when sound reached the ear: CLOCK_MONOTONIC, seconds.

    Attributes:
        heard_s: When a frame with sound came.
        heard_samples: How many of its samples were sound.
    """

    def __init__(self) -> None:
        super().__init__(Script(is_patient=True))
        self.heard_s = array("d")
        self.heard_samples = array("l")

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """Note the time if there is something to hear."""
        super().put(tick, frame)
        samples = int((np.abs(frame.astype(np.int32)) >= _AUDIBLE).sum())
        if samples:
            self.heard_s.append(time.monotonic())
            self.heard_samples.append(samples)


class Node:
    """A server and the calls it was told to place."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ear = TimedEar()
        self._first_tick = 0
        speech = load_sound(SENTENCE.read_bytes())
        self._script = Script(tuple(Play(speech) for _ in range(REPEATED)))

    async def url(self) -> str:
        """Tell where agents connect."""
        return f"ws://127.0.0.1:{self._server.control_port}"

    async def ports(self) -> tuple[int, int]:
        """Tell the control port and the media port."""
        return self._server.control_port, self._server.media_port

    async def raise_to(self, calls: int) -> int:
        """Let phones call until so many calls are answered; one at a time, as people do."""
        while self._server.exchange.call_count < calls:
            self._place(SimulatedPhone(self._script), "+1")
            await asyncio.sleep(0.005)
        return await self._answered()

    async def top_up(self, calls: int, longest_s: float) -> int:
        """Let phones call until so many calls run; each hangs up at some time until `longest_s`.

        Returns:
            How many calls ran before.
        """
        running = self._server.exchange.call_count
        for _ in range(running, calls):
            hang_up_after_ms = round(random.uniform(0, longest_s) * 1000)
            self._place(
                SimulatedPhone(replace(self._script, hang_up_after_ms=hang_up_after_ms)), "+1"
            )
        return running

    async def ring_for_ear(self) -> int:
        """Let the phone call whose ear is timed."""
        self._place(self._ear, EAR)
        return await self._answered()

    async def heard(self) -> list[float]:
        """Tell when the ear heard sound."""
        return list(self._ear.heard_s)

    async def heard_samples(self) -> list[tuple[float, int]]:
        """Tell when the ear heard sound, and how many samples of it."""
        return list(zip(self._ear.heard_s, self._ear.heard_samples, strict=True))

    async def gaps(self) -> dict[str, Any]:
        """Tell what gaps there were in what the ear heard."""
        (call,) = (one for one in self._server.exchange.calls if one.identity.caller == EAR)
        report = self._server.exchange.report(call)
        return {"count": report.gap_count, "ms": report.gap_ms, "causes": report.gap_causes}

    async def lateness(self) -> dict[str, float]:
        """Tell how late the ticks were since the last time."""
        self._first_tick, late_ms = self._server.exchange.lateness_ms(self._first_tick)
        values = [float(value) for value in late_ms]
        return {
            "p50_ms": percentile(values, 50),
            "p99_ms": percentile(values, 99),
        }

    async def profile(self, seconds: float) -> dict[str, Any]:
        """Tell what functions cost, and how often Python functions are called.

        Returns:
            shares: Of the processor time, by function, the most expensive first.
            python_calls: Calls of functions in Python, per call and tick.
        """
        profile = cProfile.Profile()
        tick, cpu_s = self._server.exchange.lateness_ms(0)[0], time.process_time()
        profile.enable()
        await asyncio.sleep(seconds)
        profile.disable()
        cpu_s = time.process_time() - cpu_s
        ticks = self._server.exchange.lateness_ms(0)[0] - tick
        # Not `get_stats_profile`: that takes functions of one name for one.
        functions: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = vars(
            pstats.Stats(profile)
        )["stats"]
        shares = [
            (f"{Path(file).name} {name}" if line else name, own_s / cpu_s)
            for (file, line, name), (_, _, own_s, _, _) in functions.items()
        ]
        shares.sort(key=lambda share: -share[1])
        outside = 1 - sum(share for _, share in shares)
        python_calls = sum(times for (_, line, _), (_, times, _, _, _) in functions.items() if line)
        return {
            "shares": [("event loop and reading sockets", outside), *shares[:SHOWN]],
            "python_calls": python_calls / (ticks * self._server.exchange.call_count),
        }

    def _place(self, phone: SimulatedPhone, number: str) -> None:
        connector_uuid = SANDBOX_CONNECTOR.connector_uuid
        self._server.exchange.place(phone, NewCall(connector_uuid, number, "+2", int(time.time())))

    async def _answered(self) -> int:
        """Return how many calls there are, once all of them are answered."""
        exchange = self._server.exchange
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while any(  # noqa: ASYNC110 - a call raises no event for it
                call.state is not CallState.ANSWERED for call in exchange.calls
            ):
                await asyncio.sleep(0.05)
        return exchange.call_count


async def main(media_url: str = "", lead_ms: str = "") -> None:
    """Serve until the input ends.

    Args:
        media_url: Where agents are told to open media links, if that is not the server itself.
        lead_ms: The lead, if it is not to follow the gaps.
    """
    logging.getLogger("telcoflow_server").setLevel(logging.ERROR)
    settings = Settings(
        server=ServerSettings(port=0),
        connectors=(SANDBOX_CONNECTOR,),
        media=MediaSettings(public_url=media_url or None),
        limits=LimitSettings(connection_attempts_per_minute=1_000_000),
    )
    lead = None
    if lead_ms:
        lead = LeadRange(start_ms=int(lead_ms), min_ms=int(lead_ms), max_ms=int(lead_ms))
    server = Server(settings, sandbox=True, lead=lead, owns_process=True)
    await server.start()
    node = Node(server)
    await lines.serve(
        {
            "url": node.url,
            "ports": node.ports,
            "top_up": node.top_up,
            "raise_to": node.raise_to,
            "ring_for_ear": node.ring_for_ear,
            "heard": node.heard,
            "heard_samples": node.heard_samples,
            "gaps": node.gaps,
            "lateness": node.lateness,
            "profile": node.profile,
        }
    )
    await server.stop()


if __name__ == "__main__":
    lines.run(main(*sys.argv[1:]), "uvloop")
