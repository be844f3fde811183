"""What went over all RTP legs of a node, ended ones included.

Not here: one leg's numbers (`legs/rtp.py`), their names as metrics (`api/metrics.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from telcoflow_server.legs.rtp import RtpLegStatistics


@dataclass(slots=True)
class RtpTotals:
    """Sums over legs.

    Attributes:
        sent: Packets of ours.
        received: Packets of phones.
        lost: Not there when they were due, and not since.
        late: Came after that.
        concealed_ms: Sound that was made up for them.
        strangers: Packets from addresses that are no phone's; never played.
        malformed: Datagrams that are neither RTP nor RTCP.
        foreign: Packets of a payload type that was not agreed on.
        undecodable: Payloads the codec could not read.
        unsendable: Frames that had nowhere to go.
    """

    sent: int = 0
    received: int = 0
    lost: int = 0
    late: int = 0
    concealed_ms: int = 0
    strangers: int = 0
    malformed: int = 0
    foreign: int = 0
    undecodable: int = 0
    unsendable: int = 0

    def add_leg(self, leg: RtpLegStatistics) -> None:
        """Add what went over one leg."""
        self.add(
            RtpTotals(
                sent=leg.sent.packets,
                received=leg.received.packets,
                lost=leg.jitter.lost,
                late=leg.jitter.late,
                concealed_ms=leg.jitter.concealed_ms,
                strangers=leg.latch.strangers,
                malformed=leg.malformed,
                foreign=leg.received.foreign,
                undecodable=leg.undecodable,
                unsendable=leg.unsendable,
            )
        )

    def add(self, other: RtpTotals) -> None:
        """Add other sums."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def at_least(self, other: RtpTotals) -> RtpTotals:
        """Return the higher of each: what is lost for now may come, and a counter must not fall."""
        return RtpTotals(
            **{
                one.name: max(getattr(self, one.name), getattr(other, one.name))
                for one in fields(self)
            }
        )
