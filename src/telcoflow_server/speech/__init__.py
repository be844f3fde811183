"""Speech samples for the demo, the examples and the tests: 22 050 Hz, 16-bit, mono.

Not here: how they were made; `scripts/speech` says and does that.
espeak-ng's own voice: its output carries no licence.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

SENTENCE = _HERE / "sentence.wav"
"""7.3 s, without a pause that a listener would take for the end."""

INTERRUPTION = _HERE / "interruption.wav"
"""3.3 s: "Stop, thank you. That is all I wanted to hear."."""

GOODBYE = _HERE / "goodbye.wav"
"""0.6 s: one word."""
