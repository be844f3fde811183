"""Every message in JSON as a type.

Not here: turning bytes into these and back (`codec.py`), what they cause (`control.py`,
`media.py`, and the server's `call`), their numbers on protocol v2 (`sequence.py`). Implements
docs/reference/wire.md §1 and §2, and the text messages of docs/reference/wire-v2.md.

The wire mixes camelCase and snake_case; `rename` holds that at the border, Python sees one style.
Fields that other servers are known to send as null accept `None`.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from telcoflow_sdk.protocol.commands import (
    DEFAULT_RING_TIME_S,
    DTMF_DIGITS,
    MAX_DTMF_DIGITS,
)

MAX_ID_LENGTH = 128
"""An id that a client makes up is echoed: its length is what an answer may cost."""

Id = Annotated[str, Meta(max_length=MAX_ID_LENGTH)]

# Control link, client to server


class SetupData(Struct, frozen=True, rename="camel"):
    """What audio this client wants for its calls."""

    sample_rate: int
    audio_mode: str = "mixed"


class Setup(Struct, frozen=True, tag_field="type", tag="setup"):
    """First message on every control link."""

    data: SetupData


class SessionOpen(Struct, frozen=True, rename="camel", tag_field="type", tag="session.open"):
    """Claim a session; the first claim wins."""

    session_id: Id
    req_id: Id


class SessionReady(Struct, frozen=True, rename="camel", tag_field="type", tag="session.ready"):
    """Handlers are in place: deliver the call."""

    session_id: Id


class SessionCreateData(Struct, frozen=True, rename="camel"):
    """How the person is to be called."""

    ring_time_seconds: int = DEFAULT_RING_TIME_S


class SessionCreate(Struct, frozen=True, rename="camel", tag_field="type", tag="session.create"):
    """Place a call to a person; `SessionOpen` and `SessionReady` follow as for any session."""

    remote_address: str
    req_id: Id
    channel: str = "TELCO"
    data: SessionCreateData = SessionCreateData()


ControlRequest = Setup | SessionOpen | SessionReady | SessionCreate

# Control link, server to client


class SetupDone(Struct, frozen=True, rename="camel", tag_field="type", tag="setup.done"):
    """Answers `Setup`."""

    sm_ws_id: str | None = None


class Response(
    Struct, frozen=True, rename="camel", tag_field="type", tag="response", omit_defaults=True
):
    """Answers the request with the same `req_id`."""

    req_id: str
    ok: bool
    content: Any = None
    error_code: str | None = None
    error_content: Any = None


class SessionCreated(Struct, frozen=True, rename="camel"):
    """The `content` of the response to `SessionCreate`; `created` is false when there was one."""

    session_id: str
    created: bool = True


class SessionNotify(Struct, frozen=True, rename="camel", tag_field="type", tag="session.notify"):
    """A session waits to be claimed."""

    session_id: str
    channel: str | None = "TELCO"
    remote_address: str | None = ""
    local_address: str | None = ""
    activity: str | None = ""
    created_at: int | None = 0


class CallIn(Struct, frozen=True, rename="camel", tag_field="type", tag="call.in"):
    """The call of a session: where its media link is, and the token that opens it.

    `caller` and `callee` are `from` and `to` on the wire; "" (or null) for a withheld number.
    """

    session_id: str
    call_id: str
    url: str
    token: str
    caller: str | None = field(default="", name="from")
    callee: str | None = field(default="", name="to")
    org_uuid: str | None = ""


class SessionClosed(Struct, frozen=True, rename="camel", tag_field="type", tag="session.closed"):
    """The session is over."""

    session_id: str
    reason: str | None = ""


class ControlError(Struct, frozen=True, rename="camel", tag_field="type", tag="error"):
    """A message of the peer's was not understood; 1.0.0 ignores this type, we log it."""

    error_code: str
    error_message: str = ""


ControlEvent = SetupDone | Response | SessionNotify | CallIn | SessionClosed | ControlError

# Media link, client to server


class Place(Struct, frozen=True, order=True):
    """A place in the agent's audio, between two samples of one generation; on protocol v2."""

    generation: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class CommandData(Struct, frozen=True):
    """One command: its id is echoed in the response."""

    command_id: Id
    command: Id
    timeout_ms: int = 10_000
    data: dict[str, Any] | UnsetType = UNSET
    position: Place | UnsetType = UNSET


