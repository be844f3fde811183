"""`play` takes every kind of source that docs/reference/sdk.md lists, and refuses what it says."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from telcoflow_sdk.testing import Sandbox, virtual_time
from tests.support.answered import answered, heard_ms
from tests.support.pages import REFERENCE, quoted, table

SAID = (np.arange(24_000) % 7_000 + 1).astype("<i2").tobytes()

pytestmark = pytest.mark.slow


class Stream:
    """An async iterable, as libraries hand them out."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return pieces()


async def pieces() -> AsyncIterator[bytes]:
    for begin in range(0, len(SAID), 1_001):
        yield SAID[begin : begin + 1_001]


def producer() -> Callable[[int], Any]:
    rest = [SAID]

    async def produce(n_bytes: int) -> bytes:
        piece, rest[0] = rest[0][:n_bytes], rest[0][n_bytes:]
        return piece

    return produce


def wav(folder: Path, rate_hz: int = 24_000) -> Path:
    file = folder / "said.wav"
    with wave.open(str(file), "wb") as written:
        written.setparams((1, 2, rate_hz, 0, "NONE", "not compressed"))
        written.writeframes(SAID)
    return file


SOURCES: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _: SAID,
    "bytearray": lambda _: bytearray(SAID),
    "memoryview": lambda _: memoryview(SAID),
    "str": lambda folder: str(wav(folder)),
    "Path": wav,
    "iterator": lambda _: pieces(),
    "iterable": lambda _: Stream(),
    "async def produce(n_bytes)": lambda _: producer(),
}


def test_every_kind_that_is_listed_is_played_below() -> None:
    listed = {kind for row in table(REFERENCE / "sdk.md", "Playing a source") for kind in row[:1]}

    assert {name for cell in listed for name in quoted(cell)} == set(SOURCES) - {
        "iterator",
        "iterable",
    }


@pytest.mark.parametrize("kind", list(SOURCES))
@virtual_time
async def test_source_is_played_to_its_last_sample(
    sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    source = await asyncio.to_thread(SOURCES[kind], tmp_path)
    async with answered(sandbox) as (call, phone):
        assert await call.play(source)

        heard = phone.heard.samples
        assert heard[heard != 0].tobytes() == SAID


@virtual_time
async def test_wav_of_another_rate_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    file = await asyncio.to_thread(wav, tmp_path, 22_050)
    async with answered(sandbox) as (call, _):
        with pytest.raises(ValueError, match=r"said\.wav"):
            await call.play(file)


@virtual_time
async def test_file_that_is_not_there_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    async with answered(sandbox) as (call, _):
        with pytest.raises(OSError, match=r"none\.wav"):
            await call.play(tmp_path / "none.wav")


@pytest.mark.parametrize("source", [None, 5, lambda n_bytes: b""])
@virtual_time
async def test_anything_else_is_refused(sandbox: Sandbox, source: Any) -> None:
    async with answered(sandbox) as (call, _):
        with pytest.raises(TypeError):
            await call.play(source)


@virtual_time
async def test_what_the_source_raises_is_raised_and_what_was_made_is_heard(
    sandbox: Sandbox,
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield SAID
        raise LookupError

    async with answered(sandbox) as (call, phone):
        with pytest.raises(LookupError):
            await call.play(breaking())
        await call.drain()

        assert heard_ms(phone) == 1000
