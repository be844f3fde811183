"""Announcing calls to the clients of a connector: notify, claim, ready, closed.

Not here: sockets (`api/control.py`), what happens in a call (`call.py`).
Implements docs/reference/wire.md §1. Every client of a connector is told of a waiting session; the
first claim wins; a claim whose client leaves before its media link came is free again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_control_request, encode
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode, SessionCloseReason
from telcoflow_sdk.protocol.messages import (
    CallIn,
    ControlError,
    Response,
    SessionClosed,
    SessionCreate,
    SessionNotify,
    SessionOpen,
    SessionReady,
    Setup,
    SetupDone,
)
from telcoflow_server.call.newcomers import Newcomers
from telcoflow_server.call.placing import VOICE_CHANNEL, CallRefused, check_placing
from telcoflow_server.call.ports import ControlLink

CLOSED_SESSIONS_KEPT = 1024
"""How many ended sessions still answer SESSION_CLOSED instead of SESSION_NOT_FOUND."""

AUDIO_MODES = ("mixed", "isolated")

NEW_CALL = "NEW_INCOMING_CALL"


@dataclass(slots=True, eq=False)
class Client:
    """One client process on its control link."""

    client_id: str
    connector_uuid: str
    link: ControlLink
    reached_at: str
    """The host name by which this client reached the server."""
    audio: AudioFormat | None = None
    """What it asked for in `setup`; None before that."""
    is_isolated: bool = False
    sessions: dict[Session, None] = field(default_factory=dict)
    """What it holds a claim on, oldest first: a set would be in the order of addresses."""


@dataclass(slots=True, eq=False)
class Session:
    """One call as its connector's clients see it."""

    session_id: str
    call_id: str
    connector_uuid: str
    caller: str
    callee: str
    created_at_s: int
    is_outbound: bool = False
    """Whether a client asked for it: then its person, the remote end, is the one called."""
    owner: Client | None = None
    audio: AudioFormat = field(default_factory=AudioFormat)
    """The audio its owner asked for."""
    is_isolated: bool = False
    """Whether its owner wants caller and callee on channels of their own, too."""
    was_claimed: bool = False
    is_delivered: bool = False
    is_attached: bool = False
    """Whether a media link ever came: from then on the call no longer needs its control link."""

    @property
    def remote_address(self) -> str:
        """The number of the call's first person; "" when withheld."""
        return self.callee if self.is_outbound else self.caller

    @property
    def local_address(self) -> str:
        """The connector's number, or ""."""
        return self.caller if self.is_outbound else self.callee

    @property
    def is_waiting(self) -> bool:
        """Whether anybody may claim it; a call that a client placed is that client's alone."""
        return self.owner is None and not self.is_attached and not self.is_outbound


class SessionInfo(msgspec.Struct, frozen=True, rename="camel"):
    """One open session, as REST lists it."""

    id: str
    channel: str
    initiator: str
    state: str
    remote_address: str
    local_address: str
    opened_at: int
    closed_at: int | None


AddressMaker = Callable[[Session, Client], tuple[str, str]]
"""Makes the media URL and the token of a session for the client that holds it."""

CallMaker = Callable[[str, str, int], Session]
"""Places a call to a person: connector, number, ring time in seconds. Raises `CallRefused`."""


