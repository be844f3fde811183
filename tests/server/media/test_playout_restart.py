"""How long a gap lasts: no longer than the audio takes to be there again."""

from __future__ import annotations

import numpy as np

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_server.media.lead import LeadRange
from telcoflow_server.media.playout import Playout
from tests.support.media import FRAME, speech


def test_a_restart_does_not_wait_for_more_than_the_lead() -> None:
    """With a lead of 40 ms a prefill of 60 was waited for, in vain, after every gap."""
    playout = Playout(AudioFormat(8_000), LeadRange(start_ms=40, min_ms=40, max_ms=40))
    out = np.zeros(FRAME, np.int16)
    tick = 0
    for _ in range(3):  # each gap makes the prefill longer, up to 60 ms
        playout.append(speech(2 * FRAME), more=True)
        while playout.take(tick, out):
            tick += 1
        tick += 2  # two ticks without audio

        playout.append(speech(2 * FRAME), more=True, delay_ms=50)

        assert playout.take(tick, out), "the whole lead is here: nothing else can come"
        tick += 1
        while playout.take(tick, out):
            tick += 1
