"""How much was heard of an agent's utterance: from where it counts, and what a clear leaves of it.

Not here: what is played (`playout.py`). Implements "Utterances" of docs/reference/wire-v2.md.
"""

from __future__ import annotations


class Heard:
    """Counts the audible samples of the utterance in progress, or of the last one.

    Attributes:
        samples: So many, to which who plays adds; 0 after a clear.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._is_new_utterance = True
        self._has_explicit_ends = False
        self._cleared: int | None = None  # `samples` at a clear, until more audio comes

    @property
    def up_to_clear(self) -> int:
        """What `samples` is or, right after a clear, was: what was heard of what was cleared."""
        return self.samples if self._cleared is None else self._cleared

    def begin(self) -> None:
        """Audio comes after none: another utterance's, unless the client says where they end."""
        self._cleared = None
        if self._is_new_utterance or not self._has_explicit_ends:
            self.samples = 0
        self._is_new_utterance = False

    def expect_ends(self) -> None:
        """The client says where utterances end: silence does not end them any more."""
        self._has_explicit_ends = True

    def finish(self) -> None:
        """The utterance is over."""
        self._is_new_utterance = True

    def clear(self) -> None:
        """What was not heard yet is dropped."""
        self._cleared = self.samples if self._cleared is None else 0
        self.samples = 0
        self.finish()
