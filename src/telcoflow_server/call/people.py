"""The people in a call: their phones in its row, their keys, and their hanging up.

Not here: how they are rung (`dialling.py`), what becomes of the call (`call.py`), the phones
(`legs/`). Implements "People" of docs/explanation/calls.md.
"""

from __future__ import annotations

from collections.abc import Callable

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.agent import AgentEnd
from telcoflow_server.call.ports import JointPhone, PhoneOnLine
from telcoflow_server.media.plane import Row
from telcoflow_server.media.routing import Audience, Slot

CHANNELS = {Slot.CALLER: 1, Slot.CALLEE: 2}
"""On which channel of the agent's a person is heard, and their digits are told."""

_HEARERS = {
    Audience.CALLER: (Slot.CALLER,),
    Audience.BOTH: (Slot.CALLER, Slot.CALLEE),
    Audience.CALLEE: (Slot.CALLEE,),
    Audience.NOBODY: (),
}
"""Whose phones hear the digits an agent sends: those who hear the agent."""

_HUNG_UP = {Slot.CALLER: EndReason.CALLER_HUNG_UP, Slot.CALLEE: EndReason.CALLEE_HUNG_UP}


class People:
    """Caller and callee of one call.

    Args:
        row: The call's row in the media plane.
        woken: Ends a rest of the call's.
    """

    def __init__(self, row: Row, woken: Callable[[], None]) -> None:
        self._row = row
        self._woken = woken
        self._phones: dict[Slot, PhoneOnLine] = {}
        self._joint: dict[Slot, JointPhone] = {}  # those of them that are

    @property
    def may_rest(self) -> bool:
        """Whether none of them has to be asked anything until `woken` was called."""
        return len(self._joint) == len(self._phones) and all(
            phone.may_rest for phone in self._joint.values()
        )

    @property
    def caller(self) -> PhoneOnLine | None:
        """Who calls, or of an outbound call was reached."""
        return self._phones.get(Slot.CALLER)

    def join(self, slot: Slot, phone: PhoneOnLine) -> None:
        """Put a phone into a slot of the row, in place of a tone."""
        self._row.detach(slot)
        strip = self._row.attach(slot, phone, phone, phone.sample_rate_hz)
        self._joint.pop(slot, None)
        if isinstance(phone, JointPhone):
            phone.attached(strip, self._woken)
            self._joint[slot] = phone
        self._phones[slot] = phone

    def retune(self, phone: PhoneOnLine) -> None:
        """The phone's audio has another rate from now on; does nothing if it is not here."""
        for slot, other in self._phones.items():
            if other is phone:
                self.join(slot, phone)
                return

    def answered(self, slot: Slot) -> None:
        """Tell a phone that its audio flows."""
        self._phones[slot].answered(self._row.tick)

    def advance(self, agent: AgentEnd | None, tick: int) -> EndReason | None:
        """Tell the agent which keys were pressed, and by whom; without one nobody is told.

        Returns:
            Who has put the phone down, if anybody has.
        """
        hung_up = None
        for slot, phone in self._phones.items():
            digits = phone.take_digits()
            if digits and agent is not None:
                for digit in digits:
                    agent.tell_digit(CHANNELS[slot], digit, tick)
            if phone.has_hung_up and hung_up is None:
                hung_up = _HUNG_UP[slot]
        return hung_up

    def press(self, digits: str) -> str | None:
        """Let those who hear the agent hear digits; return why one cannot, or None."""
        problem = None
        for phone in [self._phones[slot] for slot in _HEARERS[self._row.audience]]:
            try:
                phone.press(digits)
            except ValueError as error:
                problem = str(error)
        return problem

    def ended(self, reason: EndReason) -> None:
        """Tell the phones that the call is over."""
        for phone in self._phones.values():
            phone.ended(self._row.tick, reason)
