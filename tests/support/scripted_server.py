"""A server of a few lines on a real socket, which does what a test tells it to and nothing else.

Not here: a server that behaves by itself; that is the product's.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import picows

CONTROL_PATH = "/v1/agent/session-manager"
MEDIA_PATH = "/media/"
TOKEN = "token-of-the-call"

_silent = logging.Logger("scripted server", level=logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer instead of a WebSocket."""

    status: int
    body: bytes = b""


class Peer(picows.WSListener):
    """The server's end of one link: what arrives waits to be taken.

    Attributes:
        setup: The `setup` of a control link, if it was answered without the test.
    """

    def __init__(self, request: picows.WSUpgradeRequest) -> None:
        self.path = request.path.decode()
        self.headers = dict(request.headers)
        self.setup: dict[str, Any] = {}
        self.transport: picows.WSTransport | None = None
        self.closed = asyncio.get_running_loop().create_future()
        self.close_code: int | None = None
        self._received: asyncio.Queue[dict[str, Any] | bytes] = asyncio.Queue()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.TEXT:
            self._received.put_nowait(json.loads(frame.get_payload_as_bytes()))
        elif frame.msg_type is picows.WSMsgType.BINARY:
            self._received.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            self.close_code = int(frame.get_close_code().value)
            if not transport.is_close_frame_sent:
                transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self.transport = None
        self.closed.set_result(None)

    @property
    def waiting(self) -> int:
        """How many messages were not taken."""
        return self._received.qsize()

    async def take(self) -> dict[str, Any]:
        """Return the next message, which must be JSON."""
        message = await self._received.get()
        assert isinstance(message, dict), f"audio of {len(message)} bytes instead of a message"
        return message

    async def take_audio(self) -> bytes:
        """Return the PCM of the next message, which must be audio."""
        message = await self._received.get()
        assert isinstance(message, bytes), f"{message} instead of audio"
        assert message[0] == 0
        return message[1:]

    async def expect(self, kind: str) -> dict[str, Any]:
        """Return the next message, which must be of this type."""
        message = await self.take()
        assert message["type"] == kind
        return message

    async def expect_command(self, name: str) -> str:
        """Return the id of the next message, which must be this command."""
        message = await self.expect("command")
        assert message["data"]["command"] == name
        return str(message["data"]["command_id"])

    def send(self, kind: str, **fields: Any) -> None:
        self.send_raw(json.dumps({"type": kind, **fields}).encode())

    def send_raw(self, text: bytes) -> None:
        assert self.transport is not None
        self.transport.send(picows.WSMsgType.TEXT, text)

    def send_audio(self, pcm: bytes, channel: int = 0) -> None:
        assert self.transport is not None
        self.transport.send(picows.WSMsgType.BINARY, bytes((channel,)) + pcm)

    def request(self, requested_bytes: int, **more: int) -> None:
        self.send("buffer_request", data={"requested_bytes": requested_bytes, **more})

    def respond(self, command_id: str, *, result: Any = None, error_code: str = "") -> None:
        data: dict[str, Any] = {"command_id": command_id, "success": not error_code}
        if error_code:
            data |= {"error_code": error_code, "error_message": "because the test says so"}
        if result is not None:
            data["result"] = result
        self.send("command_response", data=data)

    def call_event(self, event: str, **fields: Any) -> None:
        self.send("call_event", data={"event": event, **fields})

    async def sync(self) -> None:
        """Return once the client has handled everything that was sent, its answers included."""
        assert self.transport is not None
        await self.transport.measure_roundtrip_time(1)

    def close(self, code: int = 1000) -> None:
        """Say goodbye; the client closes the socket."""
        if self.transport is not None:
            self.transport.send_close(picows.WSCloseCode(code))

    def drop(self) -> None:
        """Cut the socket without a word."""
        if self.transport is not None:
            self.transport.disconnect(False)


