"""What people see of a call: a few lines while it runs, a table when it is over.

Not here: where the numbers come from (`client.py`).
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from telcoflow_sdk.protocol.codes import NORMAL_END_REASONS, EndReason
from telcoflow_server.api.sandbox import LiveLine
from telcoflow_server.call.report import CallReport

BAR_COLUMNS = 32

FLOOR_DB = -60.0
"""The empty end of a level bar; full scale is 0 dB."""

QUEUE_BAR_MS = 200.0
"""The full end of the queue's bar: the most that is ever asked ahead."""

SHOWN = 8
"""How many of a kind the table names; `--json` has all."""

WHY_NOT = {
    EndReason.CALLER_HUNG_UP: "the caller hung up before an agent answered",
    EndReason.NO_AGENT: (
        "no agent took the call: start one for this connector, for example examples/echo.py"
    ),
    EndReason.NO_ANSWER: "an agent took the call and did not answer it in time",
    EndReason.AGENT_CLOSED: "the agent closed the call without answering it",
    EndReason.AGENT_DISCONNECTED: "the agent ended the call without answering it",
    EndReason.AGENT_REJECTED: "the agent rejected the call",
    EndReason.AGENT_LOST: "the agent's media link was lost",
    EndReason.CALLEE_HUNG_UP: "the callee hung up",
    EndReason.CALLEE_UNANSWERED: "the person called did not answer",
    EndReason.CALLEE_BUSY: "the person called was busy",
    EndReason.CALLEE_DECLINED: "the person called declined",
    EndReason.MAX_DURATION: "the call lasted as long as a call may (limits.call_duration_s)",
    EndReason.SESSION_CLOSED: "the call's session was closed through REST",
    EndReason.SERVER_SHUTDOWN: "the sandbox was stopped",
    EndReason.SERVER_ERROR: "the sandbox failed; its log says why",
}
"""What to tell whoever placed a call that was not answered, or did not end normally."""


def failure(report: CallReport) -> str | None:
    """Return why an ended call did not go well, or None if it was answered and ended normally."""
    if report.end_reason is None:
        return "the call has not ended"
    if report.answered and report.end_reason in NORMAL_END_REASONS:
        return None
    return WHY_NOT[report.end_reason]


def live_view(line: LiveLine) -> RenderableType:
    """Return a running call as a few lines: state, mode, time, levels, where the agent's audio is.

    The agent's own level is not measured: before there is a callee, it is all that the caller
    hears; after that the rows say what each of the two people hears.
    """
    rows = Table.grid(padding=(0, 1))
    rows.add_column(justify="right", style="dim")
    levels = [("caller", line.spoken_db), ("agent", line.heard_db)]
    if line.callee_spoken_db is not None and line.callee_heard_db is not None:
        levels = [
            ("caller", line.spoken_db),
            ("hears", line.heard_db),
            ("callee", line.callee_spoken_db),
            ("hears", line.callee_heard_db),
        ]
    for who, level_db in levels:
        rows.add_row(who, _bar(level_db - FLOOR_DB, -FLOOR_DB), f"{level_in_words(level_db):>8}")
    rows.add_row("queued", _bar(line.queued_ms, QUEUE_BAR_MS), f"{line.queued_ms:5.0f} ms")
    rows.add_row("in flight", _bar(line.in_flight_ms, QUEUE_BAR_MS), f"{line.in_flight_ms:5.0f} ms")
    rows.add_row("lead", _bar(line.lead_ms, QUEUE_BAR_MS), f"{line.lead_ms:5.0f} ms")
    rows.add_row(
        "heard", Text("of what the agent is saying", "dim"), f"{line.said_ms / 1000:6.2f} s"
    )
    if line.last_gap is not None:
        gap = line.last_gap
        words = f"{line.gaps}, the last {gap.ms} ms at {gap.at_ms / 1000:.2f} s: {gap.cause}"
        rows.add_row("gaps", Text(words))
    mode = f" {line.mode}" if line.mode else ""
    headline = Text.assemble((line.state, "bold"), f"{mode}  {line.at_ms / 1000:.1f} s")
    return Group(headline, rows)


def summary(report: CallReport) -> Table:
    """Return an ended call as a table."""
    table = Table(title="Call", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column()
    states = ", ".join(f"{state.name} {state.at_ms / 1000:.2f} s" for state in report.states)
    table.add_row("states", states)
    if report.modes:
        modes = ", ".join(
            f"{entered.mode} {entered.at_ms / 1000:.2f} s" for entered in report.modes
        )
        table.add_row("modes", modes)
    table.add_row("duration", f"{report.duration_ms / 1000:.2f} s")
    table.add_row("ended", str(report.end_reason))
    table.add_row(
        "frames", f"{report.frames_to_agent} to the agent, {report.frames_from_agent} from"
    )
    table.add_row("gaps", gaps_in_words(report))
    clears = [
        f"{clear.at_ms / 1000:.2f} s, after {clear.heard_ms / 1000:.2f} s of the utterance"
        for clear in report.clears[:SHOWN]
    ]
    if len(report.clears) > SHOWN:
        clears.append(f"and {len(report.clears) - SHOWN} more")
    table.add_row("clears", "\n".join(clears) or "none")
    table.add_row("lead", f"{report.lead_ms:.0f} ms, prefill {report.prefill_ms:.0f} ms")
    if report.outages:
        table.add_row("outages", f"{report.outages}, {report.outage_ms} ms in all")
    table.add_row("tick lateness", lateness_in_words(report))
    return table


def gaps_in_words(report: CallReport) -> str:
    """Return how often the agent's speech was broken, and whose fault it was."""
    if not report.gap_count:
        return "none"
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(report.gap_causes.items()))
    return f"{report.gap_count}, {report.gap_ms} ms in all ({causes})"


def lateness_in_words(report: CallReport) -> str:
    """Return how late the server's clock woke."""
    lateness = report.tick_lateness_ms
    return f"p50 {lateness.p50:.2f} ms, p99 {lateness.p99:.2f} ms"


def _bar(value: float, full: float) -> ProgressBar:
    return ProgressBar(total=full, completed=max(0.0, min(value, full)), width=BAR_COLUMNS)


def level_in_words(level_db: float) -> str:
    """Return a level as people read it."""
    return "silent" if level_db <= FLOOR_DB else f"{level_db:.0f} dB"
