"""What may be wrong on a model's side: the caller hears an apology, the developer why."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from telcoflow_sdk import ActiveCall, BufferFullError
from telcoflow_sdk.bridge import Bridge, ModelError
from telcoflow_sdk.model_side import raise_explained
from telcoflow_sdk.testing import Heard, Sandbox, virtual_time
from tests.integrations.bridge.conversation import (
    converse_in,
    hang_up_soon,
    wait_for_the_end,
)
from tests.integrations.stage import ANSWER, APOLOGY, NEXT, spoken
from tests.positions.stage import serving

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
