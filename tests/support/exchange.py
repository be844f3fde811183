"""A node without sockets: an exchange, its phones and its agents, driven tick by tick.

Time is the number of ticks that were run; a ten-minute call takes a second or two.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codec import ProtocolViolation
from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange, NewCall
from telcoflow_server.call.newcomers import WELCOME_TICKS
from telcoflow_server.call.ports import (
    Callee,
    CalleeProgress,
    Dialer,
    DialRequest,
    PhoneOnLine,
    PressedDigit,
)
from telcoflow_server.media.plane import Strip
from tests.support.links import MemoryControlLink, MemoryMediaLink

SINCE_TICK_MS = 5.0
"""When in a tick these agents speak."""

CALLER, CALLEE = "+15550100", "+15550199"


class MemoryPhone:
    """A phone that says what it is given and keeps what it hears, 24 kHz unless said otherwise.

    Attributes:
        keys: What the person presses next; taken by the call.
        digits: What it was made to hear.
        deaf_to_digits: Why it takes none, if it does not.
        sent_to: Whom it was asked to call instead.
    """

    def __init__(self, speech: NDArray[np.int16] | None = None) -> None:
        self.sample_rate_hz = 24_000
        self.keys: list[PressedDigit] = []
        self.digits = ""
        self.deaf_to_digits: str | None = None
        self.sent_to: str | None = None
        self.transferred: bool | None = None
        self.early_at: int | None = None
        self._speech = np.zeros(0, np.int16) if speech is None else speech
        self._heard: list[NDArray[np.int16]] = []
        self._said_samples = 0
        self.has_hung_up = False
        self.answered_at: int | None = None
        self.end: tuple[int, EndReason] | None = None

    def forget(self) -> None:
        """Keep only what is heard from now on."""
        self._heard.clear()

    def speak(self, speech: NDArray[np.int16]) -> None:
        """Say this from now on."""
        self._speech, self._said_samples = speech, 0

    def press_key(self, key: PressedDigit) -> None:
        """The person presses a key."""
        self.keys.append(key)

    def hang_up(self) -> None:
        """The person puts it down."""
        self.has_hung_up = True

    def hears_early(self, tick: int) -> None:
        self.early_at = tick

    def answered(self, tick: int) -> None:
        self.answered_at = tick

    def take_digits(self) -> list[PressedDigit]:
        keys, self.keys = self.keys, []
        return keys

    def press(self, digits: str) -> None:
        if self.deaf_to_digits is not None:
            raise ValueError(self.deaf_to_digits)
        self.digits += digits

    def transfer(self, number: str) -> None:
        self.sent_to = number
        self.transferred = None

    def ended(self, tick: int, reason: EndReason) -> None:
        assert self.end is None, "a call ends once"
        self.end = (tick, reason)

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        if self.answered_at is None:
            return False
        frame = self._speech[self._said_samples : self._said_samples + len(out)]
        self._said_samples += len(frame)
        out[: len(frame)] = frame
        out[len(frame) :] = 0
        return True

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        self._heard.append(frame.copy())

    @property
    def heard(self) -> NDArray[np.int16]:
        """Everything heard, from the tick on which the call was placed or `forget` was called."""
        return np.concatenate(self._heard) if self._heard else np.zeros(0, np.int16)


class JointMemoryPhone(MemoryPhone):
    """The same as a `JointPhone` that always may rest when it has nothing to tell."""

    woken: Callable[[], None] | None = None

    def attached(self, strip: Strip, woken: Callable[[], None]) -> None:
        self.woken = woken

    @property
    def may_rest(self) -> bool:
        return not self.keys and not self.has_hung_up

    def press_key(self, key: PressedDigit) -> None:
        super().press_key(key)
        self._wake()

    def hang_up(self) -> None:
        super().hang_up()
        self._wake()

    def _wake(self) -> None:
        if self.woken is not None:
            self.woken()


class MemoryCallee(MemoryPhone):
    """A phone that is called and rings until the test says how it goes on."""

    def __init__(self, speech: NDArray[np.int16] | None = None) -> None:
        super().__init__(speech)
        self.progress = CalleeProgress.RINGING

    def ring(self, tick: int) -> CalleeProgress:
        return self.progress


class MemoryDialer:
    """Reaches the phones it was given, one a call, in order; then nobody."""

    def __init__(self, *callees: MemoryCallee) -> None:
        self.requests: list[DialRequest] = []
        self._callees = list(callees)

    def dial(self, request: DialRequest) -> Callee | None:
        self.requests.append(request)
        return self._callees.pop(0) if self._callees else None


class MemoryAgent:
    """An agent on an in-memory link: sends commands, answers credit from what it has queued."""

    def __init__(self, exchange: Exchange, call: Call) -> None:
        self.link = MemoryMediaLink()
        self._call = call
        self._ids = count(1)
        self._queue = bytearray()
        self._sent_bytes = 0
        exchange.attach(call, self.link)

    def command(self, name: str, *, timeout_ms: int = 10_000, **arguments: Any) -> str:
        """Send a command; return its id."""
        command_id = f"cmd-{next(self._ids)}"
        data: dict[str, Any] = {"command_id": command_id, "command": name, "timeout_ms": timeout_ms}
        if arguments:
            data["data"] = arguments
        message = msgspec.json.encode({"type": "command", "data": data})
        self._call.seat.receive_message(self.link, message, SINCE_TICK_MS)
        return command_id

    def response(self, command_id: str) -> dict[str, Any] | None:
        """Return the response to a command, if it came."""
        for message in self.link.messages:
            if message["data"].get("command_id") == command_id:
                data: dict[str, Any] = message["data"]
                return data
        return None

    def say(self, pcm: bytes) -> None:
        """Queue audio; it leaves when the server asks."""
        self._queue += pcm

    @property
    def is_speaking(self) -> bool:
        """Whether anything it was to say has not left yet."""
        return bool(self._queue)

    def serve(self) -> None:
        """Answer the credit that is outstanding, one message per frame at the most."""
        while self._queue and self._sent_bytes < self.link.requested_bytes:
            room = min(self.link.requested_bytes - self._sent_bytes, 960)
            piece = bytes(self._queue[:room])
            del self._queue[:room]
            self._sent_bytes += len(piece)
            self._call.seat.receive_audio(self.link, b"\x00" + piece)

    def lose(self) -> None:
        """The link breaks."""
        self._call.seat.detach(self.link)

    def send_audio(self, message: bytes) -> None:
        """Send a binary message, as it is."""
        self._call.seat.receive_audio(self.link, message)

    def errors(self) -> list[str]:
        """The codes of all `call.error` events."""
        return [
            message["data"]["error_code"]
            for message in self.link.messages
            if message["data"].get("event") == "call.error"
        ]

    def send_raw(self, data: bytes) -> None:
        """Send what is no command; the violation is the rim's to count."""
        try:
            self._call.seat.receive_message(self.link, data, SINCE_TICK_MS)
        except ProtocolViolation:
            return
        raise AssertionError("the call took it for a command")


