"""The results as tables, for a terminal and for README.md.

Not here: measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable

from benchmarks.buffers import BufferTimes
from benchmarks.sdk import Capacity
from benchmarks.server import ServerCapacity
from benchmarks.stop import StopTime


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, and rows of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> RichTable:
        """Return it for a terminal."""
        table = RichTable(title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Return it for README.md."""
        lines = [
            f"**{self.title}**",
            "",
            "| " + " | ".join(self.columns) + " |",
            "|" + " --- |" + " ---: |" * (len(self.columns) - 1),
            *("| " + " | ".join(row) + " |" for row in self.rows),
        ]
        return "\n".join(lines)


def of_buffers(times: Sequence[BufferTimes]) -> Table:
    """Microseconds, ours beside the published one."""
    return Table(
        "ConcurrentByteBuffer, microseconds",
        ("", "telcoflow_sdk", "telcoflow 1.0.0", "times faster", "target"),
        [
            (
                one.use,
                f"{one.ours_us:.2f}",
                f"{one.published_us:.2f}",
                f"{one.published_us / one.ours_us:.1f}",
                "5, and 0.5 µs" if number == 0 else "",
            )
            for number, one in enumerate(times)
        ],
    )


TARGETS = {"asyncio": 3.5, "uvloop": 2.5}


def of_sdk(pairs: Sequence[tuple[Capacity, Capacity]]) -> Table:
    """Echo calls per core: pairs of ours and the published client's, on one loop each."""
    rows: list[tuple[str, ...]] = []
    for ours, published in pairs:
        ratio = f"{ours.calls / published.calls:.1f}"
        target = f"{TARGETS[ours.loop]}"
        rows.append(_sdk_row(ours, ratio, target))
        rows.append(_sdk_row(published, "", ""))
    columns = (
        "client, event loop",
        "calls",
        "times as many",
        "target",
        "p99 late, ms",
        "CPU % per call",
        "kB per call",
    )
    return Table("SDK: echo calls on one core until frames are 20 ms late", columns, rows)


def _sdk_row(one: Capacity, ratio: str, target: str) -> tuple[str, ...]:
    calls = f"{one.calls}{' or more' if one.is_load_bound else ''}"
    return (
        f"{one.client}, {one.loop}",
        calls,
        ratio,
        target,
        f"{one.p99_ms:.1f}",
        f"{one.cpu_percent:.3f}",
        f"{one.memory_kb:.0f}",
    )


def of_server(one: ServerCapacity) -> Table:
    """What the server carries."""
    return Table(
        "Server: calls on one core until ticks are 5 ms late",
        ("", "measured", "target"),
        [
            ("calls", f"{one.calls}", ""),
            ("tick lateness p99, ms", f"{one.p99_ms:.2f}", "5"),
            ("CPU % per call", f"{one.cpu_percent:.3f}", "0.25"),
            ("kB per call", f"{one.memory_kb:.0f}", ""),
        ],
    )


def of_profile(one: ServerCapacity) -> Table:
    """Where the server's time goes."""
    return Table(
        "Server: where the time goes (cProfile, which makes short functions look dearer)",
        ("function, without what it calls", "share"),
        [(name, f"{share:.1%}") for name, share in one.profile],
    )


def of_stop(times: Sequence[StopTime]) -> Table:
    """Stop times."""
    return Table(
        "Stop time at the phone's ear after clear_send_audio_buffer(), milliseconds",
        ("calls running", "p50", "p99", "worst", "target p99"),
        [
            (str(one.calls), f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.worst_ms:.1f}", "40")
            for one in times
        ],
    )
