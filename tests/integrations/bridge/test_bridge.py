"""A conversation between a call and a model that is a few lines of a test; in virtual time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from telcoflow_sdk import ActiveCall, BufferFullError
from telcoflow_sdk.bridge import Bridge, Cut, ModelError
from telcoflow_sdk.model_side import raise_explained
from telcoflow_sdk.testing import Heard, LivePhone, Sandbox, virtual_time
from tests.integrations.stage import ANSWER, APOLOGY, MS, NEXT, heard_of_answer, spoken
from tests.positions.ruler import ruler
from tests.positions.stage import serving

Converse = Callable[[Bridge], Awaitable[None]]


class Outcome:
    """What became of a conversation."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.is_over = asyncio.Event()
        self.call: ActiveCall | None = None


async def converse_in(
    sandbox: Sandbox,
    converse: Callable[[Bridge], object],
    user: Callable[[LivePhone], Awaitable[object]],
    *,
    linger_s: float = 0.0,
    **options: object,
) -> tuple[LivePhone, Outcome]:
    """Have a call in which `converse` is the model's side and `user` the caller's."""
    outcome = Outcome()

    async def take(call: ActiveCall) -> None:
        outcome.call = call
        await call.answer()
        try:
            await Bridge(call, **options).run(converse, linger_s=linger_s)  # type: ignore[arg-type]
        except BaseException as error:
            outcome.error = error
        finally:
            outcome.is_over.set()

    async with serving(sandbox, take):
        phone = await sandbox.dial()
        await phone.answered()
        await user(phone)
        await outcome.is_over.wait()
    return phone, outcome


async def wait_for_the_end(phone: LivePhone) -> None:
    await phone.ended()


async def hang_up_soon(phone: LivePhone) -> None:
    await phone.listen(1.0)
    await phone.hang_up()


async def nothing(_: bytes) -> None:
    pass


