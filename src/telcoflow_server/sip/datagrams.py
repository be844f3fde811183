"""A UDP socket, and sending to addresses and to names.

Not here: receiving, what is in datagrams.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time

RECEIVE_BUFFER_BYTES = 1 << 20
"""Room in the kernel for what arrives during a restart, or in a burst."""

LOOKUPS_WAITING = 64
"""Datagrams to names that are being looked up; more are lost."""
LOOKUP_LIFE_S = 60.0
"""A name's address is looked up again after this."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address of either family, and to that family only.

    Raises:
        OSError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        udp.bind((host, port))
    except OSError:
        udp.close()
        raise
    return udp


class Sender:
    """Sends on one socket; to a name from a thread of its own, because looking up blocks.

    Args:
        udp: Not blocking.
    """

    def __init__(self, udp: socket.socket) -> None:
        self._udp = udp
        self._waiting: queue.Queue[tuple[bytes, str, int]] = queue.Queue(LOOKUPS_WAITING)
        self._known: dict[str, tuple[str, float]] = {}
        self._thread: threading.Thread | None = None

    def send(self, datagram: bytes, host: str, port: int) -> None:
        """Send to an address or a name; what cannot be sent is lost, as datagrams are."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            self._send_to_name(datagram, host, port)
        else:
            self._send(datagram, host, port)

    def _send_to_name(self, datagram: bytes, host: str, port: int) -> None:
        known = self._known.get(host)
        if known is not None and time.monotonic() - known[1] < LOOKUP_LIFE_S:
            self._send(datagram, known[0], port)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_up, name="lookups", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((datagram, host, port))
        except queue.Full:
            return  # sent again if it matters

    def _look_up(self) -> None:
        while True:
            datagram, host, port = self._waiting.get()
            try:
                found = socket.getaddrinfo(host, port, self._udp.family, socket.SOCK_DGRAM)
            except (OSError, UnicodeError):
                continue
            address = str(found[0][4][0])
            self._known[host] = (address, time.monotonic())
            self._send(datagram, address, port)

    def _send(self, datagram: bytes, address: str, port: int) -> None:
        try:
            self._udp.sendto(datagram, (address, port))
        except (OSError, OverflowError):
            return
