"""`examples/cascade.py`, with parts of its own and with a test's; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

import numpy as np
import pytest

from telcoflow_sdk.testing import LivePhone, Sandbox, virtual_time
from telcoflow_server import speech
from tests.integrations.findings import Findings
from tests.integrations.stage import agent, apology_file

LEVELS = (3_000, 6_000, 9_000, 12_000, 15_000)
"""Of the words of an answer: each is heard as a level of its own, whatever a resampler does."""

WORD_MS = 300
RATE_HZ = 16_000


class Ear:
    """Speech to text that hears what a test tells it."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str | None] = asyncio.Queue()

    async def transcribe(self, audio: AsyncIterator[bytes]) -> AsyncIterator[str | None]:
        async def drop() -> None:
            async for _ in audio:
                pass

        dropping = asyncio.create_task(drop())
        try:
            while True:
                yield await self.told.get()
        finally:
            dropping.cancel()


class Mind:
    """A language model that says what a test tells it, and keeps what it was asked."""

    def __init__(self, *answers: list[str | None]) -> None:
        self.answers = list(answers)
        self.asked: list[list[tuple[str, str]]] = []

    async def answer(self, history: list[tuple[str, str]]) -> AsyncIterator[str | None]:
        self.asked.append(list(history))
        for sentence in self.answers.pop(0):
            await asyncio.sleep(0.05)
            yield sentence


class Mouth:
    """Text to speech in levels: the words of a sentence are `LEVELS`, as numbers."""

    async def speak(self, sentence: str) -> AsyncIterator[bytes]:
        for word in sentence.split():
            samples = np.full(RATE_HZ * WORD_MS // 1000, LEVELS[int(word)], np.int16)
            pcm = samples.tobytes()
            for half in (pcm[: len(pcm) // 2 + 1], pcm[len(pcm) // 2 + 1 :]):  # of odd size
                await asyncio.sleep(0.01)
                yield half


def levels_ms(phone: LivePhone) -> list[tuple[int, float]]:
    """Return which words were heard, and for how long."""
    recording = phone.heard.samples.astype(np.int32)
    nearest = np.abs(recording[:, None] - np.array([0, *LEVELS])).argmin(axis=1)
    changes = np.flatnonzero(np.diff(nearest, prepend=0))
    lengths_ms = np.diff(changes, append=nearest.size) / 24
    runs = zip(nearest[changes], lengths_ms, strict=True)
    # At an edge the filter passes all levels between, for less than 3 ms.
    return [(int(level) - 1, float(ms)) for level, ms in runs if level != 0 and ms > 3]


@asynccontextmanager
async def cascade(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, *answers: list[str | None], **variables: str
) -> AsyncIterator[tuple[LivePhone, ModuleType, Mind, Ear]]:
    """Call the agent with the parts of a test."""
    async with agent(sandbox, "cascade", monkeypatch, **variables) as module:
        mind, ear = Mind(*answers), Ear()
        monkeypatch.setattr(module, "stt", ear)
        monkeypatch.setattr(module, "llm", mind)
        monkeypatch.setattr(module, "tts", Mouth())
        phone = await sandbox.dial()
        await phone.answered()
        yield phone, module, mind, ear


@virtual_time
async def test_answers_are_heard_whole_and_remembered(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[list[str | None]] = [["0 1", "2"], ["3 4", None]]
    async with cascade(sandbox, monkeypatch, *answers) as (phone, _, mind, ear):
        await phone.listen_until_quiet()
        ear.told.put_nowait(None)
        ear.told.put_nowait("and?")
        assert await phone.ended() == "agent_closed"

    heard = levels_ms(phone)
    assert [word for word, _ in heard] == [0, 1, 2, 3, 4]
    assert all(ms == pytest.approx(WORD_MS, abs=3) for _, ms in heard)
    assert mind.asked == [[], [("agent", "0 1"), ("agent", "2"), ("caller", "and?")]]


@virtual_time
async def test_what_was_not_heard_is_not_remembered(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, findings: Findings
) -> None:
    async with cascade(sandbox, monkeypatch, ["0 1 2", "3"], ["4"]) as (phone, _, mind, ear):
        await phone.listen(0.75)
        before_ms = phone.heard.duration_s * 1000
        ear.told.put_nowait(None)
        await phone.listen(0.5)
        ear.told.put_nowait("stop!")
        await phone.listen_until_quiet()

    heard = levels_ms(phone)
    *first, last = heard
    assert last[0] == 4
    assert last[1] == pytest.approx(WORD_MS, abs=3)
    words = [word for word, _ in first]
    assert words == [0, 1, 2][: len(words)]
    heard_ms = sum(ms for _, ms in first)
    assert 500 <= heard_ms <= 750
    remembered = ["0", "1", "2"][: round(heard_ms / WORD_MS)]
    assert mind.asked[1] == [("agent", " ".join(remembered)), ("agent", ""), ("caller", "stop!")]
    sounding = np.flatnonzero(phone.heard.samples[: round((before_ms + 400) * 24)])
    findings.note("cascade, in the middle", max(0.0, sounding[-1] / 24 - before_ms), None, heard_ms)


@virtual_time
async def test_interrupted_before_the_first_byte_nothing_is_heard_or_remembered(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cascade(sandbox, monkeypatch, ["0 1 2"], ["4"]) as (phone, _, mind, ear):
        await phone.listen(0.02)
        ear.told.put_nowait(None)
        ear.told.put_nowait("me first")
        await phone.listen_until_quiet()

    assert [word for word, _ in levels_ms(phone)] == [4]
    assert mind.asked[-1] == [("caller", "me first")]


@virtual_time
async def test_the_caller_hangs_up_first_and_every_part_ends(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cascade(sandbox, monkeypatch, ["0 1 2 3 4"]) as (phone, _, _, _):
        await phone.listen(0.3)
        assert await phone.hang_up() == "caller_hung_up"
        await asyncio.sleep(0.1)
        names = {task.get_name() for task in asyncio.all_tasks()}

    assert "telcoflow conversation" not in names


@virtual_time
async def test_a_part_that_fails_ends_the_call_with_an_apology(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sorry = apology_file(tmp_path_factory.mktemp("sorry"), RATE_HZ)
    async with cascade(sandbox, monkeypatch, ["7"], APOLOGY_WAV=sorry) as (phone, _, _, _):
        assert await phone.ended() == "agent_closed"

    assert phone.heard.sounding_s == pytest.approx(0.15, abs=0.04)
    assert "the conversation with the model failed (IndexError)" in caplog.text


@virtual_time
async def test_with_its_own_parts_it_greets_answers_and_says_goodbye(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent(sandbox, "cascade", monkeypatch):
        phone = await sandbox.dial()
        await phone.answered()
        greeting = await phone.listen_until_quiet()
        answers = []
        for _ in range(3):
            await phone.say(speech.SENTENCE)
            answers.append(await phone.listen_until_quiet())
        assert await phone.ended() == "agent_closed"

    assert greeting.sounding_s == pytest.approx(0.8, abs=0.05)  # four words
    assert [round(one.sounding_s, 1) for one in answers] == [1.2, 1.2, 1.4]
