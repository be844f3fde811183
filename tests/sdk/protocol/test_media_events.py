from __future__ import annotations

import pytest

from telcoflow_sdk.protocol.commands import DialProgress, GapCause
from telcoflow_sdk.protocol.media_events import (
    ErrorReported,
    GapHeard,
    MarkReached,
    Progressed,
    Report,
    read_report,
)
from telcoflow_sdk.protocol.messages import CallEventData


@pytest.mark.parametrize(
    ("data", "report"),
    [
        (CallEventData("call.error", error_code="X", error_message="y"), ErrorReported("X", "y")),
        (CallEventData("call.error"), ErrorReported("", "")),
        (CallEventData("call.progress", state="ringing"), Progressed(DialProgress.RINGING)),
        (CallEventData("mark.played", name="a", at_ms=12.5), MarkReached("a", 12.5)),
        (CallEventData("mark.played", name="a"), MarkReached("a", 0.0)),
        (CallEventData("mark.cleared", name="a"), MarkReached("a", None)),
        (CallEventData("mark.cleared", name="a", at_ms=12.5), MarkReached("a", None)),
        (
            CallEventData("media.gap", at_ms=1.0, ms=20.0, cause="client_late"),
            GapHeard(1.0, 20.0, GapCause.CLIENT_LATE),
        ),
        (CallEventData("media.gap"), GapHeard(0.0, 0.0, GapCause.UNKNOWN)),
        (
            CallEventData("media.gap", ms=20.0, cause="from the future"),
            GapHeard(0.0, 20.0, GapCause.UNKNOWN),
        ),
    ],
)
def test_what_is_known_is_read(data: CallEventData, report: Report) -> None:
    assert read_report(data) == report


@pytest.mark.parametrize(
    "data",
    [
        CallEventData("from.the.future"),
        CallEventData("call.progress"),
        CallEventData("call.progress", state="from the future"),
    ],
)
def test_what_is_not_known_is_none(data: CallEventData) -> None:
    assert read_report(data) is None
