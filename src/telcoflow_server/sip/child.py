"""The SIP process: a stack, the switchboard on top, and a stream to the server beside them.

Not here: transactions (`stack.py`), calls (`switchboard.py`), who starts this (`edge.py`). Runs as
`python -m telcoflow_server.sip.child`.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial

from telcoflow_server.sip.accounts import EdgeSettings
from telcoflow_server.sip.commands import Command, Configure, Serve, Stop
from telcoflow_server.sip.events import EdgeStatistics, Event, Fault, Listening
from telcoflow_server.sip.message import InviteEvents, Request, ServerTransaction
from telcoflow_server.sip.pipe import BadMessage, CommandReader, encode
from telcoflow_server.sip.stack import SippyStack
from telcoflow_server.sip.switchboard import Switchboard

TICK_S = 0.1
STATISTICS_S = 1.0
LEAVING_S = 0.25
"""How long BYEs and withdrawals may take before the process exits."""

READ_BYTES = 1 << 16
SEND_TIMEOUT_S = 5.0
"""A server that does not read for so long has hung; without it this process has no purpose."""

FAULTS_INTERVAL_S = 1.0
"""One fault is told in this time; they come in swarms."""


class Child:
    """The process.

    Args:
        control: Stream to the server.
        udp: Bound.
    """

    def __init__(self, control: socket.socket, udp: socket.socket) -> None:
        self._control = control
        self._udp = udp
        self._selector = selectors.DefaultSelector()
        self._commands = CommandReader()
        self._switchboard: Switchboard | None = None
        self._stack: SippyStack | None = None
        self._tick_at_s = self._count_at_s = time.monotonic()
        self._leave_at_s: float | None = None
        self._is_over = False
        self._fault_told_s: float | None = None

    def run(self) -> None:
        """Work until told to stop, or until the server is gone."""
        self._control.settimeout(SEND_TIMEOUT_S)
        self._udp.setblocking(False)
        with self._selector as selector:
            selector.register(self._control, selectors.EVENT_READ)
            while not self._is_over:
                ready = {key.fileobj for key, _ in selector.select(self._timeout_s())}
                # Commands first, and one datagram at a time: what was told before a datagram was
                # sent holds for it.
                if self._control in ready:
                    self._read_commands()
                if self._udp in ready and self._stack is not None:
                    self._stack.read()
                self._run_timers(time.monotonic())

    def _timeout_s(self) -> float:
        due_s = self._tick_at_s - time.monotonic()
        timer_due_s = None if self._stack is None else self._stack.timer_due_s()
        return max(0.0, due_s if timer_due_s is None else min(due_s, timer_due_s))

    def _run_timers(self, now_s: float) -> None:
        if self._stack is not None:
            self._stack.run_timers()
        if self._leave_at_s is not None:
            is_done = self._stack is None or self._stack.is_idle
            self._is_over |= is_done or now_s >= self._leave_at_s
        if now_s < self._tick_at_s:
            return
        self._tick_at_s = now_s + TICK_S
        if self._switchboard is not None:
            switchboard = self._switchboard
            self.guarded(lambda: switchboard.tick(now_s))
        if now_s >= self._count_at_s:
            self._count_at_s = now_s + STATISTICS_S
            self._emit(self._statistics())

    def _read_commands(self) -> None:
        try:
            chunk = self._control.recv(READ_BYTES)
            commands = self._commands.read(chunk)
        except (OSError, BadMessage):
            chunk, commands = b"", []
        if not chunk:
            self._is_over = True
        for command in commands:
            if self._switchboard is None and isinstance(command, Configure):
                self._begin(command.settings)  # unguarded: without it there is nothing to do
            else:
                self.guarded(partial(self._obey, command))

    def _obey(self, command: Command) -> None:
        if isinstance(command, Serve):
            self._selector.register(self._udp, selectors.EVENT_READ)
            self._emit(Listening())
        elif self._switchboard is not None:
            self._switchboard.obey(command, time.monotonic())
        if isinstance(command, Stop):
            self._leave_at_s = time.monotonic() + LEAVING_S

    def _begin(self, settings: EdgeSettings) -> None:
        host, port = self._udp.getsockname()[:2]
        advertised = settings.advertised_host or host
        name = f"[{advertised}]" if ":" in advertised else advertised
        self._stack = SippyStack(
            self._udp, (advertised, port), self._admits, self._receive, self.guarded
        )
        self._switchboard = Switchboard(
            settings,
            self._stack,
            self._emit,
            f"{name}:{port}",
            lambda: secrets.token_hex(16),
            secrets.token_bytes(32),
        )

    def _admits(self, address: str, now_s: float) -> bool:
        assert self._switchboard is not None, "made with the stack"
        return self._switchboard.admits(address, now_s)

    def _receive(
        self, request: Request, transaction: ServerTransaction, now_s: float
    ) -> InviteEvents | None:
        assert self._switchboard is not None, "made with the stack"
        return self._switchboard.receive(request, transaction, now_s)

    def _statistics(self) -> EdgeStatistics:
        if self._switchboard is None or self._stack is None:
            return EdgeStatistics()
        known, stack = self._switchboard.statistics(), self._stack
        return EdgeStatistics(
            **{name: getattr(known, name) for name in known.__struct_fields__}
            | {
                "keep_alives": stack.keep_alives,
                "garbage": stack.garbage,
                "malformed": stack.malformed,
                "responses": stack.responses,
            }
        )

    def _emit(self, event: Event) -> None:
        try:
            self._control.sendall(encode(event))
        except OSError:
            self._is_over = True

    def guarded(self, run: Callable[[], None]) -> None:
        """Run something of ours; a fault of it costs one message, and is told.

        Told with its place only: the text of an error may hold a number or a password.
        """
        try:
            run()
        except Exception as error:
            now_s, told_s = time.monotonic(), self._fault_told_s
            if told_s is not None and now_s - told_s < FAULTS_INTERVAL_S:
                return
            self._fault_told_s = now_s
            frames = traceback.extract_tb(error.__traceback__)
            places = tuple(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
            self._emit(Fault(error=type(error).__name__, places=places))


def main() -> None:
    """Run on two inherited sockets: the stream to the server, and the bound UDP socket."""
    control, udp = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    child = Child(control, udp)
    try:
        child.guarded(child.run)
    finally:
        control.close()
        udp.close()


if __name__ == "__main__":
    main()
