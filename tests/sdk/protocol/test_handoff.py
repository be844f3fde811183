from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.format import CHANNELS, SAMPLE_RATES_HZ
from telcoflow_sdk.protocol.handoff import HandedCall, build_handed_call, parse_handed_call
from telcoflow_sdk.protocol.messages import CallIn

CALL = CallIn(
    session_id="s1", call_id="c1", url="wss://host/c1", token="t", caller="+1555", callee=""
)
HANDED = HandedCall(CALL, 16_000, "isolated")


@given(
    call=st.builds(CallIn, *[st.text()] * 4, caller=st.none() | st.text(), callee=st.text()),
    rate_hz=st.sampled_from(SAMPLE_RATES_HZ),
    mode=st.sampled_from(sorted(CHANNELS)),
)
def test_what_is_given_is_what_is_taken(call: CallIn, rate_hz: int, mode: str) -> None:
    handed = HandedCall(call, rate_hz, mode)

    assert parse_handed_call(build_handed_call(handed)) == handed


def test_bytes_are_as_good_as_text() -> None:
    assert parse_handed_call(build_handed_call(HANDED).encode()) == HANDED


@pytest.mark.parametrize(
    "fields",
    [{"version": 2}, {"sampleRate": 44_100}, {"audioMode": "stereo"}, {"call": None}],
)
def test_what_this_version_does_not_understand_is_refused(fields: dict[str, Any]) -> None:
    text = json.dumps(json.loads(build_handed_call(HANDED)) | fields)

    with pytest.raises(ValueError, match="away"):
        parse_handed_call(text)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "secret-token", b"\xff", '{"call": {"token": 5}}']
)
def test_what_nobody_gave_away_is_refused_and_not_quoted(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="no call") as caught:
        parse_handed_call(text)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="no call"):
        parse_handed_call('{"call": ' + "[" * 100_000)