@virtual_time
async def test_what_was_said_is_heard_before_the_agent_leaves(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        assert await bridge.say(ANSWER)
        bridge.end_turn()
        assert await bridge.say(NEXT, turn="next")

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    assert phone.end_reason == "agent_closed"
    assert spoken(phone.heard.samples) == ANSWER + NEXT


@virtual_time
async def test_the_caller_hangs_up_first_and_the_conversation_is_cancelled(
    sandbox: Sandbox,
) -> None:
    ends: list[str] = []

    async def converse(bridge: Bridge) -> None:
        try:
            async with bridge.listening(nothing):
                await bridge.say(ANSWER)
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    phone, outcome = await converse_in(sandbox, converse, hang_up_soon)

    assert outcome.error is None
    assert ends == ["cancelled"]
    assert phone.end_reason == "caller_hung_up"


@virtual_time
async def test_what_fails_while_it_is_cancelled_is_only_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def converse(bridge: Bridge) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the socket of the model")

    _, outcome = await converse_in(sandbox, converse, hang_up_soon)

    assert outcome.error is None
    assert "leaving the model failed: OSError" in caplog.text


@virtual_time
async def test_after_the_last_words_the_model_may_finish(sandbox: Sandbox) -> None:
    heard, finished = bytearray(), asyncio.Event()
    said: list[object] = []

    async def hear(pcm: bytes) -> None:
        heard.extend(pcm)

    async def finish() -> None:
        await asyncio.sleep(0.5)
        finished.set()

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(hear, finish=finish):
            await finished.wait()
        said.append(await bridge.say(ANSWER))
        await bridge.interrupt()
        bridge.end_turn()

    async def user(phone: LivePhone) -> None:
        await phone.say(ruler(0, 24_000))
        await phone.hang_up()

    _, outcome = await converse_in(sandbox, converse, user, linger_s=1.0)

    assert outcome.error is None
    assert finished.is_set()
    assert said == [False]
    assert ruler(0, 24_000).tobytes() in bytes(heard)


@virtual_time
async def test_a_model_that_does_not_finish_in_time_is_cancelled(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        await asyncio.Event().wait()

    _, outcome = await converse_in(sandbox, converse, hang_up_soon, linger_s=1.0)

    assert outcome.error is None


@virtual_time
async def test_a_command_after_the_end_of_the_call_is_no_failure(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        async for _ in bridge.call.audio_stream():
            pass
        await bridge.call.connect()

    _, outcome = await converse_in(sandbox, converse, hang_up_soon, linger_s=1.0)

    assert outcome.error is None


@virtual_time
async def test_cancelled_from_outside_the_call_goes_on(sandbox: Sandbox) -> None:
    async def take(call: ActiveCall) -> None:
        await call.answer()
        running = asyncio.create_task(Bridge(call).run(converse))
        await asyncio.sleep(0.5)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        await call.send_audio(NEXT)

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing):
            await asyncio.Event().wait()

    async with serving(sandbox, take):
        phone = await sandbox.dial()
        await phone.listen_until_quiet(0.2)
        await phone.hang_up()

    assert spoken(phone.heard.samples) == NEXT


@virtual_time
async def test_blocks_that_follow_each_other_lose_nothing_of_the_caller(sandbox: Sandbox) -> None:
    heard = bytearray()
    number = 0

    async def hear(pcm: bytes) -> None:
        if pcm.startswith(b"\0\0") and not pcm.strip(b"\0"):
            return
        await asyncio.sleep(0.015)
        heard.extend(pcm)

    async def converse(bridge: Bridge) -> None:
        nonlocal number
        for number in range(20):  # noqa: B007
            async with bridge.listening(hear):
                await asyncio.sleep(0.1234)
            await asyncio.sleep(0.05)  # connecting anew

    async def user(phone: LivePhone) -> None:
        await phone.say(ruler(0, 48_000))
        await phone.ended()

    _, outcome = await converse_in(sandbox, converse, user)

    assert outcome.error is None
    assert number == 19
    assert bytes(heard) == ruler(0, 48_000).tobytes()


@virtual_time
async def test_the_first_of_several_failures_of_a_block_is_raised(sandbox: Sandbox) -> None:
    raised: list[Exception] = []

    async def hear(_: bytes) -> None:
        raise OSError("first")

    async def converse(bridge: Bridge) -> None:
        try:
            async with bridge.listening(hear):
                try:
                    await asyncio.Event().wait()
                finally:
                    raise KeyError("second")
        except Exception as error:
            raised.append(error)

    _, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    assert [str(error) for error in raised] == ["first"]


@virtual_time
async def test_a_failure_of_the_block_itself_is_raised_as_it_is(sandbox: Sandbox) -> None:
    raised: list[Exception] = []

    async def converse(bridge: Bridge) -> None:
        try:
            async with bridge.listening(nothing):
                raise KeyError("mine")
        except KeyError as error:
            raised.append(error)

    await converse_in(sandbox, converse, wait_for_the_end)

    assert len(raised) == 1


@virtual_time
async def test_a_model_that_takes_no_audio_is_given_up(sandbox: Sandbox) -> None:
    async def hear(_: bytes) -> None:
        await asyncio.Event().wait()

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(hear):
            await asyncio.Event().wait()

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end, stall_timeout_s=2.0)

    assert isinstance(outcome.error, ModelError)
    assert "no audio for 2 s" in str(outcome.error)
    assert 2.0 <= phone.heard.duration_s < 2.5


@virtual_time
async def test_a_timeout_of_the_models_own_is_another(sandbox: Sandbox) -> None:
    async def hear(_: bytes) -> None:
        raise TimeoutError

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(hear):
            await asyncio.Event().wait()

    _, outcome = await converse_in(sandbox, converse, wait_for_the_end, settings="MODEL_KEY")

    text = "the conversation with the model failed (TimeoutError): if it goes on, check MODEL_KEY"
    assert str(outcome.error) == text


# --- interruptions -------------------------------------------------------------------------


@virtual_time
async def test_of_an_interrupted_turn_nothing_is_heard_any_more(sandbox: Sandbox) -> None:
    cuts: list[Cut] = []

    async def truncate(cut: Cut) -> None:
        cuts.append(cut)

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing, truncate=truncate):
            assert await bridge.say(ANSWER[:-4_800], turn=1, part="a")
            await asyncio.sleep(0.6)
            await bridge.interrupt()
            assert not await bridge.say(ANSWER[-4_800:], turn=1, part="a")
            assert await bridge.say(NEXT, turn=2)
            assert await bridge.call.drain()

    phone, _ = await converse_in(sandbox, converse, wait_for_the_end)

    (cut,) = cuts
    assert (cut.turn, cut.part, cut.is_measured) == (1, "a", True)
    assert cut.heard_ms == heard_of_answer(phone) / MS
    assert cut.said_ms == 1_500.0


