"""How much is kept ahead follows the gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.protocol.commands import GapCause
from telcoflow_server.media.lead import (
    MAX_LEAD_MS,
    MAX_PREFILL_MS,
    MIN_LEAD_MS,
    MIN_PREFILL_MS,
    START_LEAD_MS,
    STEADY_TICKS,
    STEP_MS,
    Lead,
    LeadRange,
)

LATE = [GapCause.CLIENT_LATE, GapCause.NETWORK_LATE, GapCause.UNKNOWN]


def sound(lead: Lead, ticks: int) -> None:
    for _ in range(ticks):
        lead.note_sound()


@pytest.mark.parametrize("cause", LATE)
def test_late_audio_is_fetched_and_held_one_step_earlier(cause: GapCause) -> None:
    lead = Lead(LeadRange())

    lead.note_gap(cause)

    assert lead.lead_ms == START_LEAD_MS + STEP_MS
    assert lead.prefill_ms == MIN_PREFILL_MS + STEP_MS


def test_audio_that_was_not_made_is_held_longer_and_not_fetched_earlier() -> None:
    lead = Lead(LeadRange())

    lead.note_gap(GapCause.AGENT_SILENT)

    assert lead.lead_ms == START_LEAD_MS
    assert lead.prefill_ms == MIN_PREFILL_MS + STEP_MS


def test_steady_sound_brings_both_down_one_step_at_a_time() -> None:
    lead = Lead(LeadRange())
    lead.note_gap(GapCause.CLIENT_LATE)
    lead.note_gap(GapCause.CLIENT_LATE)

    sound(lead, STEADY_TICKS - 1)
    assert (lead.lead_ms, lead.prefill_ms) == (START_LEAD_MS + 40, MIN_PREFILL_MS + 40)
    sound(lead, 1)
    assert (lead.lead_ms, lead.prefill_ms) == (START_LEAD_MS + 20, MIN_PREFILL_MS + 20)
    sound(lead, STEADY_TICKS)
    assert (lead.lead_ms, lead.prefill_ms) == (START_LEAD_MS, MIN_PREFILL_MS)


def test_a_gap_begins_the_steady_time_anew() -> None:
    lead = Lead(LeadRange())
    sound(lead, STEADY_TICKS - 1)

    lead.note_gap(GapCause.AGENT_SILENT)
    sound(lead, STEADY_TICKS - 1)

    assert lead.lead_ms == START_LEAD_MS


def test_a_range_of_its_own_bounds_the_lead() -> None:
    lead = Lead(LeadRange(start_ms=80, min_ms=80, max_ms=100))
    for _ in range(5):
        lead.note_gap(GapCause.NETWORK_LATE)
    assert lead.lead_ms == 100

    sound(lead, 5 * STEADY_TICKS)

    assert lead.lead_ms == 80


@given(st.lists(st.one_of(st.sampled_from(list(GapCause)), st.integers(1, 600)), max_size=40))
def test_nothing_leaves_the_range(script: list[GapCause | int]) -> None:
    lead = Lead(LeadRange())

    for step in script:
        if isinstance(step, GapCause):
            lead.note_gap(step)
        else:
            sound(lead, step)
        assert MIN_LEAD_MS <= lead.lead_ms <= MAX_LEAD_MS
        assert MIN_PREFILL_MS <= lead.prefill_ms <= MAX_PREFILL_MS
