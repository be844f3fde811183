"""Uploads to simulated phones: one part of JSON, then WAV files.

Not here: what the JSON means (`script.py`), what a WAV file is (`media/sound.py`).
Implements the uploads of docs/reference/rest.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import msgspec
from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.api.auth import Refused
from telcoflow_server.media.sound import Sound, SoundError, load_sound

UPLOAD_LIMIT_BYTES = 32 * 1024 * 1024
"""Eleven minutes of 24 kHz mono, over all sounds of a call."""

UPLOAD_TIMEOUT_S = 60.0
"""For all of it, even on a slow line."""

SOUNDS_LIMIT = 64

T = TypeVar("T")


def invalid(message: str) -> Refused:
    """Return what a request gets that is wrong in content."""
    return Refused(400, ErrorCode.INVALID_REQUEST, message)


async def read_upload(request: web.Request, name: str, kind: type[T]) -> tuple[T, list[Sound]]:
    """Read a form with a part `name` of JSON and parts `sound`.

    Sounds are converted in a thread, so that the tick is not delayed.

    Raises:
        Refused: the form is not one, too big, too slow, or something in it is wrong.
    """
    if not request.content_type.startswith("multipart/"):
        raise invalid(f"send multipart/form-data with a part `{name}` and parts `sound`")
    return await _in_time(_read_form(request, name, kind))


async def read_json(request: web.Request, name: str, kind: type[T]) -> T:
    """Read a body of JSON. Raises `Refused`: as `read_upload`; `name` is for its words."""
    return _decode(await _in_time(request.read()), name, kind)


async def _in_time(reading: Awaitable[T]) -> T:
    """Return what is read; refuse a body that takes too long to come, or breaks off."""
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            return await reading
    except TimeoutError:
        raise Refused(
            408, ErrorCode.TIMEOUT, f"the upload took longer than {UPLOAD_TIMEOUT_S:.0f} s"
        ) from None
    except (ValueError, ConnectionError, HttpProcessingError, web.RequestPayloadError):
        # What the library makes of a form that is garbled or breaks off.
        raise invalid("the form is garbled, or broke off") from None


async def _read_form(request: web.Request, name: str, kind: type[T]) -> tuple[T, list[Sound]]:
    content: T | None = None
    sounds: list[Sound] = []
    left_bytes = UPLOAD_LIMIT_BYTES
    reader = await request.multipart()
    async for part in reader:
        if not isinstance(part, BodyPartReader):
            raise invalid("nested multipart is not understood")
        data = await _read_part(part, left_bytes)
        left_bytes -= len(data)
        if part.name == name:
            content = _decode(data, name, kind)
        elif part.name == "sound":
            if len(sounds) >= SOUNDS_LIMIT:
                raise invalid(f"more than {SOUNDS_LIMIT} sounds")
            try:
                sounds.append(await asyncio.to_thread(load_sound, data))
            except SoundError as error:
                raise Refused(400, ErrorCode.INVALID_WAV, str(error)) from None
        else:
            raise invalid(f"parts are `{name}` and `sound`")
    if content is None:
        raise invalid(f"the part `{name}` is missing")
    return content, sounds


def _decode(data: bytes, name: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise invalid(f"{name}: {error}") from None


async def _read_part(part: BodyPartReader, limit_bytes: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(64 * 1024):
        data += chunk
        if len(data) > limit_bytes:
            raise Refused(
                413,
                ErrorCode.INVALID_REQUEST,
                f"the upload is over {UPLOAD_LIMIT_BYTES} bytes",
            )
    return bytes(data)
