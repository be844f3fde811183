"""The picture of a call: both voices, the agent's buffer, an interruption or what a test found.

Not here: the numbers in it (`measure.py`, `testing/conversation.py`). The only module that knows
matplotlib.
Colours are Okabe and Ito's, told apart by colour-blind readers too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_server.call.report import CallReport
from telcoflow_server.cli.client import AudioTimeline
from telcoflow_server.cli.measure import Interruption, Recording, Samples

CALLER_COLOUR, AGENT_COLOUR, BUFFER_COLOUR = "#0072B2", "#D55E00", "#009E73"
ONSET_COLOUR, CLEAR_COLOUR, GAP_COLOUR = "#56B4E9", "#000000", "#CC79A7"
FAULT_COLOUR = "#E69F00"

CALLER_LANE, AGENT_LANE, LANE_HEIGHT = 1.0, -1.0, 0.9
"""Heights of the two voices in one drawing, and of the loudest sample of both."""

CLOSE_UP_MS = (-400.0, 400.0)
"""What the close-up shows, around the clear; around a fault, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPicture:
    """All that the picture shows. `recording` has the caller first, then the agent."""

    recording: Recording
    report: CallReport
    timeline: AudioTimeline
    interruption: Interruption
    added_delay_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPicture:
    """A call in which something took too long.

    Attributes:
        recording: The caller first, then the agent.
        answered_ms: When the call was answered.
        title: What is wrong.
        begin_ms: From when on it was right.
        limit_ms: Until when it would have been.
        end_ms: When it was over.
    """

    recording: Recording
    answered_ms: float
    title: str
    begin_ms: float
    limit_ms: float
    end_ms: float


