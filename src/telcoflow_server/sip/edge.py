"""The server's side of the SIP process: starts it, talks with it, starts it again if it dies.

Not here: SIP (`switchboard.py`), media. What crosses is in `events.py` and `commands.py`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

from telcoflow_server.sip.accounts import EdgeSettings, Private
from telcoflow_server.sip.commands import (
    Command,
    Configure,
    Dial,
    HangUp,
    Overload,
    Refuse,
    RestoreBinding,
    RestoreDialog,
    Serve,
    Stop,
)
from telcoflow_server.sip.datagrams import bind
from telcoflow_server.sip.events import (
    Cancelled,
    DialogId,
    DialogState,
    EdgeStatistics,
    Ending,
    Event,
    Failed,
    Fault,
    HungUp,
    IncomingCall,
    Listening,
    LoginsRefused,
    Registered,
    SignallingLost,
    Unregistered,
)
from telcoflow_server.sip.pipe import BadMessage, EventReader, encode

logger = logging.getLogger(__name__)

CHILD = "telcoflow_server.sip.child"

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
EXIT_S = 1.0
"""From the end of the stream to the end of the process."""
SILENCE_S = 5.0
"""The process counts aloud every second; after this it has hung, and is killed."""

FIRST_RESTART_S = 0.1
LAST_RESTART_S = 5.0
"""The time before a restart doubles from the first to the last while it keeps dying."""
STEADY_S = 30.0
"""Having lived for so long, it is restarted as fast as at first."""

READ_BYTES = 1 << 16
MAX_UNSENT_BYTES = 4 << 20
"""Commands the process does not take: it has hung, and is killed."""


class EdgeError(Exception):
    """The SIP process cannot be started; the text says why."""


@dataclass(slots=True)
class _Known:
    """A dialog that has not ended.

    Attributes:
        is_incoming: Of the two ways to begin.
        state: What a new process must know; None until it was answered.
    """

    is_incoming: bool
    state: DialogState | None = None


class SipEdge:
    """SIP for one address.

    The socket is bound here and lent to the process, so what arrives while it is restarted waits in
    the kernel. Of dialogs that were answered, a restart loses nothing but time; those that were not
    end as `Failed` or `HungUp`.

    Args:
        settings: Everything SIP.
        on_event: Hears everything that is said, on the event loop; must not raise and not wait.

    Attributes:
        restarts: How often the process has died.

    Concurrency: one event loop; `start` and `stop` are called once each, in this order.
    """

    def __init__(self, settings: EdgeSettings, on_event: Callable[[Event], None]) -> None:
        self.restarts = 0
        self._settings = settings
        self._on_event = on_event
        self._udp: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopping = False
        self._is_overloaded = False
        self._was_ready = False
        self._is_ready = asyncio.Event()
        self._statistics = EdgeStatistics()
        self._dialogs: dict[DialogId, _Known] = {}
        self._to_hang_up: list[DialogState] = []
        self._bindings: dict[tuple[str, str], tuple[Registered, float]] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens. Raises `EdgeError` before `start`."""
        if self._udp is None:
            raise EdgeError("not started")
        host, port = self._udp.getsockname()[:2]
        return host, port

    @property
    def is_alive(self) -> bool:
        """Whether there is a process that takes requests."""
        return self._writer is not None and self._is_ready.is_set()

    def statistics(self) -> EdgeStatistics:
        """Return what the process counted, at most a second ago; 0 again after a restart."""
        return self._statistics

    async def start(self) -> None:
        """Bind, start the process, and return when it listens.

        Cancellation: what was begun is undone.

        Raises:
            EdgeError: sippy is not installed, the process does not come up, or the address cannot
                be bound; nothing is left.
        """
        if importlib.util.find_spec("sippy") is None:
            raise EdgeError('SIP needs sippy: pip install "telcoflow-sdk[sip]"')
        settings = self._settings
        try:
            self._udp = bind(settings.host, settings.port)
        except OSError as error:
            where = f"{settings.host} port {settings.port}"
            raise EdgeError(f"SIP cannot listen on {where}: {error.strerror}") from None
        self._task = asyncio.create_task(self._keep_running(), name="sip-edge")
        ready = asyncio.create_task(self._is_ready.wait())
        try:
            await asyncio.wait(
                [ready, self._task], timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
            if not self._is_ready.is_set():
                await self.stop()
        if not self._was_ready:
            raise EdgeError("the SIP process does not come up")

    async def stop(self) -> None:
        """Hang up everything, end the process, and leave nothing; idempotent.

        Cancellation: the process is killed instead.
        """
        self._is_stopping = True
        if self._writer is not None:
            self._write(Stop())
        if self._task is not None:
            try:
                # Without a process that listens, there is nothing to wait for.
                if self.is_alive and not await self._ends_in_time(self._task):
                    logger.warning("the SIP process did not stop in time and is killed")
            finally:
                self._kill()
                if self._process is not None:
                    await self._ends_in_time(self._task)
                self._task.cancel()
                await asyncio.wait([self._task])
                self._task = None
        self._dialogs.clear()
        if self._udp is not None:
            self._udp.close()

    def send(self, command: Command) -> None:
        """Tell the process something; never waits, never raises.

        Without a process, or for a dialog that has ended, a command is dropped, but `Dial`, which
        fails with 503, and `HangUp`, which a restarted process makes good.
        """
        if isinstance(command, Overload):
            self._is_overloaded = command.is_overloaded
        elif isinstance(command, Configure):
            self._settings = command.settings
        if isinstance(command, Dial):
            self._dialogs[command.dialog] = _Known(is_incoming=False)
            if self._writer is None:
                failed = Failed(dialog=command.dialog, status=503)
                asyncio.get_running_loop().call_soon(self._tell_end, failed)
        elif isinstance(command, HangUp | Refuse):
            known = self._dialogs.pop(command.dialog, None)
            if known is not None and known.state is not None and self._writer is None:
                self._to_hang_up.append(known.state)
        if self._writer is not None:
            self._write(command)

    # --- the process ---

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_RESTART_S
        while True:
            started_s = loop.time()
            try:
                await self._run_once()
            except OSError as error:  # no descriptor, no memory: later perhaps
                logger.error("the SIP process cannot be started: %s", error.strerror)
            if self._is_stopping or not self._was_ready:
                return
            self.restarts += 1
            logger.error("the SIP process died; restarted in %.1f s", pause_s)
            self._lost()
            if loop.time() - started_s >= STEADY_S:
                pause_s = FIRST_RESTART_S
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_RESTART_S)

    async def _run_once(self) -> None:
        """Start a process, and hear it until it is gone."""
        assert self._udp is not None, "bound by start"
        ours, theirs = socket.socketpair()
        try:
            numbers = (theirs.fileno(), self._udp.fileno())
            # -P: what lies in the current folder is nobody's module.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", CHILD, *map(str, numbers)),
                pass_fds=numbers,
                stdin=asyncio.subprocess.DEVNULL,
                # What sippy prints are messages it cannot read, numbers and all.
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the server's, which then says goodbye
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        try:
            ours.setblocking(False)
            reader, self._writer = await asyncio.open_connection(sock=ours)
            self._begin()
            await self._hear(reader)
        finally:
            self._is_ready.clear()
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()
            await self._end(self._process)
            self._process = None

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Let the process exit by itself, which it does without us, or kill it."""
        try:
            async with asyncio.timeout(EXIT_S):
                await process.wait()
        except TimeoutError:
            self._kill()
            await process.wait()
        except asyncio.CancelledError:
            self._kill()
            raise

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        events = EventReader()
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    chunk = await reader.read(READ_BYTES)
                said = events.read(chunk)
            except TimeoutError:
                logger.error("the SIP process was silent for %.0f s and is killed", SILENCE_S)
                return
            except OSError:  # it is gone, and something was still being written to it
                return
            except BadMessage as error:
                logger.error("the SIP process cannot be understood: %s", error)
                return
            if not chunk:
                return
            for event in said:
                self._take(event)

    async def _ends_in_time(self, task: asyncio.Task[None]) -> bool:
        done, _ = await asyncio.wait([task], timeout=STOP_TIMEOUT_S)
        return bool(done)

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            try:
                # Not `Process.kill`: that would reap what asyncio waits for, which then complains.
                os.kill(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return  # it ended by itself, and asyncio has not heard of it yet

    def _write(self, command: Command) -> None:
        assert self._writer is not None, "checked by who calls"
        self._writer.write(encode(command))
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._kill()

    def _lost(self) -> None:
        """Tell what the death of the process means for each dialog."""
        self._statistics = EdgeStatistics()
        for dialog, known in list(self._dialogs.items()):
            if known.state is not None:
                self._on_event(SignallingLost(dialog=dialog))
            elif known.is_incoming:
                self._tell_end(HungUp(dialog=dialog, ending=Ending.SIGNALLING_LOST))
            else:
                self._tell_end(Failed(dialog=dialog, status=500))

    # --- what it says ---

    def _take(self, event: Event) -> None:
        match event:
            case Listening():
                self._was_ready = True
                self._is_ready.set()
                self._on_event(event)
            case EdgeStatistics():
                self._statistics = event
            case Fault():
                logger.error("a fault in the SIP process: %s at %s", event.error, event.places)
            case DialogState():
                known = self._dialogs.get(event.dialog)
                if known is not None:
                    known.state = event
            case IncomingCall():
                self._dialogs[event.dialog] = _Known(is_incoming=True)
                self._on_event(event)
            case Cancelled() | Failed() | HungUp():
                self._tell_end(event)
            case _:
                self._take_other(event)

    def _take_other(self, event: Event) -> None:
        dialog: DialogId | None = getattr(event, "dialog", None)
        if dialog is not None and dialog not in self._dialogs:
            return  # said before it heard that we had ended it
        if isinstance(event, LoginsRefused):
            logger.warning(
                "logins from %s are refused: %d wrong passwords", event.address, event.failures
            )
        elif isinstance(event, Registered):
            until_s = asyncio.get_running_loop().time() + event.expires_s
            self._bindings[event.extension, event.contact.value] = (event, until_s)
        elif isinstance(event, Unregistered):
            self._bindings.pop((event.extension, event.contact.value), None)
        self._on_event(event)

    def _tell_end(self, event: Cancelled | Failed | HungUp) -> None:
        if self._dialogs.pop(event.dialog, None) is not None:
            self._on_event(event)

    def _begin(self) -> None:
        """Let a new process know what the last one knew, and then take requests."""
        self._write(Configure(settings=self._settings))
        if self._is_overloaded:
            self._write(Overload(is_overloaded=True))
        now_s = asyncio.get_running_loop().time()
        for registered, until_s in self._bindings.values():
            if until_s > now_s:
                self._write(
                    RestoreBinding(
                        extension=registered.extension,
                        contact=Private(registered.contact.value),
                        source=registered.source,
                        expires_s=int(until_s - now_s),
                    )
                )
        for known in self._dialogs.values():
            if known.state is not None:
                self._write(RestoreDialog(state=known.state))
        for state in self._to_hang_up:
            self._write(RestoreDialog(state=state))
            self._write(HangUp(dialog=state.dialog))
        self._to_hang_up.clear()
        self._write(Serve())