class ScriptedServer:
    """Listens on a free port of the loopback interface.

    Attributes:
        controls: Every control link, in order of arrival.
        medias: Every media link, in order of arrival.
        refuse_control: What to answer control links with instead, while set.
        refuse_media: What to answer media links with instead, while set.
        answers_setup: Whether `setup` is answered without being asked by the test.
        drops_controls: Whether a control link is cut as soon as it is open.
    """

    def __init__(self) -> None:
        self.controls: asyncio.Queue[Peer] = asyncio.Queue()
        self.medias: asyncio.Queue[Peer] = asyncio.Queue()
        self.refuse_control: Refusal | None = None
        self.refuse_media: Refusal | None = None
        self.answers_setup = True
        self.drops_controls = False
        self.attempts = 0
        self.media_attempts = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._peers: list[Peer] = []
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await picows.ws_create_server(
            self._route, "127.0.0.1", self.port, logger_name=_silent
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self._peers:
            peer.drop()
        await asyncio.gather(*(peer.closed for peer in self._peers if peer.transport is not None))

    def _route(
        self, request: picows.WSUpgradeRequest
    ) -> Peer | picows.WSUpgradeResponseWithListener | None:
        path = request.path.decode()
        is_control = path == CONTROL_PATH
        if not is_control and not path.startswith(MEDIA_PATH):
            return None
        if is_control:
            self.attempts += 1
        else:
            self.media_attempts += 1
        self._changed.set()
        refusal = self.refuse_control if is_control else self.refuse_media
        if refusal is not None:
            return picows.WSUpgradeResponseWithListener(
                picows.WSUpgradeResponse.create_error_response(refusal.status, refusal.body), None
            )
        if not is_control:
            return self._media(request)
        peer = self._control(request)
        self._peers.append(peer)
        return peer

    def _media(
        self, request: picows.WSUpgradeRequest
    ) -> Peer | picows.WSUpgradeResponseWithListener:
        """Answer a media link: in protocol v1, whatever is offered."""
        return self._accepted(Peer(request))

    def _accepted(self, peer: Peer) -> Peer:
        self._peers.append(peer)
        self.medias.put_nowait(peer)
        return peer

    def _control(self, request: picows.WSUpgradeRequest) -> Peer:
        if self.drops_controls:
            return _Dropper(request)
        if self.answers_setup:
            return _ReadyPeer(request, self.controls)
        peer = Peer(request)
        self.controls.put_nowait(peer)
        return peer

    async def wait_attempts(self, count: int) -> None:
        """Return once this many control links were tried."""
        while self.attempts < count:
            self._changed.clear()
            await self._changed.wait()

    async def wait_media_attempts(self, count: int) -> None:
        """Return once this many media links were tried."""
        while self.media_attempts < count:
            self._changed.clear()
            await self._changed.wait()

    async def offer(self, control: Peer, call_id: str = "call-1", **fields: Any) -> None:
        """Take a call to the client up to `call.in`."""
        session_id = f"session-of-{call_id}"
        control.send("session.notify", sessionId=session_id, channel="TELCO")
        claim = await control.expect("session.open")
        assert claim["sessionId"] == session_id
        control.send("response", reqId=claim["reqId"], ok=True)
        await control.expect("session.ready")
        self.send_call_in(control, call_id, **fields)

    def send_call_in(self, control: Peer, call_id: str = "call-1", **fields: Any) -> None:
        message = {
            "sessionId": f"session-of-{call_id}",
            "callId": call_id,
            "from": "+15550100",
            "to": "+15550199",
            "url": f"{self.url}{MEDIA_PATH}{call_id}",
            "token": TOKEN,
        }
        control.send("call.in", **(message | fields))

    async def place(self, control: Peer, call_id: str = "call-1", **fields: Any) -> Peer:
        """Take a call that the client places up to its media link; return that."""
        await self.create(control, call_id)
        claim = await control.expect("session.open")
        assert claim["sessionId"] == f"session-of-{call_id}"
        control.send("response", reqId=claim["reqId"], ok=True)
        await control.expect("session.ready")
        self.send_call_in(control, call_id, **fields)
        return await self.medias.get()

    async def create(self, control: Peer, call_id: str = "call-1") -> dict[str, Any]:
        """Answer the client's `session.create`; return it."""
        request = await control.expect("session.create")
        content = {"sessionId": f"session-of-{call_id}", "created": True}
        control.send("response", reqId=request["reqId"], ok=True, content=content)
        return request

    async def deliver(self, control: Peer, call_id: str = "call-1", **fields: Any) -> Peer:
        """Take a call to the client; return its media link."""
        await self.offer(control, call_id, **fields)
        return await self.medias.get()


class _ReadyPeer(Peer):
    """A control link that answers `setup`, and is announced after that."""

    def __init__(self, request: picows.WSUpgradeRequest, ready: asyncio.Queue[Peer]) -> None:
        super().__init__(request)
        self._ready = ready

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if not self.setup and frame.msg_type is picows.WSMsgType.TEXT:
            self.setup = json.loads(frame.get_payload_as_bytes())
            self.send("setup.done", smWsId="sm-1")
            self._ready.put_nowait(self)
            return
        super().on_ws_frame(transport, frame)


class _Dropper(Peer):
    """A control link that is cut as soon as it is open."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        super().on_ws_connected(transport)
        self.drop()