def draw_fault(picture: FaultPicture, file: Path) -> None:
    """Write the picture as PNG. Raises OSError."""
    figure = Figure(figsize=(13, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    voices, close_up = figure.subplots(2, 1, height_ratios=(1, 1.2))
    recording = picture.recording
    whole_ms = max(1.0, recording.channels[0].size * 1000 / recording.sample_rate_hz)
    from_ms, to_ms = picture.begin_ms + CLOSE_UP_MS[0], picture.end_ms + CLOSE_UP_MS[1]
    for axes, start_ms, end_ms in ((voices, 0.0, whole_ms), (close_up, from_ms, to_ms)):
        _draw_voices(axes, recording, start_ms, end_ms, scale_s=True)
        axes.axvspan(
            picture.limit_ms / 1000,
            picture.end_ms / 1000,
            color=FAULT_COLOUR,
            alpha=0.4,
            lw=0,
            zorder=0,
        )
        axes.axvline(picture.begin_ms / 1000, color=ONSET_COLOUR, lw=1.5)
        axes.axvline(picture.limit_ms / 1000, color=CLEAR_COLOUR, lw=1.5)
        axes.set_xlim(start_ms / 1000, end_ms / 1000)
    _draw_answer(voices, picture.answered_ms / 1000)
    voices.set_title("The call", loc="left")
    close_up.set_title("Close up: what was allowed, and what was more than that", loc="left")
    close_up.set_xlabel("time of the call, s")
    figure.suptitle(picture.title, fontsize=13, fontweight="bold", wrap=True)
    figure.savefig(file, dpi=110)


def draw(picture: CallPicture, file: Path) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(13, 8.2), layout="constrained")
    FigureCanvasAgg(figure)
    voices, buffer, close_up = figure.subplots(3, 1, height_ratios=(2.3, 1, 1.7))
    buffer.sharex(voices)
    _draw_call(voices, picture)
    _draw_buffer(buffer, picture)
    _draw_close_up(close_up, picture)
    found = picture.interruption
    figure.suptitle(
        f"Silent {found.stop_ms:.0f} ms after the clear  ·  "
        f"{picture.added_delay_ms:.0f} ms added delay, caller to agent and back  ·  "
        f"{len(picture.report.gaps)} gaps",
        fontsize=15,
        fontweight="bold",
    )
    figure.savefig(file, dpi=110)


def _draw_call(axes: Axes, picture: CallPicture) -> None:
    found = picture.interruption
    _draw_voices(axes, picture.recording, 0.0, picture.report.duration_ms, scale_s=True)
    axes.axvline(found.onset_ms / 1000, color=ONSET_COLOUR, lw=1.5)
    axes.axvline(found.clear_ms / 1000, color=CLEAR_COLOUR, lw=1.5)
    axes.annotate(
        "the caller interrupts,\nthe agent stops",
        (found.clear_ms / 1000, AGENT_LANE / 2),
        xytext=(18, 0),
        textcoords="offset points",
        va="center",
        arrowprops={"arrowstyle": "->"},
    )
    answered_s = next(s.at_ms for s in picture.report.states if s.name == "ANSWERED") / 1000
    _draw_answer(axes, answered_s)
    axes.set_title("The call", loc="left")
    axes.set_xlim(0, picture.report.duration_ms / 1000)
    axes.tick_params(labelbottom=False)


def _draw_answer(axes: Axes, answered_s: float) -> None:
    axes.axvline(answered_s, color="0.6", lw=0.8, ls=":")
    axes.annotate(
        "answered",
        (answered_s, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color="0.4",
    )


def _draw_buffer(axes: Axes, picture: CallPicture) -> None:
    """Draw what waits at the server, what is in flight up to the lead, what was heard, gaps."""
    timeline, clear_s = picture.timeline, picture.interruption.clear_ms / 1000
    time_s = np.arange(len(timeline.queued_ms)) * TICK_MS / 1000
    queued, lead = np.array(timeline.queued_ms), np.array(timeline.lead_ms)
    is_talking = queued > 0
    style: dict[str, Any] = {"step": "post", "linewidth": 0}
    axes.fill_between(time_s, queued, color=BUFFER_COLOUR, alpha=0.6, label="queued", **style)
    axes.fill_between(
        time_s,
        queued,
        lead,
        where=is_talking,
        color=BUFFER_COLOUR,
        alpha=0.2,
        label="in flight",
        **style,
    )
    axes.step(time_s, lead, where="post", color=BUFFER_COLOUR, lw=1, ls="--", label="lead")
    for gap in picture.report.gaps:
        begin_s, end_s = gap.at_ms / 1000, (gap.at_ms + gap.ms) / 1000
        axes.axvspan(begin_s, end_s, color=GAP_COLOUR, alpha=0.5, lw=0)
        axes.annotate(
            f"{gap.ms} ms: {gap.cause.replace('_', ' ')}",
            (begin_s, 0.97),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="right",
            va="top",
            fontsize=7,
        )
    axes.axvline(clear_s, color=CLEAR_COLOUR, lw=1.5)
    axes.set_ylim(0, max(1.0, lead.max(initial=0), queued.max(initial=0)) * 1.6)
    axes.set_ylabel("agent audio\nat the server, ms")
    axes.set_xlabel("time of the call, s")
    _tidy(axes)
    _draw_heard(axes, picture, time_s)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, ncols=3, loc="upper left", fontsize=8, frameon=False)


def _draw_heard(axes: Axes, picture: CallPicture, time_s: np.ndarray) -> None:
    """Draw, on an axis of seconds, how much of the utterance in progress was heard."""
    heard = axes.twinx()
    said_s = np.array(picture.timeline.said_ms) / 1000
    heard.plot(time_s, said_s, color=AGENT_COLOUR, lw=1.2)
    heard.set_ylim(0, max(1.0, said_s.max(initial=0.0)) * 1.6)
    heard.set_ylabel("heard of the\nutterance, s", color=AGENT_COLOUR)
    heard.spines[["top", "left"]].set_visible(False)
    clear = next(c for c in picture.report.clears if c.at_ms == picture.interruption.clear_ms)
    heard.annotate(
        f"heard {clear.heard_ms / 1000:.2f} s:\nwhat the model is told",
        (clear.at_ms / 1000, clear.heard_ms / 1000),
        xytext=(18, -5),
        textcoords="offset points",
        va="top",
        fontsize=9,
        color=AGENT_COLOUR,
        arrowprops={"arrowstyle": "->", "color": AGENT_COLOUR},
    )


def _draw_close_up(axes: Axes, picture: CallPicture) -> None:
    found = picture.interruption
    start, end = (found.clear_ms + offset for offset in CLOSE_UP_MS)
    _draw_voices(axes, picture.recording, start, end, origin_ms=found.clear_ms)
    onset = found.onset_ms - found.clear_ms
    axes.axvline(onset, color=ONSET_COLOUR, lw=1.5)
    axes.axvline(0, color=CLEAR_COLOUR, lw=1.5)
    axes.axvspan(0, found.stop_ms, color=AGENT_COLOUR, alpha=0.25, lw=0)
    for x, words in (
        (onset, f"first sound of the interruption\n{found.detector_ms:.0f} ms before the clear"),
        (0.0, f"clear: last sound of the agent\n{found.stop_ms:.0f} ms later"),
    ):
        axes.annotate(
            words,
            (x, 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(5, 0) if x == 0 else (-5, 0),
            textcoords="offset points",
            ha="left" if x == 0 else "right",
            fontsize=9,
        )
    axes.set_ylim(-2.7, 2.05)  # room for the words
    axes.set_title("The interruption, close up", loc="left")
    axes.set_xlim(*CLOSE_UP_MS)
    axes.set_xlabel("time from the clear, ms")


def _draw_voices(
    axes: Axes,
    recording: Recording,
    start_ms: float,
    end_ms: float,
    *,
    origin_ms: float = 0.0,
    scale_s: bool = False,
) -> None:
    """Draw both voices, one above the other, with one time axis."""
    caller, agent = recording.channels
    loudest = max(int(np.abs(voice.astype(np.int32)).max(initial=1)) for voice in (caller, agent))
    for lane, samples, colour in (
        (CALLER_LANE, caller, CALLER_COLOUR),
        (AGENT_LANE, agent, AGENT_COLOUR),
    ):
        time_ms, low, high = _envelope(samples, recording.sample_rate_hz, start_ms, end_ms)
        time = (time_ms - origin_ms) / (1000 if scale_s else 1)
        unit = LANE_HEIGHT / loudest
        axes.fill_between(time, lane + low * unit, lane + high * unit, color=colour, linewidth=0.4)
    axes.axhline(0, color="0.85", lw=0.8, zorder=0)
    axes.set_ylim(-2.05, 2.05)
    axes.set_yticks((CALLER_LANE, AGENT_LANE), ("caller", "agent"))
    for label, colour in zip(axes.get_yticklabels(), (CALLER_COLOUR, AGENT_COLOUR), strict=True):
        label.set(color=colour, fontweight="bold", fontsize=11)
    _tidy(axes)


def _envelope(
    samples: Samples, sample_rate_hz: int, start_ms: float, end_ms: float, points: int = 1600
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return time and extremes of `points` stretches: what a screen can show of many samples."""
    first, last = (round(ms * sample_rate_hz / 1000) for ms in (start_ms, end_ms))
    part = np.zeros(last - first, np.float32)
    there = samples[max(first, 0) : max(last, 0)]
    offset = max(-first, 0)
    part[offset : offset + len(there)] = there
    stretch = max(1, len(part) // points)
    rows = part[: len(part) // stretch * stretch].reshape(-1, stretch)
    time_ms = start_ms + np.arange(len(rows)) * stretch * 1000 / sample_rate_hz
    return time_ms, rows.min(axis=1), rows.max(axis=1)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="0.92", lw=0.8)
    axes.set_axisbelow(True)
