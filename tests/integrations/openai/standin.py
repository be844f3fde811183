"""A stand-in of OpenAI's Realtime service, for the client `openai` 3.57.0.

Event names and fields are those of `openai.types.realtime`; the order of events, and what an
interruption does, those of the service's documentation.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from tests.integrations.service import Service, Session, UnknownMessageError

KEY = "sk-of-the-stand-in"
PCM = {"type": "audio/pcm", "rate": 24_000}

KNOWN = {
    "session.update": {"session"},
    "response.create": set(),
    "input_audio_buffer.append": {"audio"},
    "conversation.item.truncate": {"item_id", "content_index", "audio_end_ms"},
    "conversation.item.create": {"item"},
}
"""What the client may send, and with which fields."""

_ids = count(1)


@dataclass(slots=True)
class Response:
    """What the model answers."""

    id: str
    item: str
    sent_bytes: int = 0

    @property
    def sent_ms(self) -> float:
        """How long its audio is so far."""
        return self.sent_bytes / 48


class OpenAISession(Session):
    """A client's connection."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        super().__init__(socket, request)
        self.responses: dict[str, Response] = {}
        self.refused = 0

    async def take(self, kind: WSMsgType, data: Any) -> None:
        """See `Session`."""
        if kind is not WSMsgType.TEXT:
            raise UnknownMessageError(f"{kind!r}: the service takes text")
        message = msgspec.json.decode(data)
        name = message.get("type")
        if name not in KNOWN or message.keys() - {"type", "event_id"} != KNOWN[name]:
            raise UnknownMessageError(f"{name}: {sorted(message)}")
        match name:
            case "input_audio_buffer.append":
                self._hear(message["audio"])
            case "session.update":
                await self._set_up(message["session"])
            case "conversation.item.truncate":
                await self._truncate(message)
        if name != "input_audio_buffer.append":
            self.arrived(message)

    def _hear(self, audio: str) -> None:
        try:
            self.audio += base64.b64decode(audio, validate=True)
        except binascii.Error as error:
            raise UnknownMessageError(f"audio that is not base64: {error}") from None

    async def _set_up(self, session: dict[str, Any]) -> None:
        audio = session["audio"]
        if (session["type"], audio["input"]["format"], audio["output"]["format"]) != (
            "realtime", PCM, PCM,
        ):  # fmt: skip
            raise UnknownMessageError(f"session: {session}")
        await self.event("session.updated", session=session)

    async def _truncate(self, message: dict[str, Any]) -> None:
        item, end_ms = message["item_id"], message["audio_end_ms"]
        response = self.responses.get(item)
        if not isinstance(end_ms, int) or message["content_index"] != 0:
            raise UnknownMessageError(f"truncate: {message}")
        if response is None or end_ms > response.sent_ms:
            self.refused += 1
            await self.error("invalid_value")
        else:
            told = {key: message[key] for key in ("item_id", "content_index", "audio_end_ms")}
            await self.event("conversation.item.truncated", **told)

    async def event(self, name: str, **fields: Any) -> None:
        """Send an event."""
        await self.send({"type": name, "event_id": f"event_{next(_ids)}", **fields})

    async def error(self, code: str, kind: str = "invalid_request_error") -> None:
        """Say that something went wrong."""
        details = {"type": kind, "code": code, "message": "not shown", "param": None}
        await self.event("error", error={**details, "event_id": None})

    async def wanted(self, name: str) -> dict[str, Any]:
        """Wait for a message of a kind."""
        return await self.received(lambda message: message["type"] == name)

    async def begin(self) -> Response:
        """Begin to answer; nothing was said yet."""
        response = Response(f"resp_{next(_ids)}", f"item_{next(_ids)}")
        self.responses[response.item] = response
        await self.event("response.created", response=self._object(response, "in_progress"))
        return response

    async def audio_begins(self, response: Response) -> None:
        """Announce the item that holds the answer's audio."""
        item = {"id": response.item, "type": "message", "role": "assistant", "content": []}
        where = {"response_id": response.id, "output_index": 0}
        await self.event("response.output_item.added", item=item, **where)
        part = {"type": "audio", "transcript": ""}
        where |= {"item_id": response.item, "content_index": 0}
        await self.event("response.content_part.added", part=part, **where)

    async def say(self, response: Response, pcm: bytes) -> None:
        """Send audio of an answer."""
        where = {"response_id": response.id, "item_id": response.item}
        delta = base64.b64encode(pcm).decode()
        await self.event(
            "response.output_audio.delta", delta=delta, output_index=0, content_index=0, **where
        )
        response.sent_bytes += len(pcm)

    async def end(
        self,
        response: Response,
        status: str = "completed",
        *calls: dict[str, Any],
        details: dict[str, Any] | None = None,
    ) -> None:
        """The answer is over."""
        done = self._object(response, status, *calls)
        await self.event("response.done", response={**done, "status_details": details})

    async def caller_speaks(self, cancelled: Response | None = None) -> None:
        """The service hears the caller; a response in progress is cancelled."""
        await self.event(
            "input_audio_buffer.speech_started", audio_start_ms=0, item_id=f"item_{next(_ids)}"
        )
        if cancelled is not None:
            details = {"type": "cancelled", "reason": "turn_detected"}
            await self.end(cancelled, "cancelled", details=details)

    def _object(self, response: Response, status: str, *calls: dict[str, Any]) -> dict[str, Any]:
        message = {"id": response.item, "type": "message", "role": "assistant", "content": []}
        output = [message, *calls] if status != "in_progress" else []
        return {
            "object": "realtime.response", "id": response.id, "status": status, "output": output,
        }  # fmt: skip


def function_call(name: str) -> dict[str, Any]:
    """Return the item with which the model calls a function."""
    return {
        "id": f"item_{next(_ids)}",
        "type": "function_call",
        "name": name,
        "call_id": f"call_{next(_ids)}",
        "arguments": "{}",
    }


class OpenAIService(Service[OpenAISession]):
    """The service."""

    def __init__(self) -> None:
        super().__init__(OpenAISession)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Check key and model, as the service does before the upgrade."""
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            error = {"type": "invalid_request_error", "code": "invalid_api_key", "message": "no"}
            return web.json_response({"error": error}, status=401)
        if not request.query.get("model"):
            self.violations.append("no model")
        return await super().answer(request)
