"""When a call counts as dead because no media comes any more.

Not here: what is done about it, and what counts as media of the far end (`latch.py`).
"""

from __future__ import annotations


class MediaDeadline:
    """The moment at which missing media ends the call, moved on by whatever arrives.

    Not running until media is expected: a phone that rings or holds owes nothing.

    Args:
        timeout_s: How long nothing may come, above 0.

    Attributes:
        at_s: When the call is dead if nothing comes, monotonic seconds; None while not running.
            To be read only.

    Raises:
        ValueError: the timeout is not above 0.
    """

    def __init__(self, timeout_s: float) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout must be above 0 s, not {timeout_s}")
        self._timeout_s = timeout_s
        self.at_s: float | None = None

    def expect(self, now_s: float) -> None:
        """Media is due from now on: the call was answered or resumed. Restarts the time."""
        self.at_s = now_s + self._timeout_s

    def suspend(self) -> None:
        """No media is due: the far end holds the call or may not send."""
        self.at_s = None

    def note_media(self, now_s: float) -> None:
        """RTP or RTCP of the far end arrived; not always told in the order of time."""
        at_s = now_s + self._timeout_s
        if self.at_s is not None and at_s > self.at_s:
            self.at_s = at_s
