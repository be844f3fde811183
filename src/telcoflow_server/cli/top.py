"""`telcoflow top`: the calls of a running server, as they go.

Not here: the flags (`commands.py`), HTTP (`node.py`).
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from telcoflow_server.api.overview import LiveCall, Overview
from telcoflow_server.cli.live import level_in_words
from telcoflow_server.cli.node import Node, NodeError
from telcoflow_server.cli.run import run, stop_signals

SHORT_ID = 8
"""As much of an id as tells the calls of a node apart for people."""

ENDED_SHOWN = 5

OTHER_LINES = 8 + ENDED_SHOWN
"""What stands around the calls: a headline, the table's head, the calls that ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopOrder:
    """Which server to watch, and how."""

    url: str
    admin_key: str | None
    interval_s: float
    as_json: bool


def top(order: TopOrder) -> int:
    """Show the calls until told to stop, or once where there is no terminal; return the code."""
    try:
        return run(_top(order, Console()))
    except NodeError as error:
        print(f"telcoflow: {error}", file=sys.stderr)
        return 1


async def _top(order: TopOrder, console: Console) -> int:
    async with Node(order.url, order.admin_key) as node:
        overview = await node.overview()
        if order.as_json:
            sys.stdout.write(msgspec.json.encode(overview).decode() + "\n")
        elif not console.is_terminal:
            console.print(view(overview))
        else:
            await _watch(node, overview, order.interval_s, console)
    return 0


async def _watch(node: Node, first: Overview, interval_s: float, console: Console) -> None:
    with (
        stop_signals() as signals,
        Live(console=console, auto_refresh=False, transient=True) as live,
    ):
        overview = first
        while True:
            live.update(view(overview, max(1, console.height - OTHER_LINES)), refresh=True)
            try:
                async with asyncio.timeout(interval_s):
                    await signals.first.wait()
                return
            except TimeoutError:
                overview = await node.overview()


def view(overview: Overview, rows: int | None = None) -> RenderableType:
    """Return all calls as a table, with what the server is doing above and what ended below.

    Args:
        overview: What to show.
        rows: How many calls there is room for; the oldest are shown. None: all of them.
    """
    parts: list[RenderableType] = [_headline(overview)]
    if overview.calls:
        parts.append(_calls(overview.calls[:rows]))
    hidden = len(overview.calls) - len(overview.calls[:rows])
    if hidden:
        parts.append(Text(f"and {hidden} more", "dim"))
    if overview.ended:
        parts.append(_ended(overview))
    return Group(*parts)


def _headline(overview: Overview) -> Text:
    lateness = overview.tick_lateness_ms
    count = len(overview.calls)
    words = [
        f"{count} call{'' if count == 1 else 's'}",
        f"tick lateness p50 {lateness.p50:.2f} ms, p99 {lateness.p99:.2f} ms",
    ]
    if overview.skipped_ticks:
        words.append(f"{overview.skipped_ticks} ticks skipped")
    if overview.is_draining:
        words.append("draining")
    return Text("  ".join(words), "bold")


def _calls(calls: list[LiveCall]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("call", "connector", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("since", "caller", "agent", "queued", "lead", "gaps", "clears"):
        table.add_column(name, justify="right", no_wrap=True)
    for call in calls:
        # As `Text`: a name may hold what a table would take for markup.
        table.add_row(
            Text(call.call_id[:SHORT_ID]),
            Text(call.connector_uuid),
            Text(f"{call.state} {call.mode}".strip()),
            _clock(call.since_ms),
            level_in_words(call.caller_db),
            level_in_words(call.agent_db),
            f"{call.queued_ms:.0f} ms",
            f"{call.lead_ms:.0f} ms",
            _gaps(call.gaps, call.gap_ms),
            str(call.clears),
        )
    return table


def _ended(overview: Overview) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("ended", no_wrap=True)
    table.add_column("reason", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("gaps", justify="right", no_wrap=True)
    for call in overview.ended[:ENDED_SHOWN]:
        table.add_row(
            Text(call.call_id[:SHORT_ID]),
            str(call.end_reason),
            _clock(call.duration_ms),
            _gaps(call.gaps, call.gap_ms),
        )
    return table


def _gaps(count: int, ms: int) -> str:
    return f"{count} ({ms} ms)" if count else "0"


def _clock(ms: int) -> str:
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