class SessionBoard:
    """The open sessions of every connector and the clients that may claim them.

    Args:
        make_address: Called once per `call.in`.
        new_id: Makes client ids.

    Attributes:
        refusals: What clients were refused, by code.
        make_call: Places the calls that clients ask for; None refuses them all.
        abandoned: Told of a placed call whose client left before its media link came.
    """

    def __init__(self, make_address: AddressMaker, new_id: Callable[[], str]) -> None:
        self.make_call: CallMaker | None = None
        self.abandoned: Callable[[Session], None] | None = None
        self.refusals: Counter[ErrorCode] = Counter()
        self._make_address = make_address
        self._new_id = new_id
        self._clients: dict[str, dict[Client, None]] = {}  # of each, whoever came first is first
        self._newcomers: Newcomers[Client] = Newcomers()
        self._sessions: dict[str, Session] = {}
        self._closed: OrderedDict[str, str] = OrderedDict()

    @property
    def client_count(self) -> int:
        """How many clients have a control link."""
        return sum(len(clients) for clients in self._clients.values())

    # --- clients ---------------------------------------------------------------------------

    def join(self, connector_uuid: str, link: ControlLink, reached_at: str) -> Client:
        """Add a client whose credentials were good. It hears of sessions once it sent `setup`."""
        client = Client(self._new_id(), connector_uuid, link, reached_at)
        self._clients.setdefault(connector_uuid, {})[client] = None
        return client

    def leave(self, client: Client) -> None:
        """Remove a client whose link is gone; what it claimed and never attached waits again."""
        clients = self._clients.get(client.connector_uuid, {})
        clients.pop(client, None)
        if not clients:
            self._clients.pop(client.connector_uuid, None)
        self._newcomers.discard(client)
        for session in list(client.sessions):
            del client.sessions[session]
            session.owner = None
            if session.is_outbound and not session.is_attached and self.abandoned is not None:
                self.abandoned(session)
            elif session.is_waiting:
                session.is_delivered = False
                self._notify_all(session)

    def receive(self, client: Client, data: bytes | str) -> None:
        """Act on one message of `client`'s; whatever is wrong with it is answered with a code."""
        try:
            request = decode_control_request(data)
            if isinstance(request, Setup):
                self._setup(client, request)
            elif client.audio is None:
                raise ProtocolViolation(ErrorCode.INVALID_REQUEST, "send `setup` first")
            elif isinstance(request, SessionOpen):
                self._open(client, request)
            elif isinstance(request, SessionReady):
                self._ready(client, request.session_id)
            else:
                self._create(client, request)
        except ProtocolViolation as violation:
            self._refuse(client, violation)
            raise

    def _refuse(self, client: Client, violation: ProtocolViolation) -> None:
        if violation.reply_to:
            self._respond_error(client, violation.reply_to, violation.code, str(violation))
        else:
            self.refusals[violation.code] += 1
            client.link.send(encode(ControlError(violation.code, str(violation))))

    def _setup(self, client: Client, request: Setup) -> None:
        if request.data.audio_mode not in AUDIO_MODES:
            raise ProtocolViolation(
                ErrorCode.INVALID_REQUEST, f"audioMode is one of {', '.join(AUDIO_MODES)}"
            )
        try:
            client.audio = AudioFormat(request.data.sample_rate)
        except ValueError as error:
            raise ProtocolViolation(ErrorCode.INVALID_REQUEST, str(error)) from None
        client.is_isolated = request.data.audio_mode == "isolated"
        client.link.send(encode(SetupDone(client.client_id)))
        self._newcomers.add(client)

    def _open(self, client: Client, request: SessionOpen) -> None:
        session = self._sessions.get(request.session_id)
        if session is None or session.connector_uuid != client.connector_uuid:
            # Another connector's session is "not found": its existence is nobody's business.
            is_closed = self._closed.get(request.session_id) == client.connector_uuid
            code = ErrorCode.SESSION_CLOSED if is_closed else ErrorCode.SESSION_NOT_FOUND
            self._respond_error(client, request.req_id, code, "the session is over or never was")
        elif not session.is_waiting and session.owner is not client:
            self._respond_error(
                client,
                request.req_id,
                ErrorCode.SESSION_BUSY,
                "another client holds this session",
                boundSmWsId=session.owner.client_id if session.owner else "",
            )
        else:
            self._claim(client, session)
            content = {
                "session": {
                    "id": session.session_id,
                    "channel": VOICE_CHANNEL,
                    "remoteAddress": session.remote_address,
                    "localAddress": session.local_address,
                    "openedAt": session.created_at_s,
                }
            }
            client.link.send(encode(Response(request.req_id, ok=True, content=content)))

    def _ready(self, client: Client, session_id: str) -> None:
        session = self._sessions.get(session_id)
        if session is None or session.owner is not client:
            raise ProtocolViolation(
                ErrorCode.SESSION_NOT_OPEN, "`session.ready` for a session this client has not open"
            )
        if session.is_delivered:
            return  # said twice: the call was delivered already
        session.is_delivered = True
        url, token = self._make_address(session, client)
        client.link.send(
            encode(
                CallIn(
                    session_id,
                    session.call_id,
                    url,
                    token,
                    caller=session.caller,
                    callee=session.callee,
                )
            )
        )

    def _create(self, client: Client, request: SessionCreate) -> None:
        try:
            session = self._create_session(client, request)
        except CallRefused as refusal:
            self._respond_error(client, request.req_id, refusal.code, str(refusal))
            return
        content = {"sessionId": session.session_id, "created": True}
        client.link.send(encode(Response(request.req_id, ok=True, content=content)))

    def _create_session(self, client: Client, request: SessionCreate) -> Session:
        check_placing(request)
        if self.make_call is None:
            raise CallRefused(ErrorCode.CHANNEL_NOT_CONFIGURED, "this server calls nobody")
        ring_s = request.data.ring_time_seconds
        session = self.make_call(client.connector_uuid, request.remote_address, ring_s)
        # Claimed for whoever asked, so that no other client can be faster.
        self._claim(client, session)
        return session

    def _claim(self, client: Client, session: Session) -> None:
        assert client.audio is not None, "receive() lets no claim through before setup"
        session.owner = client
        session.audio = client.audio
        session.is_isolated = client.is_isolated
        session.was_claimed = True
        client.sessions[session] = None

    def _respond_error(
        self, client: Client, req_id: str, code: ErrorCode, message: str, **more: Any
    ) -> None:
        self.refusals[code] += 1
        told = {"message": message, **more}
        client.link.send(encode(Response(req_id, ok=False, error_code=code, error_content=told)))

    # --- sessions --------------------------------------------------------------------------

    def tick(self) -> None:
        """Tell those who were set up a moment ago which sessions wait."""
        for client in self._newcomers.tick():
            for session in self._sessions.values():
                if session.is_waiting and session.connector_uuid == client.connector_uuid:
                    client.link.send(_notification(session))

    def add(self, session: Session) -> None:
        """Keep a session for the client that asked for it."""
        self._sessions[session.session_id] = session

    def announce(self, session: Session) -> None:
        """Tell every client of the session's connector that a call waits."""
        self.add(session)
        self._notify_all(session)

    def attached(self, session: Session) -> None:
        """The session's media link came: it stays with its call, whatever the control link does."""
        session.is_attached = True

    def close(self, session: Session, reason: SessionCloseReason) -> None:
        """Forget a session whose call is over, and tell those who may know of it."""
        if self._sessions.pop(session.session_id, None) is None:
            return
        self._closed[session.session_id] = session.connector_uuid
        while len(self._closed) > CLOSED_SESSIONS_KEPT:
            self._closed.popitem(last=False)
        message = encode(SessionClosed(session.session_id, reason))
        if session.owner is not None:
            session.owner.sessions.pop(session, None)
            session.owner.link.send(message)
        elif session.is_waiting:
            for client in self._listening(session.connector_uuid):
                client.link.send(message)

    def find(self, session_id: str, connector_uuid: str) -> Session | None:
        """Return an open session of this connector, or None."""
        session = self._sessions.get(session_id)
        if session is None or session.connector_uuid != connector_uuid:
            return None
        return session

    def sessions(self, connector_uuid: str) -> list[SessionInfo]:
        """Return the open sessions of a connector, oldest first."""
        return [
            SessionInfo(
                id=session.session_id,
                channel=VOICE_CHANNEL,
                initiator="SDK" if session.is_outbound else "CONNECTOR",
                state="OPEN",
                remote_address=session.remote_address,
                local_address=session.local_address,
                opened_at=session.created_at_s,
                closed_at=None,
            )
            for session in self._sessions.values()
            if session.connector_uuid == connector_uuid
        ]

    def close_links(self, code: CloseCode, reason: str) -> None:
        """Close every control link: the server stops."""
        for clients in list(self._clients.values()):
            for client in list(clients):
                client.link.close(code, reason)

    def _notify_all(self, session: Session) -> None:
        for client in self._listening(session.connector_uuid):
            client.link.send(_notification(session))

    def _listening(self, connector_uuid: str) -> list[Client]:
        clients = self._clients.get(connector_uuid, {})
        return [one for one in clients if one.audio is not None and one not in self._newcomers]


def _notification(session: Session) -> bytes:
    return encode(
        SessionNotify(
            session.session_id,
            channel=VOICE_CHANNEL,
            remote_address=session.remote_address,
            local_address=session.local_address,
            activity=NEW_CALL,
            created_at=session.created_at_s,
        )
    )
