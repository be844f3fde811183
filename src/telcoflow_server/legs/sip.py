"""A person behind a SIP phone, as a party to a call.

Not here: the audio (`rtp.py`), the dialog and its offers (`telephony.py`), the SIP stack (`sip/`).
Implements docs/explanation/phones.md. One thread; nothing waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.ports import CalleeProgress, PressedDigit
from telcoflow_server.legs.rtp import RtpLeg
from telcoflow_server.media.plane import Strip

SILENT_RATE_HZ = 8_000
"""Of a phone with which nothing is agreed on yet."""


class Dialog(Protocol):
    """What a phone can be told by SIP. None of it waits."""

    def send_early(self) -> None:
        """Let who calls hear something before the answer (183)."""

    def accept(self) -> None:
        """Answer who calls (200)."""

    def leave(self, reason: EndReason) -> None:
        """End the dialog, whatever it is in."""

    def send_digits(self, digits: str) -> None:
        """Send digits by INFO (RFC 6086), to a phone that takes no telephone-event.

        Raises `ValueError`: too many wait already.
        """

    def refer(self, number: str) -> None:
        """Ask the phone to call somebody else instead (RFC 3515)."""


class SipPhone:
    """A SIP phone that calls or is called: a `PhoneOnLine` and a `Callee`.

    Args:
        dialog: What it is told goes there.

    Attributes:
        leg: Its audio, once that is agreed on; to be read only.
        progress: How far ringing it has come.
        transferred: Whether it reached whom it was sent to; None while that is open.
    """

    def __init__(self, dialog: Dialog) -> None:
        self.leg: RtpLeg | None = None
        self.progress = CalleeProgress.RINGING
        self._has_hung_up = False
        self.transferred: bool | None = None
        self._dialog = dialog
        self._strip: Strip | None = None
        self._woken: Callable[[], None] | None = None
        self._may_send = self._is_answered = False
        self._digits_by_info: list[PressedDigit] = []

    @property
    def sample_rate_hz(self) -> int:
        """Of its audio, now."""
        return SILENT_RATE_HZ if self.leg is None else self.leg.sample_rate_hz

    def talk_over(self, leg: RtpLeg) -> None:
        """Its audio is agreed on; after the answer, if that had to come without an offer."""
        self.leg = leg
        self._lend_strip()
        if self._is_answered:
            leg.expect_media()

    # --- JointPhone ------------------------------------------------------------------------

    def attached(self, strip: Strip, woken: Callable[[], None]) -> None:
        """See `JointPhone`."""
        self._strip, self._woken = strip, woken
        self._lend_strip()

    @property
    def may_rest(self) -> bool:
        """See `JointPhone`."""
        is_quiet = not self._has_hung_up and not self._digits_by_info
        return is_quiet and self.leg is not None and self.leg.together is not None

    def _lend_strip(self) -> None:
        # What `put` has to hold back, nobody else may be given.
        if self.leg is not None and self._may_send and self._woken is not None:
            self.leg.use_strip(self._strip)
            self.leg.woken = self._woken

    def pressed(self, digit: PressedDigit) -> None:
        """A key was pressed, as signalling tells."""
        self._digits_by_info.append(digit)
        self._wake()

    def hung_up(self) -> None:
        """The person has put the phone down, or cannot be reached any more."""
        self._has_hung_up = True
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None:
            self._woken()

    # --- Phone and Callee ------------------------------------------------------------------

    def ring(self, tick: int) -> CalleeProgress:
        """See `Callee`."""
        return self.progress

    def hears_early(self, tick: int) -> None:
        """See `Phone`."""
        if not self._may_send:
            self._may_send = True
            self._lend_strip()
            self._dialog.send_early()

    def answered(self, tick: int) -> None:
        """See `Phone`."""
        self._may_send = self._is_answered = True
        self._lend_strip()
        if self.leg is not None:
            self.leg.expect_media()
        self._dialog.accept()

    def ended(self, tick: int, reason: EndReason) -> None:
        """See `Phone`."""
        self._dialog.leave(reason)

    @property
    def has_hung_up(self) -> bool:
        """See `Phone`."""
        return self._has_hung_up

    # --- Keypad ----------------------------------------------------------------------------

    def take_digits(self) -> list[PressedDigit]:
        """See `Keypad`: telephone-events, or what came by INFO."""
        events = [] if self.leg is None else self.leg.take_digits()
        if not events and not self._digits_by_info:
            return []
        digits, self._digits_by_info = self._digits_by_info, []
        return digits + [PressedDigit(one.digit, one.duration_ms) for one in events]

    def press(self, digits: str) -> None:
        """See `Keypad`."""
        if self.leg is not None and self.leg.takes_digits:
            self.leg.press(digits)
        else:
            self._dialog.send_digits(digits)

    def transfer(self, number: str) -> None:
        """See `Keypad`."""
        self.transferred = None
        self._dialog.refer(number)

    # --- audio -----------------------------------------------------------------------------

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """See `FrameSource`."""
        return self.leg is not None and self.leg.take(tick, out)

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """See `FrameSink`: nothing is sent before the phone expects it."""
        if self.leg is not None and self._may_send:
            self.leg.put(tick, frame)
