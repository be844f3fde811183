"""The results as tables, for a terminal and for README.md.

Not here: measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable

from benchmarks.buffers import BufferTimes
from benchmarks.numbers import percentile
from benchmarks.positions import HeardErrors, Outages, StallGaps
from benchmarks.sdk import Capacity
from benchmarks.server import ServerCapacity
from benchmarks.sip import SipCapacity
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


def of_sdk(groups: Sequence[tuple[Capacity, Capacity, Capacity]]) -> Table:
    """Echo calls per core: ours on both protocols and the published client's, on one loop each."""
    rows: list[tuple[str, ...]] = []
    for ours, ours_v2, published in groups:
        target = f"{TARGETS[ours.loop]}"
        rows.append(_sdk_row(ours, f"{ours.calls / published.calls:.1f}", target))
        rows.append(_sdk_row(ours_v2, f"{ours_v2.calls / published.calls:.1f}", ""))
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


def of_server(v1: ServerCapacity, v2: ServerCapacity) -> Table:
    """What the server carries, with agents on either protocol."""
    return Table(
        "Server: calls on one core until ticks are 5 ms late",
        ("", "agents on v2", "agents on v1", "target"),
        [
            ("calls", f"{v2.calls}", f"{v1.calls}", ""),
            ("tick lateness p99, ms", f"{v2.p99_ms:.2f}", f"{v1.p99_ms:.2f}", "5"),
            ("CPU % per call", f"{v2.cpu_percent:.3f}", f"{v1.cpu_percent:.3f}", "0.25"),
            ("kB per call", f"{v2.memory_kb:.0f}", f"{v1.memory_kb:.0f}", ""),
            (
                "Python functions called per call and tick",
                f"{v2.python_calls:.0f}",
                f"{v1.python_calls:.0f}",
                "",
            ),
        ],
    )


def of_sip(one: SipCapacity) -> Table:
    """What the server carries of SIP phones."""
    return Table(
        "Phones: SIP calls with G.711 and an agent each on one core until ticks are 5 ms late",
        ("", "agents on v2", "target"),
        [
            ("calls", f"{one.calls}", ""),
            ("tick lateness p50, ms", f"{one.p50_ms:.2f}", ""),
            ("tick lateness p99, ms", f"{one.p99_ms:.2f}", "5"),
            ("CPU % per call", f"{one.cpu_percent:.3f}", "0.25"),
            ("kB per call", f"{one.memory_kb:.0f}", ""),
            ("Python functions called per call and tick", f"{one.python_calls:.0f}", ""),
            ("packets not there in time", f"{one.missing:.2%}", ""),
            ("INVITE to 200 p50, ms", f"{one.setup_p50_ms:.1f}", ""),
            ("INVITE to 200 p99, ms", f"{one.setup_p99_ms:.1f}", ""),
            ("phone to agent and back, ms", f"{one.delay_ms:.1f}", ""),
            ("and in the jitter buffer, ms", f"{one.depth_ms:.1f}", ""),
        ],
    )


def of_profile(what: str, profile: Sequence[tuple[str, float]]) -> Table:
    """Where the server's time goes."""
    return Table(
        f"{what}: where the time goes (cProfile, which makes short functions look dearer)",
        ("function, without what it calls", "share"),
        [(name, f"{share:.1%}") for name, share in profile],
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


def of_heard(one: HeardErrors) -> Table:
    """What interruptions said was heard, beside what was heard."""
    return Table(
        "Heard position: what interrupt() says, less what reached the phone's ear",
        ("interruptions", "largest error, ticks", "mean error, ms", "exact to a tick"),
        [
            (
                str(one.interruptions),
                f"{one.worst_ms / 20:.2f}",
                f"{one.mean_ms:.2f}",
                f"{one.within_a_tick:.1%}",
            )
        ],
    )


def of_stalls(rows: Sequence[StallGaps]) -> Table:
    """Gaps while the agent's event loop is blocked."""
    leads = sorted({row.lead_ms for row in rows})
    blocks = sorted({row.block_ms for row in rows})
    found = {(row.block_ms, row.lead_ms): row for row in rows}
    return Table(
        "Gaps per minute while the agent's event loop is blocked at random, once a second",
        ("blocked for", *(f"lead {lead_ms} ms" for lead_ms in leads)),
        [
            (
                f"{block_ms} ms",
                *(
                    f"{found[block_ms, lead_ms].gaps_per_minute:.0f}"
                    f" ({found[block_ms, lead_ms].mean_gap_ms:.0f} ms)"
                    for lead_ms in leads
                ),
            )
            for block_ms in blocks
        ],
    )


def of_outages(one: Outages) -> Table:
    """What a cut socket costs."""
    return Table(
        "A media socket is cut while the agent talks, milliseconds",
        ("", "p50", "p99", "worst"),
        [
            ("silence at the phone's ear", *_three(one.silence_ms)),
            ("until the client goes on", *_three(one.resumed_ms)),
        ],
    )


def _three(values_ms: Sequence[float]) -> tuple[str, str, str]:
    return (
        f"{percentile(values_ms, 50):.1f}",
        f"{percentile(values_ms, 99):.1f}",
        f"{max(values_ms):.1f}",
    )
