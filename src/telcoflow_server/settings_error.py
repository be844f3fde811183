"""What is said of a setting that cannot be.

Not here: the settings (`settings.py`, `sip_settings.py`).
"""

from __future__ import annotations


class SettingsError(ValueError):
    """A setting that cannot be: `key` is its dotted name; the text never holds a secret."""

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        self.problem = problem
        super().__init__(f"{key} {problem}")


def check_range(key: str, value: float, low: float, high: float) -> None:
    """Raise `SettingsError` unless a value is within its range; not a number is in none."""
    if not low <= value <= high:
        raise SettingsError(key, f"must be {low} to {high}, not {value}")


def one_of(names: tuple[str, ...]) -> str:
    """Return names as English lists alternatives."""
    return ", ".join(names[:-1]) + " or " + names[-1]
