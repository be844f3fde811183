"""Draw docs/images/modes.png: who hears whom in each mode, from the gain matrices themselves.

Run it after the matrices have changed: `.venv/bin/python scripts/modes_picture.py`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

from telcoflow_server.media.routing import (
    Audience,
    Listener,
    Slot,
    Stage,
    gains,
)

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "modes.png"

PLACES = {Slot.CALLER: (0.14, 0.22), Slot.CALLEE: (0.86, 0.22), Slot.AGENT: (0.5, 0.82)}
COLOURS = {Slot.CALLER: "#0072b2", Slot.CALLEE: "#009e73", Slot.AGENT: "#d55e00"}
"""Okabe and Ito's colours: told apart by everybody."""

MODES = (
    ("answer()\nbefore there is a callee", Stage.ANSWERED, Audience.CALLER),
    ("connect(), barge()\nboth hear the agent", Stage.CONNECTED, Audience.BOTH),
    ("whisper()\nthe callee alone hears the agent", Stage.CONNECTED, Audience.CALLEE),
    ("spy()\nnobody hears the agent", Stage.CONNECTED, Audience.NOBODY),
)


def draw(axes: Axes, title: str, stage: Stage, audience: Audience) -> None:
    """Draw one mode: an arrow from everybody who speaks to everybody who hears it."""
    matrix = gains(stage, audience)
    people = [slot for slot in Slot if slot is not Slot.CALLEE or stage is Stage.CONNECTED]
    for slot in people:
        axes.text(
            *PLACES[slot],
            slot.name.lower(),
            ha="center",
            va="center",
            color="white",
            fontsize=12,
            fontweight="bold",
            bbox={"boxstyle": "round,pad=0.5", "facecolor": COLOURS[slot], "edgecolor": "none"},
            zorder=3,
        )
        for listener in people:
            if matrix[Listener[listener.name], slot]:
                axes.add_patch(_arrow(slot, listener))
    axes.set_title(title, fontsize=12)
    axes.set_xlim(0, 1)
    axes.set_ylim(0.1, 0.95)
    axes.axis("off")


def _arrow(speaker: Slot, listener: Slot) -> FancyArrowPatch:
    return FancyArrowPatch(
        PLACES[speaker],
        PLACES[listener],
        connectionstyle="arc3,rad=0.14",
        arrowstyle="-|>",
        mutation_scale=20,
        linewidth=2.5,
        color=COLOURS[speaker],
        shrinkA=30,
        shrinkB=34,
    )


def main() -> None:
    """Write the picture."""
    figure, panels = plt.subplots(1, len(MODES), figsize=(15, 3.9), layout="constrained")
    for axes, (title, stage, audience) in zip(panels, MODES, strict=True):
        draw(axes, title, stage, audience)
    figure.suptitle("Who hears whom: an arrow leads from the speaker to the listener", fontsize=13)
    figure.savefig(PICTURE, dpi=80)


main()
