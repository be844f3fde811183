"""The agent's end of a call: its leg, its link, and what it is told.

Not here: what its commands do to the call (`call.py`), its audio (`legs/agent.py`).
Implements docs/reference/wire.md §2, server to client, and the same of docs/reference/wire-v2.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from telcoflow_sdk.audio.format import TICK_MS, AudioFormat
from telcoflow_sdk.protocol.codec import ProtocolViolation, decode_command, encode
from telcoflow_sdk.protocol.codes import CloseCode, ErrorCode
from telcoflow_sdk.protocol.commands import (
    V2_COMMANDS,
    CallEventName,
    CommandName,
    DialProgress,
)
from telcoflow_sdk.protocol.messages import (
    CallEventData,
    CallEventMessage,
    CommandData,
    CommandResponse,
    CommandResponseData,
    DtmfData,
    HelloData,
    MarkData,
    Place,
    TransferData,
    Welcome,
    WelcomeData,
)
from telcoflow_sdk.protocol.sequence import SequenceFull, SkippedMessage
from telcoflow_server.call.ports import LinkBroken, MediaLink, PressedDigit
from telcoflow_server.call.resumption import Resumption
from telcoflow_server.call.state import CommandRefused
from telcoflow_server.legs.agent import AgentLeg
from telcoflow_server.media.gaps import Gap
from telcoflow_server.media.lead import LeadRange
from telcoflow_server.media.places import MAX_PLACES, Errand, PassedMark
from telcoflow_server.media.routing import Audience

MODES = {
    CommandName.BARGE: Audience.BOTH,
    CommandName.WHISPER: Audience.CALLEE,
    CommandName.SPY: Audience.NOBODY,
}
"""Who hears the agent after each of these commands."""


class AgentEnd:
    """An agent as its call deals with it.

    Args:
        audio: What it asked for in `setup`.
        switched: Told when a frame of the agent's comes to be for others than the last.
        within: The range of its lead.
        is_isolated: Whether it gets what caller and callee say on channels of their own, too.

    Attributes:
        leg: Its audio, both ways.
        is_present: False once the agent has left or was lost for good; nothing is sent from then
            on.
        refusals: The codes with which it was refused, and how often.
        resumption: How its link may be replaced; None on protocol v1.
        is_lost: Whether the call must let it go: it makes us talk and acknowledges nothing.
        link: The link in use; None while there is none. To be read only.
        has_errands: Whether `take_errands` would return any; likewise.
    """

    def __init__(
        self,
        audio: AudioFormat,
        switched: Callable[[Audience], None],
        within: LeadRange | None = None,
        *,
        is_isolated: bool = False,
    ) -> None:
        self.audio = audio
        self.is_isolated = is_isolated
        self.leg = AgentLeg(audio, switched, within)
        self.is_present = True
        self.refusals: Counter[ErrorCode] = Counter()
        self.resumption: Resumption | None = None
        self.is_lost = False
        self.link: MediaLink | None = None
        self.has_errands = False
        self._has_reported_overrun = False
        self._errands: list[tuple[Errand, bool]] = []

    # --- its link --------------------------------------------------------------------------

    def link_v1(self, link: MediaLink) -> None:
        """Speak protocol v1 over this link, the only one there will be."""
        self.link = link
        self.leg.link_requesting(link)

    def link_v2(
        self, link: MediaLink, hello: HelloData, new_secret: Callable[[], str], grace_ticks: int
    ) -> None:
        """Speak protocol v2 over this link instead of the one before; say welcome.

        Args:
            link: The new one.
            hello: What the client said first.
            new_secret: Makes an unguessable string.
            grace_ticks: How long the call waits when this link is lost.

        Raises:
            Superseded: the client has been here with a later attempt; nothing has changed.
        """
        resumption = self.resumption or Resumption(new_secret, grace_ticks)
        secret = resumption.begin(hello.epoch)
        self.resumption = resumption
        self.close_link(CloseCode.SUPERSEDED, "the call has a newer media link")
        grace_ms = grace_ticks * TICK_MS
        # Before the leg goes on: what is said first on a link is `welcome`.
        self.link = link
        continues = self.leg.link_positioned(link, grace_ms, hello.received)
        resumption.sent.acknowledge(hello.seen)
        welcome = WelcomeData(
            epoch=hello.epoch,
            seen=resumption.seen.last,
            generation=self.leg.generation,
            received=self.leg.received,
            continues=continues,
            secret=secret,
            grace_ms=grace_ms,
        )
        link.send_text(encode(Welcome(welcome)))
        for message in resumption.sent.unseen():
            link.send_text(message)
        self.leg.flush_credit(resumption.seen.last)

    def lose_link(self, code: CloseCode | None = None, reason: str = "") -> None:
        """Let go of the link, closing it if a code is given; the call waits for another one."""
        assert self.resumption is not None, "on v1 the agent is lost with its link"
        if code is not None:
            self.close_link(code, reason)
        self.link = None
        self.leg.unlink()
        self.resumption.lose()

    def close_link(self, code: CloseCode, reason: str) -> None:
        """Close the link, if there is one."""
        if self.link is not None:
            self.link.close(code, reason)

    # --- from the agent --------------------------------------------------------------------

    def parse(self, data: bytes | str) -> CommandData | None:
        """Return the command in a message; None when it came before.

        Raises:
            ProtocolViolation: it holds none; the agent has been told.
            LinkBroken: a message was left out.
        """
        try:
            if self.resumption is not None:
                self.resumption.spoke()
                if not self.resumption.seen.is_new(data):
                    return None
            command = decode_command(data).data
        except SkippedMessage as violation:
            raise LinkBroken(CloseCode.BAD_SEQUENCE, str(violation)) from None
        except ProtocolViolation as violation:
            if violation.reply_to:
                self.respond(violation.reply_to, violation.code, str(violation))
            else:
                self.tell_error(violation.code, str(violation))
            raise
        return command

    def receive_audio(self, message: bytes) -> None:
        """Take one binary message.

        Raises:
            ProtocolViolation: it held no audio for this call; the agent has been told.
            LinkBroken: it held audio that has no place here.
        """
        if self.resumption is not None:
            self.resumption.spoke()
        code = self.leg.receive(message)
        if code is not None:
            self._audio_refused(code)

    def _audio_refused(self, code: ErrorCode | CloseCode) -> None:
        if isinstance(code, CloseCode):
            raise LinkBroken(code, "audio out of its place")
        if code is ErrorCode.AUDIO_OVERRUN:
            # Told once: an agent that pushes instead of waiting for requests would get one
            # error per message. The report counts what was discarded.
            if not self._has_reported_overrun:
                self._has_reported_overrun = True
                self.tell_error(code, "more audio than was requested; the excess is discarded")
            return
        self.tell_error(code, "audio is channel 0 and PCM, on v2 with the header between them")
        raise ProtocolViolation(code, "unusable audio message")

    def place_of(self, command: CommandData) -> Place | None:
        """Return where a command belongs; None on protocol v1.

        Raises:
            CommandRefused: on v2 it does not say so.
        """
        if self.resumption is None:
            return None
        if not isinstance(command.position, Place):
            raise CommandRefused(
                ErrorCode.INVALID_POSITION, f"{command.command} needs a position here"
            )
        return command.position

    def check_known(self, name: CommandName) -> None:
        """Refuse a command that this agent's protocol has no words for."""
        if self.resumption is None and name in V2_COMMANDS:
            why = f"{name} needs media protocol v2; this link speaks v1"
            raise CommandRefused(ErrorCode.INVALID_COMMAND, why)

    def interrupt(self, command: CommandData) -> dict[str, float]:
        """Drop what it has said and is not played yet; return what its response tells.

        Raises:
            CommandRefused: the command's place is none.
        """
        leg, played = self.leg, self.leg.played
        dropped_bytes = leg.clear(self.place_of(command))
        if dropped_bytes is None:
            raise self.misplaced(command)
        dropped_ms, heard_ms = self.audio.bytes_to_ms(dropped_bytes), leg.heard_ms
        result = {"dropped_bytes": dropped_bytes, "dropped_ms": dropped_ms, "heard_ms": heard_ms}
        return result if self.resumption is None else {"played": played, **result}

    def steer_playback(self, name: CommandName, command: CommandData) -> None:
        """Do what concerns nothing but how its audio is played: modes, marks, pauses.

        Raises:
            CommandRefused: the command's place is none, or too much waits for its place.
        """
        if name is CommandName.PAUSE:
            self.leg.pause()
        elif name is CommandName.RESUME:
            self.leg.resume()
        else:
            self._check_room()
            if not self._add_place(name, command):
                raise self.misplaced(command)
        self.respond(command.command_id)

    def set_errand(self, name: CommandName, command: CommandData) -> None:
        """Send digits, or transfer, when the command's place was played.

        Digits are answered at once; a transfer when it has come to its end.

        Raises:
            CommandRefused: as `steer_playback`, or the command's data is wrong.
        """
        self._check_room()
        try:
            if name is CommandName.SEND_DTMF:
                text = msgspec.convert(command.data or {}, DtmfData).digits
            else:
                text = msgspec.convert(command.data or {}, TransferData).number
        except msgspec.ValidationError:
            # Its words could quote the digits.
            raise CommandRefused(ErrorCode.INVALID_REQUEST, f"{name}: its data is wrong") from None
        errand = Errand(name, command.command_id, text)
        if not self.leg.mark(errand, self.place_of(command)):
            raise self.misplaced(command)
        if name is CommandName.SEND_DTMF:
            self.respond(command.command_id)

    def take_errands(self) -> list[tuple[Errand, bool]]:
        """Return what has come to its place, and whether an interruption has passed it."""
        errands, self._errands = self._errands, []
        self.has_errands = False
        return errands

    def _check_room(self) -> None:
        if not self.leg.has_room_for_places:
            raise CommandRefused(
                ErrorCode.TOO_MANY_MARKS, f"{MAX_PLACES} marks and changes of mode are waiting"
            )

    def _add_place(self, name: CommandName, command: CommandData) -> bool:
        place = self.place_of(command)
        if name in MODES:
            return self.leg.switch(MODES[name], place)
        try:
            mark = msgspec.convert(command.data or {}, MarkData)
        except msgspec.ValidationError as error:
            raise CommandRefused(ErrorCode.INVALID_REQUEST, f"{name}: {error}") from None
        return self.leg.mark(mark.name, place)

    def misplaced(self, command: CommandData) -> CommandRefused:
        """Return the refusal of a command whose place is none."""
        return CommandRefused(
            ErrorCode.INVALID_POSITION,
            f"{command.command} is for another generation than {self.leg.generation}",
        )

    # --- to the agent ----------------------------------------------------------------------

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
        self._tell(CallEventData(CallEventName.ERROR, error_code=code, error_message=message))

    def tell_progress(self, progress: DialProgress, failure: ErrorCode | None) -> None:
        """Tell how far ringing somebody has come, and why nobody came, once that is known."""
        self._tell(CallEventData(CallEventName.PROGRESS, state=progress, error_code=failure))

    def tell_digit(self, channel: int, digit: PressedDigit, tick: int) -> None:
        """Tell which key was pressed, and by whom."""
        data = CallEventData(
            CallEventName.DTMF,
            digit=digit.digit,
            ms=round(digit.duration_ms, 1),
            at_ms=tick * TICK_MS,
            channel=channel,
        )
        self._tell(data)

    def advance(self) -> None:
        """Tell what this tick did to the agent's audio; notice that nothing comes any more."""
        playout, resumption = self.leg.playout, self.resumption
        if playout.passed_marks:
            self._tell_marks(playout.take_passed_marks())
        if resumption is None:
            return
        if playout.gaps.has_untold:
            self._tell_gaps(playout.gaps.take_untold())
        if resumption.advance():
            self.lose_link(CloseCode.SLOW_READER, "nothing has come for 5 seconds")

    def _tell_marks(self, marks: list[PassedMark]) -> None:
        for mark in marks:
            if isinstance(mark.name, Errand):
                self._errands.append((mark.name, mark.at_ms is None))
                self.has_errands = True
            elif mark.at_ms is None:
                self._tell(CallEventData(CallEventName.MARK_CLEARED, name=mark.name))
            else:
                self._tell(
                    CallEventData(CallEventName.MARK_PLAYED, name=mark.name, at_ms=mark.at_ms)
                )

    def _tell_gaps(self, gaps: tuple[Gap, ...]) -> None:
        for gap in gaps:
            data = CallEventData(CallEventName.GAP, at_ms=gap.at_ms, ms=gap.ms, cause=gap.cause)
            self._tell(data)

    def dismiss(self, code: CloseCode = CloseCode.NORMAL, reason: str = "call ended") -> None:
        """Tell that the call is over for this agent, which is still there, and close its link."""
        self._tell(CallEventData(CallEventName.TERMINATED))
        self.close_link(code, reason)
        self.is_present = False

    def _tell(self, data: CallEventData) -> None:
        self._send(CallEventMessage(data))

    def _send(self, message: CommandResponse | CallEventMessage) -> None:
        if not self.is_present:
            return
        encoded = encode(message)
        if self.resumption is not None:
            sent = self.resumption.sent
            sent.acknowledge(self.leg.seen_by_client)
            try:
                encoded = sent.add(encoded)
            except SequenceFull:
                # There is no message that could be left out.
                self.is_lost = True
                return
        if self.link is not None:
            self.link.send_text(encoded)
