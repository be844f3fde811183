from __future__ import annotations

from telcoflow_sdk.protocol.link import LinkError, LinkRefused


def test_refusal_says_status_and_code() -> None:
    refusal = LinkRefused(503, "DRAINING")

    assert isinstance(refusal, LinkError)
    assert (refusal.status, refusal.code, str(refusal)) == (503, "DRAINING", "HTTP 503 DRAINING")


def test_refusal_without_a_code_is_its_status() -> None:
    assert str(LinkRefused(502, "")) == "HTTP 502"
