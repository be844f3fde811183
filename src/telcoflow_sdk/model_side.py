"""What may be wrong on a model's side of a conversation, and how that is said.

Not here: the conversation (`bridge.py`). Implements "Errors" of
docs/explanation/models-and-interruptions.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from telcoflow_sdk.audio.format import AudioFormat, BytesLike
from telcoflow_sdk.audio.wav import begins_like_wav, parse_wav_header
from telcoflow_sdk.exceptions import WSSError

_REFUSALS = frozenset({401, 403, 1007, 1008})
"""HTTP statuses and WebSocket close codes (RFC 6455 §7.4.1) with which services refuse a key."""

_PCM = frozenset({"audio/pcm", "audio/l16"})


class ModelError(WSSError):
    """The model's side of a conversation failed; the text names the setting to look at."""


def pcm_of_model(pcm: BytesLike, mime_type: str | None, audio_format: AudioFormat) -> bytes:
    """Return the audio that a model has sent, without a header.

    Args:
        pcm: What it sent.
        mime_type: What it says that this is, such as `audio/pcm;rate=24000`.
        audio_format: What the call carries.

    Raises:
        ModelError: no audio, or in another format.
    """
    if mime_type is not None:
        _check_type(mime_type, audio_format)
    try:
        data = memoryview(pcm).cast("B").tobytes()
    except TypeError:
        raise ModelError(
            f"the model sent {type(pcm).__name__} where audio was expected: check which output "
            "it was asked for"
        ) from None
    try:
        return _without_header(data, audio_format)
    except ValueError as error:
        raise ModelError(f"the model's audio cannot be played: {error}") from error


def read_pcm(source: BytesLike | str | os.PathLike[str], audio_format: AudioFormat) -> bytes:
    """Return PCM that a user gives, as bytes or as a file, with a WAV header or without.

    Raises:
        ValueError: a WAV file in another format.
        OSError: it cannot be read.
    """
    data = Path(source).read_bytes() if isinstance(source, str | os.PathLike) else bytes(source)
    return _without_header(data, audio_format)


def first_of(failure: BaseException | None) -> BaseException | None:
    """Return what failed first, where a task group in the conversation has gathered several."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def raise_explained(failure: BaseException, settings: str) -> NoReturn:
    """Raise what has failed as a `ModelError` that names the settings; the cause is attached.

    The words of other libraries are not repeated: services put into them what they were told.

    Args:
        failure: Of a conversation.
        settings: What to check, in words.

    Raises:
        ModelError: always, but for what is no `Exception`: that is raised as it is.
    """
    if isinstance(failure, ModelError) or not isinstance(failure, Exception):
        raise failure
    if isinstance(failure, WSSError):
        raise ModelError(f"the conversation with the model failed: {failure}") from failure
    name, status = type(failure).__name__, _status(failure)
    what = name if status is None else f"{name}, {status}"
    if status in _REFUSALS:
        text = f"the model's service refused us ({what}): check {settings}"
    else:
        text = f"the conversation with the model failed ({what}): if it goes on, check {settings}"
    raise ModelError(text) from failure


def _check_type(mime_type: str, audio_format: AudioFormat) -> None:
    kind, *parameters = mime_type.lower().replace(" ", "").split(";")
    if kind not in _PCM:
        raise ModelError(
            f"the model sent {kind!r} where raw PCM was expected: check which output it was asked "
            "for"
        )
    rates = [one.removeprefix("rate=") for one in parameters if one.startswith("rate=")]
    if rates and rates[0] != str(audio_format.sample_rate_hz):
        raise ModelError(
            f"the model sends audio of {rates[0]} Hz and the call carries "
            f"{audio_format.sample_rate_hz} Hz: set sample_rate in the TelcoflowClientConfig, or "
            "ask the model for the other"
        )


def _without_header(data: bytes, audio_format: AudioFormat) -> bytes:
    """Return PCM without the WAV header it may have. Raises `ValueError`: of another format."""
    if not begins_like_wav(data):
        return data
    header = parse_wav_header(data)
    header.require(audio_format)
    return header.samples_in(data)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status or the close code in an error, of whichever library it is."""
    holders: tuple[object, ...] = (getattr(error, "response", None), error)
    if hasattr(error, "rcvd"):
        holders = (error.rcvd,)  # of `websockets`, whose errors' own `code` is deprecated
    for holder in holders:
        for name in ("code", "status_code", "status"):
            number = getattr(holder, name, None)
            if isinstance(number, int):
                return int(number)
    return None
