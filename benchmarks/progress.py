"""What a benchmark shows while it runs: one line per step, the last one alive.

Not here: results (`tables.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(highlight=False)


class Progress:
    """The step under way."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._status = console.status(title)

    def note(self, text: str) -> None:
        """Show how far the step has come."""
        if console.is_terminal:
            self._status.update(f"{self._title}  [dim]{text}[/]")
        else:
            console.print(f"    {text}")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the block runs, and how long it took."""
        started_s = time.monotonic()
        with self._status:
            if not console.is_terminal:
                console.print(self._title)
            yield
        console.print(f"{self._title}  [dim]{time.monotonic() - started_s:.0f} s[/]")