class Speaking(Protocol):
    """An agent that answers its credit between two ticks."""

    def serve(self) -> None: ...


class Node:
    """An exchange with one connector, `c1`, and one client process that is set up."""

    def __init__(
        self,
        *,
        ring_timeout_s: float = 60.0,
        call_duration_s: float = 3600.0,
        media_grace_s: float = 10.0,
        calls_per_connector: int | None = None,
        dialer: Dialer | None = None,
        audio_mode: str = "mixed",
        sample_rate_hz: int = 24_000,
    ) -> None:
        ids = (f"id-{number}" for number in count(1))
        self.exchange = Exchange(
            lambda session, client: ("ws://node/m", "token"),
            ids.__next__,
            ring_timeout_s=ring_timeout_s,
            call_duration_s=call_duration_s,
            media_grace_s=media_grace_s,
            calls_per_connector=calls_per_connector,
            dialer=dialer,
        )
        self.client_link = MemoryControlLink()
        self.client = self.exchange.board.join("c1", self.client_link, "node")
        self.tell(type="setup", data={"sampleRate": sample_rate_hz, "audioMode": audio_mode})
        for _ in range(WELCOME_TICKS):
            self.exchange.board.tick()
        self.client_link.take()
        self.agents: list[Speaking] = []

    def tell(self, **message: Any) -> None:
        """Send a message on the client's control link."""
        self.exchange.board.receive(self.client, msgspec.json.encode(message))

    def place(self, phone: PhoneOnLine, **more: Any) -> Call:
        """Place a call from `phone`."""
        return self.exchange.place(phone, NewCall("c1", CALLER, CALLEE, 0), **more)

    def agent(self, call: Call) -> MemoryAgent:
        """Put an agent on the line of a call."""
        agent = MemoryAgent(self.exchange, call)
        self.agents.append(agent)
        return agent

    def answered_call(self, phone: MemoryPhone) -> tuple[Call, MemoryAgent]:
        """Place a call and answer it before its first tick."""
        call = self.place(phone)
        agent = self.agent(call)
        agent.command("call.answer")
        return call, agent

    def run(self, ticks: int) -> None:
        """Let time pass: every agent answers its credit between two ticks."""
        for _ in range(ticks):
            for agent in self.agents:
                agent.serve()
            self.exchange.tick(0.001)

    def run_ms(self, duration_ms: int) -> None:
        """Let time pass, in milliseconds."""
        self.run(duration_ms // TICK_MS)
