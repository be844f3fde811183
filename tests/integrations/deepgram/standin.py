"""A stand-in of Deepgram's `/v1/listen`, for the client `deepgram-sdk` 7.17.0.

Messages are those of `deepgram.listen.v1.types`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from tests.integrations.service import Service, Session, UnknownMessageError

KEY = "key-of-the-stand-in"
PATH = "/v1/listen"
OPTIONS = {
    "model": "nova-3",
    "encoding": "linear16",
    "sample_rate": "24000",
    "smart_format": "true",
}
METADATA = {
    "request_id": "request",
    "model_info": {"name": "nova-3", "version": "1", "arch": "nova-3"},
    "model_uuid": "model",
}


class DeepgramSession(Session):
    """A client's connection."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        super().__init__(socket, request)
        self.finishes = True

    async def take(self, kind: WSMsgType, data: Any) -> None:
        """See `Session`."""
        if kind is WSMsgType.BINARY:
            self.audio += data
            return
        message = msgspec.json.decode(data)
        if message != {"type": "CloseStream"}:
            raise UnknownMessageError(f"{message}")
        self.arrived(message)
        if self.finishes:
            await self.finish()

    @property
    def duration_s(self) -> float:
        """How much was heard."""
        return len(self.audio) / 48_000

    async def finish(self, *last: tuple[str, float]) -> None:
        """Send the last words, and close."""
        for text, start_s in last:
            await self.result(text, start_s)
        await self.send(
            {
                "type": "Metadata",
                "transaction_key": "deprecated",
                "request_id": "request",
                "sha256": "0",
                "created": "2026-01-01T00:00:00Z",
                "duration": self.duration_s,
                "channels": 1,
            }
        )
        await self.close()

    async def result(self, text: str, start_s: float, *, is_final: bool = True) -> None:
        """Send a transcript."""
        alternative = {"transcript": text, "confidence": 0.9, "words": []}
        await self.send(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "duration": 1.0,
                "start": start_s,
                "is_final": is_final,
                "speech_final": is_final,
                "metadata": METADATA,
                "channel": {"alternatives": [alternative]},
                "from_finalize": False,
            }
        )


class DeepgramService(Service[DeepgramSession]):
    """The service."""

    def __init__(self) -> None:
        super().__init__(DeepgramSession)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Check key and options."""
        if request.headers.get("Authorization") != f"Token {KEY}":
            return web.json_response({"err_code": "INVALID_AUTH"}, status=401)
        if dict(request.query) != OPTIONS:
            self.violations.append(str(dict(request.query)))
        return await super().answer(request)
