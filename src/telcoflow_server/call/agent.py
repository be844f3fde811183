"""The agent's end of a call: its leg, its link, and what it is told.

Not here: what its commands do (`call.py`), its audio (`legs/agent.py`).
Implements docs/reference/wire.md §2, server to client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_command, encode
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.commands import CallEventName, DialProgress
from telcoflow_sdk.protocol.messages import (
    CallEventData,
    CallEventMessage,
    CommandData,
    CommandResponse,
    CommandResponseData,
)
from telcoflow_server.call.ports import MediaLink
from telcoflow_server.legs.agent import AgentLeg
from telcoflow_server.media.routing import Audience


class AgentEnd:
    """An agent as its call deals with it.

    Args:
        link: Its media link.
        audio: What it asked for in `setup`.
        switched: Told when a frame of the agent's comes to be for others than the last.

    Attributes:
        leg: Its audio, both ways.
        is_present: False once the agent has left or was lost; nothing is sent from then on.
        refusals: The codes with which it was refused, and how often.
    """

    def __init__(
        self, link: MediaLink, audio: AudioFormat, switched: Callable[[Audience], None]
    ) -> None:
        self.audio = audio
        self.leg = AgentLeg(link, audio, switched)
        self.is_present = True
        self.refusals: Counter[ErrorCode] = Counter()
        self._link = link
        self._has_reported_overrun = False

    def parse(self, data: bytes | str) -> CommandData:
        """Return the command in a message.

        Raises:
            ProtocolViolation: it holds none; the agent has been told.
        """
        try:
            return decode_command(data).data
        except ProtocolViolation as violation:
            if violation.reply_to:
                self.respond(violation.reply_to, violation.code, str(violation))
            else:
                self.tell_error(violation.code, str(violation))
            raise

    def receive_audio(self, message: bytes) -> None:
        """Take one binary message: channel byte, then PCM.

        Raises:
            ProtocolViolation: it held no audio for this call; the agent has been told.
        """
        code = self.leg.receive_audio(message)
        if code is None:
            return
        if code is ErrorCode.AUDIO_OVERRUN:
            # Told once: an agent that pushes instead of waiting for requests would get one
            # error per message. The report counts what was discarded.
            if not self._has_reported_overrun:
                self._has_reported_overrun = True
                self.tell_error(code, "more audio than was requested; the excess is discarded")
            return
        self.tell_error(code, "audio is a channel byte 0 followed by PCM")
        raise ProtocolViolation(code, "unusable audio message")

    def respond(
        self,
        command_id: str,
        error_code: ErrorCode | None = None,
        error_message: str | None = None,
        *,
        result: object = None,
    ) -> None:
        """Answer a command: with a result, or with a code and words."""
        if error_code is not None:
            self.refusals[error_code] += 1
        data = CommandResponseData(
            command_id,
            success=error_code is None,
            result=result,
            error_code=error_code,
            error_message=error_message,
        )
        self._send(CommandResponse(data))

    def tell_error(self, code: ErrorCode, message: str) -> None:
        """Report trouble; the call goes on."""
        self.refusals[code] += 1
        self._send(
            CallEventMessage(
                CallEventData(CallEventName.ERROR, error_code=code, error_message=message)
            )
        )

    def tell_progress(self, progress: DialProgress, failure: ErrorCode | None) -> None:
        """Tell how far ringing somebody has come, and why nobody came, once that is known."""
        data = CallEventData(CallEventName.PROGRESS, state=progress, error_code=failure)
        self._send(CallEventMessage(data))

    def dismiss(self, code: CloseCode = CloseCode.NORMAL, reason: str = "call ended") -> None:
        """Tell that the call is over for this agent, which is still there, and close its link."""
        self._send(CallEventMessage(CallEventData(CallEventName.TERMINATED)))
        self._link.close(code, reason)
        self.is_present = False

    def _send(self, message: CommandResponse | CallEventMessage) -> None:
        if self.is_present:
            self._link.send_message(encode(message))
