"""The one call of `telcoflow sip-check`: answered by a recording that listens.

Not here: the check around it (`sip_check.py`). Driven by ticks; no sockets, no clock.
"""

from __future__ import annotations

from math import log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Draining, NewCall, QuotaExceeded
from telcoflow_server.call.ports import PhoneOnLine
from telcoflow_server.call.recordings import Recordings
from telcoflow_server.call.session import Session
from telcoflow_server.media.plane import MIX_RATE_HZ, MediaPlane, Row
from telcoflow_server.media.record import Recorder
from telcoflow_server.media.routing import Slot, Stage


class OneCall:
    """Takes one call, plays a sentence to it, and listens; `Calls` of a check.

    Args:
        sentence: int16, shape (n,), 24 kHz.
        recorder: Where both voices are kept.
        record: In which file.

    Attributes:
        phone: Who called.
        is_over: Whether the call was, and is no more.
        pressed_keys: How many.
    """

    def __init__(self, sentence: NDArray[np.int16], recorder: Recorder, record: Path) -> None:
        self.phone: PhoneOnLine | None = None
        self.is_over = False
        self.pressed_keys = 0
        self._sentence = sentence
        self._recorder = recorder
        self._record = record
        self._plane = MediaPlane()
        self._row: Row | None = None
        self._rate_hz = 0
        self._loudest = 0.0  # the highest mean square of a frame
        self._recordings = Recordings()

    @property
    def loudest_db(self) -> float:
        """The loudest 20 ms that the phone said, dB of full scale."""
        return 10 * log10(self._loudest / 32768.0**2) if self._loudest else float("-inf")

    def tick(self) -> None:
        """Advance by 20 ms."""
        phone = self.phone
        if phone is None or self.is_over:
            return
        if self._row is None:
            self._row = self._answer(phone)
        elif phone.sample_rate_hz != self._rate_hz:
            self._row.detach(Slot.CALLER)
            self._attach(self._row, phone)
        self.pressed_keys += len(phone.take_digits())
        self._plane.tick()
        if phone.has_hung_up:
            self.end()

    def end(self) -> None:
        """Hang up. Idempotent."""
        if self.phone is not None and self._row is not None and not self.is_over:
            self.is_over = True
            self.phone.ended(self._row.tick, EndReason.AGENT_CLOSED)
            self._row.close()
            self._recordings.close()

    def _answer(self, phone: PhoneOnLine) -> Row:
        row = self._plane.open_row()
        self._recordings = Recordings(self._recorder.open(self._record, channels=2))
        self._recordings.start(row)
        self._attach(row, phone)
        row.attach(Slot.AGENT, self, self, MIX_RATE_HZ)
        row.set_stage(Stage.ANSWERED)
        phone.answered(0)
        return row

    def _attach(self, row: Row, phone: PhoneOnLine) -> None:
        self._rate_hz = phone.sample_rate_hz
        row.attach(Slot.CALLER, phone, phone, self._rate_hz)

    # --- the sentence, and what is heard: FrameSource and FrameSink ---------------------------

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        """See `FrameSource`."""
        frame = self._sentence[tick * len(out) : (tick + 1) * len(out)]
        out[: len(frame)] = frame
        out[len(frame) :] = 0
        return len(frame) > 0

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        """See `FrameSink`."""
        del tick
        self._loudest = max(self._loudest, float(np.mean(np.square(frame, dtype=np.float64))))

    # --- Calls ------------------------------------------------------------------------------

    def new_id(self) -> str:
        """See `Calls`; there is one call only."""
        return "check"

    def check_room(self, connector_uuid: str) -> None:
        """See `Calls`."""
        del connector_uuid
        if self.phone is not None:
            raise QuotaExceeded("one call is enough for a check")

    def find(self, call_id: str) -> Call | None:
        """See `Calls`: no call here is an exchange's."""
        del call_id
        return None

    def place(
        self,
        phone: PhoneOnLine,
        new_call: NewCall,
        *,
        recordings: Recordings | None,
        call_id: str | None,
    ) -> Call | None:
        """See `Calls`: it is answered on the next tick."""
        del new_call, recordings, call_id
        self.phone = phone
        return None

    def place_outbound(
        self,
        new_call: NewCall,
        ring_time_s: float,
        *,
        recordings: Recordings | None,
        call_id: str | None,
    ) -> Session:
        """See `Calls`: nobody is called from here."""
        raise Draining("a check calls nobody")