@virtual_time
async def test_a_turn_that_has_not_begun_is_interrupted_by_its_name(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        await bridge.interrupt("not begun")
        assert not await bridge.say(ANSWER, turn="not begun")
        await bridge.say(NEXT, turn="next")

    phone, _ = await converse_in(sandbox, converse, wait_for_the_end)

    assert heard_of_answer(phone) == 0


@virtual_time
async def test_without_a_truncate_function_it_is_interrupted_all_the_same(
    sandbox: Sandbox,
) -> None:
    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing):
            await bridge.say(ANSWER, turn=1)
            await asyncio.sleep(0.3)
            await bridge.interrupt()
            await bridge.say(NEXT, turn=2)

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    assert 0 < heard_of_answer(phone) <= 400 * MS


@virtual_time
async def test_a_truncation_that_fails_ends_the_block(sandbox: Sandbox) -> None:
    async def truncate(_: Cut) -> None:
        raise OSError("gone")

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing, truncate=truncate):
            await bridge.say(ANSWER, turn=1)
            await bridge.interrupt()
            await asyncio.Event().wait()

    _, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert isinstance(outcome.error, ModelError)
    assert isinstance(outcome.error.__cause__, OSError)


@virtual_time
async def test_without_the_servers_answer_the_last_number_it_told_is_taken(
    sandbox: Sandbox,
) -> None:
    cuts: asyncio.Queue[Cut] = asyncio.Queue()
    told: list[Cut] = []
    is_playing = asyncio.Event()

    async def converse(bridge: Bridge) -> None:
        async with bridge.listening(nothing, truncate=cuts.put):
            await bridge.say(ANSWER, turn=1)
            await asyncio.sleep(0.6)
            is_playing.set()
            for link in sandbox.links:
                link.up.hold()  # the server hears nothing of the interruption
            await bridge.interrupt()
            told.append(await cuts.get())

    async def user(phone: LivePhone) -> None:
        await is_playing.wait()
        await phone.hang_up()

    _, outcome = await converse_in(sandbox, converse, user, linger_s=1.0)

    assert outcome.error is None
    assert not told[0].is_measured
    assert told[0].heard_ms == pytest.approx(600, abs=41)


@pytest.mark.parametrize("seed", range(3))
@virtual_time
async def test_at_random_instants_the_cut_is_where_the_recording_ends(
    sandbox: Sandbox, seed: int
) -> None:
    chance = random.Random(seed)
    told: dict[int, list[Cut]] = {}
    said: dict[int, tuple[int, int]] = {}
    position = 0

    async def truncate(cut: Cut) -> None:
        assert isinstance(cut.turn, int)
        told.setdefault(cut.turn, []).append(cut)

    async def converse(bridge: Bridge) -> None:
        nonlocal position
        async with bridge.listening(nothing, truncate=truncate):
            for turn in range(60):
                first = position
                for part in range(chance.randint(1, 4)):
                    samples = chance.randint(1, 12_000)
                    pcm = ruler(position, samples).tobytes()
                    assert await bridge.say(pcm, turn=turn, part=part)
                    position += samples
                    await asyncio.sleep(chance.choice([0, 0, samples / 48_000]))
                said[turn] = first, position
                if chance.random() < 0.5:
                    bridge.end_turn()
                await asyncio.sleep(chance.uniform(0, 1.2))
                if chance.random() < 0.7:
                    await bridge.interrupt()
            assert await bridge.call.drain()
            await asyncio.sleep(0.1)

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    expected = []
    for turn, (first, end) in said.items():
        unheard_ms = sum(cut.said_ms - cut.heard_ms for cut in told.get(turn, []))
        expected.append(ruler(first, end - first - round(unheard_ms * MS)))
    recording = phone.heard.samples
    assert np.array_equal(recording[recording != 0], np.concatenate(expected))
    assert told


# --- what may be wrong ---------------------------------------------------------------------

WRONG = {
    "text": ("Hello!", None, "sent str where audio was expected"),
    "text by its type": (b"Hello!", "text/plain", "'text/plain' where raw PCM was expected"),
    "another rate": (ANSWER, "audio/pcm; rate=16000", "sends audio of 16000 Hz"),
    "half a WAV header": (b"RIFF\0\0\0\0WAVEfmt ", None, "the WAV header is cut short"),
}


@pytest.mark.parametrize("what", WRONG)
@virtual_time
async def test_what_is_no_audio_of_the_calls_is_refused_with_an_apology(
    sandbox: Sandbox, what: str
) -> None:
    data, mime_type, text = WRONG[what]

    async def converse(bridge: Bridge) -> None:
        await bridge.say(data, mime_type=mime_type)  # type: ignore[arg-type]

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end, apology=APOLOGY)

    assert isinstance(outcome.error, ModelError)
    assert text in str(outcome.error)
    assert spoken(phone.heard.samples) == APOLOGY


