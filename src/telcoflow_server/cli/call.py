"""`telcoflow call`: one simulated call, watched to its end.

Not here: the flags (`commands.py`), HTTP (`client.py`), what is shown (`live.py`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live

from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.api.script import CalleeRequest, PlayRequest, ScriptRequest
from telcoflow_server.call.report import CallReport
from telcoflow_server.cli.client import Access, Phones, SandboxError
from telcoflow_server.cli.live import failure, live_view, summary
from telcoflow_server.cli.run import run, stop_signals
from telcoflow_server.legs.behaviour import Behaviour


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOrder:
    """One call to place: where, what the phones do, what becomes of it.

    Args:
        record: Where what the caller heard is written, or None.
        callee_record: The same of the callee.
    """

    access: Access
    script: ScriptRequest
    sounds: tuple[Path, ...]
    record: Path | None
    callee_record: Path | None = None
    as_json: bool


def plays_of(count: int, starts_s: Sequence[float]) -> list[PlayRequest]:
    """Return when each sound plays: as far as times were given, else after the one before."""
    starts_ms = [round(start_s * 1000) for start_s in starts_s]
    return [
        PlayRequest(number, starts_ms[number] if number < len(starts_ms) else None)
        for number in range(count)
    ]


def callee_of(behaviour: Behaviour | None, first: int, count: int) -> CalleeRequest | None:
    """Return what the callee does, or None to leave it to the sandbox.

    Args:
        behaviour: What it was told to do; None: to answer, if it has something to play.
        first: The number of its first sound among all of the call's.
        count: How many of them it plays, one after the other.
    """
    if behaviour is None and count == 0:
        return None
    plays = [PlayRequest(number) for number in range(first, first + count)]
    return CalleeRequest(behaviour=behaviour or Behaviour.ANSWER, plays=plays)


def call(order: CallOrder) -> int:
    """Place a call, show it, sum it up; return the exit code."""
    try:
        return run(_until_told_to_stop(order))
    except SandboxError as error:
        print(f"telcoflow: {error}", file=sys.stderr)
        return 1


async def conduct(
    phones: Phones, order: CallOrder, console: Console, hang_up: asyncio.Event
) -> tuple[str, CallReport]:
    """Place a call and watch it to its end; hang up when asked to.

    Returns:
        The call's id and its report.

    Raises:
        SandboxError: the sandbox is not there, refuses the call, or goes away during it.
    """
    call_id = await phones.place(order.script, order.sounds)
    # On anything but a terminal, a transient view shows nothing at all.
    view = Live(console=console, auto_refresh=False, transient=True)
    async with _hanging_up(phones, call_id, hang_up), aclosing(phones.watch(call_id)) as events:
        with view:
            async for event in events:
                if isinstance(event, CallReport):
                    return call_id, event
                view.update(live_view(event), refresh=True)
    raise AssertionError("`watch` yields a report or raises")


async def _until_told_to_stop(order: CallOrder) -> int:
    with stop_signals() as signals:
        work = asyncio.create_task(_call(order, signals.first), name="call")
        cut = asyncio.create_task(signals.second.wait(), name="second signal")
        await asyncio.wait({work, cut}, return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        if work.done():
            return work.result()
        work.cancel()
        await asyncio.wait({work})
        raise SandboxError("stopped before the call ended")


async def _call(order: CallOrder, hang_up: asyncio.Event) -> int:
    # stdout is for the JSON alone, so that it can be piped.
    console = Console(stderr=order.as_json)
    async with Phones(order.access) as phones:
        call_id, report = await conduct(phones, order, console, hang_up)
        # First what is known: the recordings may be out of reach by now.
        if order.as_json:
            sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
            sys.stdout.flush()
        else:
            console.print(summary(report))
        if order.record is not None:
            _write(order.record, await phones.recording(call_id, "heard"))
        was_connected = any(entered.name == CallState.CONNECTED for entered in report.states)
        if order.callee_record is not None and was_connected:
            _write(order.callee_record, await phones.recording(call_id, "callee-heard"))
    reason = failure(report)
    if reason is not None:
        reason = f"{reason} (end_reason: {report.end_reason})"
    elif order.callee_record is not None and not was_connected:
        reason = "the callee never came to the call: there is nothing to record"
    if reason is not None:
        print(f"telcoflow: {reason}", file=sys.stderr)
    return 0 if reason is None else 1


@asynccontextmanager
async def _hanging_up(phones: Phones, call_id: str, asked: asyncio.Event) -> AsyncIterator[None]:
    async def hang_up_when_asked() -> None:
        await asked.wait()
        try:
            await phones.hang_up(call_id)
        except SandboxError:
            pass  # over already, or the sandbox is gone: whoever watches the call says so

    task = asyncio.create_task(hang_up_when_asked(), name="hang up")
    try:
        yield
    finally:
        task.cancel()


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise SandboxError(f"{file} cannot be written: {error.strerror}") from None