class ConnectData(Struct, frozen=True, rename="camel"):
    """The `data` of `call.connect`."""

    ring_time_seconds: int = DEFAULT_RING_TIME_S


class MarkData(Struct, frozen=True):
    """The `data` of `agent.mark`."""

    name: Id


class DtmfData(Struct, frozen=True):
    """The `data` of `call.send_dtmf`."""

    digits: Annotated[str, Meta(pattern=f"^[{DTMF_DIGITS}]+$", max_length=MAX_DTMF_DIGITS)]

    def __repr__(self) -> str:
        return "DtmfData(<hidden>)"


class TransferData(Struct, frozen=True):
    """The `data` of `call.transfer`."""

    number: Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]

    def __repr__(self) -> str:
        return "TransferData(<hidden>)"


CommandContent = ConnectData | MarkData | DtmfData | TransferData
"""What the `data` of a command may be."""


class HelloData(Struct, frozen=True):
    """Which attempt of the client's this is, and what it has of the server's."""

    epoch: Annotated[int, Meta(ge=1)]
    seen: Annotated[int, Meta(ge=0)]
    received: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=3)]


class Hello(Struct, frozen=True, tag_field="type", tag="hello"):
    """First message on a media link of protocol v2."""

    data: HelloData


class Command(Struct, frozen=True, tag_field="type", tag="command"):
    """A call command of the agent's."""

    data: CommandData


# Media link, server to client


class BufferRequestData(Struct, frozen=True, omit_defaults=True):
    """How much audio the server will take now. Requests add up; nothing cancels them."""

    requested_bytes: int
    prefer_audio_frame_bytes: int = 0
    channel_id: int = field(default=0, name="channelId")


class BufferRequest(Struct, frozen=True, tag_field="type", tag="buffer_request"):
    """Credit: bytes the server is ready to take."""

    data: BufferRequestData


class WelcomeData(Struct, frozen=True):
    """What the server has of the client's, and what the next `hello` needs.

    Attributes:
        epoch: That of the `hello`.
        seen: The last text message of the client's that arrived.
        generation: Of the agent's audio, as the server knows it.
        received: How far it has that, samples.
        continues: Where its own audio goes on, for each channel, samples of the call's axis.
        secret: Opens the next link.
        grace_ms: How long the call waits for it.
    """

    epoch: int
    seen: int
    generation: int
    received: int
    continues: list[int]
    secret: str
    grace_ms: int

    def __repr__(self) -> str:
        return f"WelcomeData(epoch={self.epoch}, seen={self.seen})"


class Welcome(Struct, frozen=True, tag_field="type", tag="welcome"):
    """Answers `Hello`."""

    data: WelcomeData


class InterruptResult(Struct, frozen=True):
    """The `result` of `agent.interrupt`; a server that says nothing leaves it out.

    Attributes:
        dropped_bytes: Agent audio the server held and dropped.
        played: On protocol v2: how much of the dropped generation was played, samples.
        heard_ms: How much of the interrupted utterance the caller heard.
    """

    dropped_bytes: int = 0
    heard_ms: float | None = None
    played: int | None = None


class CommandResponseData(Struct, frozen=True, omit_defaults=True):
    """The outcome of the command with the same `command_id`."""

    command_id: str
    success: bool
    result: Any = None
    error_code: str | None = None
    error_message: str | None = None


class CommandResponse(Struct, frozen=True, tag_field="type", tag="command_response"):
    """Answers a `Command`."""

    data: CommandResponseData


class CallEventData(Struct, frozen=True, omit_defaults=True):
    """Something happened to the call.

    The error fields belong to `call.error`, `state` (a `DialProgress`) to `call.progress`, `name`
    to marks, `ms` and `cause` (a `GapCause`) to gaps, `digit`, `ms` and `channel` to
    digits, `at_ms` to all three.
    """

    event: str
    state: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    name: str | None = None
    at_ms: float | None = None
    ms: float | None = None
    cause: str | None = None
    digit: str | None = None
    channel: int | None = None


class CallEventMessage(Struct, frozen=True, tag_field="type", tag="call_event"):
    """An event of the call."""

    data: CallEventData


MediaEvent = BufferRequest | CommandResponse | CallEventMessage | Welcome