@pytest.mark.parametrize(
    "mime_type", ["audio/pcm", "audio/pcm;rate=24000", "audio/L16; rate=24000"]
)
@virtual_time
async def test_audio_of_the_calls_kind_is_played(sandbox: Sandbox, mime_type: str) -> None:
    async def converse(bridge: Bridge) -> None:
        await bridge.say(memoryview(NEXT), mime_type=mime_type)

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end)

    assert outcome.error is None
    assert spoken(phone.heard.samples) == NEXT


@virtual_time
async def test_more_than_the_buffer_holds_names_its_size_and_the_apology_is_heard(
    sandbox: Sandbox,
) -> None:
    async def converse(bridge: Bridge) -> None:
        await bridge.say(bytes(2 * 24_000 * 170))
        await bridge.say(bytes(2 * 24_000 * 4))
        await bridge.say(bytes(2 * 24_000 * 170))

    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end, apology=APOLOGY)

    assert isinstance(outcome.error, ModelError)
    assert isinstance(outcome.error.__cause__, BufferFullError)
    assert "buffer_size" in str(outcome.error)
    assert spoken(phone.heard.samples) == APOLOGY


@pytest.mark.parametrize("kind", ["bytes", "path"])
@virtual_time
async def test_an_apology_may_be_a_wav_file(sandbox: Sandbox, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "sorry.wav"
    Heard(np.frombuffer(APOLOGY, "<i2").astype(np.int16)).save(file)

    async def converse(_: Bridge) -> None:
        raise ModelError("gone")

    apology = file if kind == "path" else file.read_bytes()
    phone, outcome = await converse_in(sandbox, converse, wait_for_the_end, apology=apology)

    assert str(outcome.error) == "gone"
    assert spoken(phone.heard.samples) == APOLOGY


@virtual_time
async def test_an_apology_of_another_rate_is_refused_before_anything_fails(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async def converse(_: Bridge) -> None:
        raise AssertionError("not begun")

    header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
    outcomes = []

    async def take(call: ActiveCall) -> None:
        with pytest.raises(ValueError, match="this WAV is 16000 Hz"):
            Bridge(call, apology=header)
        with pytest.raises(FileNotFoundError):
            Bridge(call, apology=tmp_path / "none.wav")
        outcomes.append("refused")
        await call.close()

    async with serving(sandbox, take):
        phone = await sandbox.dial()
        await phone.ended()

    assert outcomes == ["refused"]


@virtual_time
async def test_a_failure_after_the_caller_has_gone_hangs_up_nothing(sandbox: Sandbox) -> None:
    async def converse(bridge: Bridge) -> None:
        async for _ in bridge.call.audio_stream():
            pass
        raise ModelError("gone")

    _, outcome = await converse_in(sandbox, converse, hang_up_soon, linger_s=1.0, apology=APOLOGY)

    assert str(outcome.error) == "gone"


class Closed(Exception):
    """As a library has it: the close code is in `rcvd`, and `code` must not be touched."""

    rcvd: object = None

    @property
    def code(self) -> int:
        raise DeprecationWarning


class Received:
    code = 1008


class RefusedConnection(Closed):
    rcvd = Received()


class HttpError(Exception):
    def __init__(self, status_code: object) -> None:
        super().__init__()
        self.response = self
        self.status_code = status_code


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (HttpError(401), "the model's service refused us (HttpError, 401): check KEY"),
        (HttpError(503), "the conversation with the model failed (HttpError, 503)"),
        (HttpError("no number"), "the conversation with the model failed (HttpError)"),
        (RefusedConnection(), "the model's service refused us (RefusedConnection, 1008)"),
        (Closed(), "the conversation with the model failed (Closed)"),
        (OSError(), "the conversation with the model failed (OSError)"),
    ],
)
def test_an_error_of_any_library_is_explained(failure: Exception, text: str) -> None:
    with pytest.raises(ModelError) as raised:
        raise_explained(failure, "KEY")

    assert str(raised.value).startswith(text)
    assert raised.value.__cause__ is failure


def test_what_is_no_failure_of_the_model_is_raised_as_it_is() -> None:
    with pytest.raises(KeyboardInterrupt):
        raise_explained(KeyboardInterrupt(), "KEY")


def test_the_log_is_quiet_by_default() -> None:
    assert logging.getLogger("telcoflow_sdk").handlers == []
