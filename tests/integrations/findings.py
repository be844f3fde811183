"""What the tests of a model's example measure: how fast it stops, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Findings:
    """Of each model, by the moment of the interruption."""

    stop_ms: dict[str, float] = field(default_factory=dict)
    told_and_recorded_ms: dict[str, tuple[float, float]] = field(default_factory=dict)

    def note(self, case: str, stop_ms: float, told_ms: float | None, recorded_ms: float) -> None:
        """Keep what one interruption showed.

        Args:
            case: The model and the moment.
            stop_ms: How long it went on at the phone's ear after the service's event.
            told_ms: How much the model was told was heard; None if its API cannot be told.
            recorded_ms: How much the phone has recorded.
        """
        self.stop_ms[case] = stop_ms
        if told_ms is not None:
            self.told_and_recorded_ms[case] = told_ms, recorded_ms

    def lines(self) -> list[str]:
        """Return them in words."""
        lines = []
        for case, stop_ms in sorted(self.stop_ms.items()):
            text = f"{case}: silent at the phone {stop_ms:.0f} ms after the event"
            if case in self.told_and_recorded_ms:
                told_ms, recorded_ms = self.told_and_recorded_ms[case]
                text += f"; told {told_ms:.2f} ms heard, {recorded_ms:.2f} ms recorded"
            lines.append(text)
        return lines
