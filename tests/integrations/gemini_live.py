"""A stand-in of the Gemini Live service, for the client `google-genai` 2.34.0.

Messages are those of `BidiGenerateContent` as that client converts them
(`google.genai._live_converters`): JSON, in binary messages from the service. The client insists on
TLS. The order of `interrupted`, `generationComplete` and `turnComplete` is documented in
`google.genai.types.LiveServerContent`.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType, web

from tests.integrations.service import Service, Session, UnknownMessageError, serving
from tests.support.certificates import Authority

KEY = "key-of-the-stand-in"
PATHS = [
    f"/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
    for version in ("v1beta", "v1alpha")  # the client's own, and that of `google-adk` 2.13.0
]
PCM = "audio/pcm;rate=24000"

SETUP = {
    "model", "generationConfig", "systemInstruction", "tools", "sessionResumption",
    "contextWindowCompression", "inputAudioTranscription", "outputAudioTranscription",
}  # fmt: skip
"""What a setup may have."""

_ids = count(1)


class GeminiSession(Session):
    """A client's connection."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        super().__init__(socket, request)
        self.resumed: str | None = None

    async def take(self, kind: WSMsgType, data: Any) -> None:
        """See `Session`."""
        if kind is not WSMsgType.TEXT:
            raise UnknownMessageError(f"{kind!r}: the client sends text")
        message = msgspec.json.decode(data)
        match message:
            case {"setup": {"generationConfig": {"responseModalities": ["AUDIO"]}, **setup}}:
                await self._set_up(setup)
                self.arrived(message)
            case {"realtime_input": {"audio": {"data": audio, "mime_type": str(mime_type)}}}:
                if mime_type != PCM:
                    raise UnknownMessageError(f"audio as {mime_type}")
                # Base64 of RFC 4648 §5, as `google.genai` writes bytes.
                self.audio += base64.urlsafe_b64decode(audio)
            case {"realtime_input": {"text": str()}} | {
                "tool_response": {"functionResponses": [{"id": str(), "name": str()}, *_]}
            }:
                self.arrived(message)
            case _:
                raise UnknownMessageError(f"{str(message)[:100]} ... {str(message)[-100:]}")

    async def _set_up(self, setup: dict[Any, Any]) -> None:
        if unknown := setup.keys() - SETUP:
            raise UnknownMessageError(f"in the setup: {unknown}")
        if missing := {"sessionResumption", "contextWindowCompression"} - setup.keys():
            raise UnknownMessageError(f"the session would end after minutes: no {missing}")
        self.resumed = setup["sessionResumption"].get("handle")
        await self.send({"setupComplete": {}})

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message, in bytes as the service does."""
        await self.socket.send_bytes(msgspec.json.encode(message))

    async def wanted(self, name: str) -> dict[str, Any]:
        """Wait for a message of a kind."""
        found = await self.received(lambda message: name in message)
        return dict(found[name])

    async def greeting_wanted(self) -> None:
        """Wait until the client has asked for the first words."""
        await self.received(lambda message: "text" in message.get("realtime_input", {}))

    async def content(self, **fields: Any) -> None:
        """Send `serverContent`."""
        await self.send({"serverContent": fields})

    async def say(self, pcm: bytes, mime_type: str = PCM, **fields: Any) -> None:
        """Send audio of the turn."""
        await self.content(**_turn(pcm, mime_type), **fields)

    async def end_turn(self) -> None:
        """The model has said all, and the service believes that it was heard."""
        await self.content(generationComplete=True)
        await self.content(turnComplete=True)

    async def interrupt(self, pcm: bytes = b"") -> None:
        """The caller speaks: the turn is over.

        Args:
            pcm: Audio of the turn in the very same message.
        """
        await self.content(interrupted=True, **(_turn(pcm, PCM) if pcm else {}))

    async def call_tool(self, name: str) -> str:
        """Call a function; return the call's id."""
        call_id = f"function-call-{next(_ids)}"
        call = {"id": call_id, "name": name, "args": {}}
        await self.send({"toolCall": {"functionCalls": [call]}})
        return call_id

    async def offer_handle(self, handle: str) -> None:
        """Say with what another connection may go on."""
        await self.send({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}})

    async def go_away(self) -> None:
        """Say that the connection will end soon."""
        await self.send({"goAway": {"timeLeft": "10s"}})


def _turn(pcm: bytes, mime_type: str) -> dict[str, Any]:
    data = base64.b64encode(pcm).decode()
    part = {"inlineData": {"mimeType": mime_type, "data": data}}
    return {"modelTurn": {"parts": [part], "role": "model"}}


class GeminiService(Service[GeminiSession]):
    """The service; it refuses keys and models after the upgrade, with a close code."""

    def __init__(self) -> None:
        super().__init__(GeminiSession)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Check the key."""
        if request.headers.get("x-goog-api-key") == KEY:
            return await super().answer(request)
        socket = web.WebSocketResponse(timeout=0.5)
        await socket.prepare(request)
        await socket.close(code=1007, message=b"API key not valid. Please pass a valid API key.")
        return socket


@asynccontextmanager
async def serving_gemini(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GeminiService]:
    """Run the stand-in; the client trusts the authority in SSL_CERT_FILE."""
    authority = Authority(folder)
    certificate = authority.issue("service")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    service = GeminiService()
    async with serving(service, *PATHS, tls=context):
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", service.url)
        yield service


async def say(session: GeminiSession, pcm: bytes, size: int = 9_600) -> None:
    """Send audio as fast as it goes."""
    for at in range(0, len(pcm), size):
        await session.say(pcm[at : at + size])


async def whole_turn(session: GeminiSession, pcm: bytes, size: int = 9_600) -> None:
    """Send an answer as fast as it goes."""
    await say(session, pcm, size)
    await session.end_turn()
