"""What an RTP leg and those who keep many of them together tell each other.

Not here: the leg (`rtp.py`), many of them (`rtp_array.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telcoflow_server.codec.g711 import Law
from telcoflow_server.legs.rtp_terms import Address, Send
from telcoflow_server.media.hearing import Hearing
from telcoflow_server.rtp.deadline import MediaDeadline
from telcoflow_server.rtp.latch import Latch
from telcoflow_server.rtp.receiver import RtpReceiver
from telcoflow_server.rtp.sender import RtpSender


@dataclass(slots=True)
class Datagrams:
    """What came, at most one datagram of each port.

    Attributes:
        ports: Of ours.
        data: Of each.
        sources: Whence.
        arrived_s: When, monotonic seconds; shape (n,).
    """

    ports: list[int]
    data: list[bytes]
    sources: list[Address]
    arrived_s: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LegParts:
    """What a leg is made of, for where it is kept with others.

    Attributes:
        source: The only one whose packets are its own.
        destination: Where its packets go.
        pt: Of both.
        law: Its codec, both ways.
        send: Takes them.
    """

    source: Address
    destination: Address
    pt: int
    law: Law
    send: Send
    latch: Latch
    deadline: MediaDeadline
    receiver: RtpReceiver
    hearing: Hearing[bytes]
    sender: RtpSender
