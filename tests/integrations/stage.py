"""An example agent in the test's process, a phone that calls it, and what the phone has heard."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from telcoflow_sdk.testing import LivePhone, Sandbox, running
from tests.positions.ruler import FRAME_SAMPLES, SAMPLES_PER_MS, Reading, Samples, read, ruler
from tests.support.commands import ROOT, Finished
from tests.support.commands import running as process

MS = SAMPLES_PER_MS


def load_example(name: str) -> ModuleType:
    """Return an example as a module, loaded anew: it reads the environment as it is now."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / f"examples/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def agent(
    sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch, **variables: str
) -> AsyncIterator[ModuleType]:
    """Run an example agent in this process."""
    monkeypatch.setenv("TELCOFLOW_BASE_URL", sandbox.base_url)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    module = load_example(name)
    async with running(module.main()):
        yield module


async def dial(sandbox: Sandbox) -> LivePhone:
    """Call the agent; returns when it has answered."""
    phone = await sandbox.dial()
    await phone.answered()
    return phone


def piece(first_ms: float, ms: float) -> bytes:
    """Return PCM that says where on the ruler each of its samples stands."""
    return ruler(round(first_ms * MS), round(ms * MS)).astype("<i2").tobytes()


def chunks(pcm: bytes, size: int) -> list[bytes]:
    """Return PCM in pieces, of an odd size if that is wanted."""
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


def heard(phone: LivePhone) -> Reading:
    """Return what a phone has heard, as places on the ruler."""
    return read(phone.heard.samples)


def spoken(recording: Samples) -> bytes:
    """Return all that was heard, one after the other, without silence."""
    return bytes(recording[recording != 0].astype("<i2").tobytes())


def stop_ms(phone: LivePhone, heard_frames: int, heard_samples: int) -> float:
    """Return how long an answer went on at the phone after an instant, ms.

    Args:
        phone: Heard it.
        heard_frames: At the instant.
        heard_samples: Of the answer, all in all; they come first in what was heard.
    """
    last = np.flatnonzero(phone.heard.samples)[heard_samples - 1]
    return max(0.0, float(last + 1 - heard_frames * FRAME_SAMPLES) / MS)


ANSWER_MS, NEXT_MS = 1_600, 400
ANSWER, NEXT = piece(0, ANSWER_MS), piece(ANSWER_MS + 100, NEXT_MS)
"""What a model says, and what it says after the interruption; no sample is in both."""


def heard_of_answer(phone: LivePhone) -> int:
    """Return how many samples were heard of `ANSWER`, of which the rest was interrupted.

    Nothing of it came after the interruption, and of `NEXT` nothing was lost.
    """
    pcm = spoken(phone.heard.samples)
    assert pcm.endswith(NEXT), "not all of what came after the interruption was heard"
    first = pcm[: len(pcm) - len(NEXT)]
    assert ANSWER.startswith(first), "something of the interrupted answer came back, or is missing"
    return len(first) // 2


APOLOGY = piece(2_500, 100)
"""What callers hear when the model fails."""


def apology_file(folder: Path, rate_hz: int = 24_000) -> str:
    """Return the path of a WAV file with the apology."""
    path = folder / "apology.wav"
    path.write_bytes(wav(rate_hz, APOLOGY))
    return str(path)


def wav(rate_hz: int, pcm: bytes) -> bytes:
    """Return a WAV file, mono, 16 bits."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH",
        b"RIFF",
        36 + len(pcm),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate_hz,
        2 * rate_hz,
        2,
        16,
    )
    return head + struct.pack("<4sI", b"data", len(pcm)) + pcm


async def example_finished(name: str, **variables: str) -> Finished:
    """Run an example as a user does, to its end."""
    file = ROOT / f"examples/{name}.py"
    async with process(file, variables=variables) as started:
        return await started.finished()


async def listen_to(phone: LivePhone, ms: float) -> None:
    """Listen until so much sound was heard, silence not counted; and for a part of a frame."""
    while np.count_nonzero(phone.heard.samples) < ms * MS:
        await phone.listen(0.02)
    # Else whatever follows would always happen right after a frame.
    await asyncio.sleep(random.uniform(0, 0.019))


def heard_frames(phone: LivePhone) -> int:
    """Return how long a phone has been listening."""
    return phone.heard.samples.size // FRAME_SAMPLES
