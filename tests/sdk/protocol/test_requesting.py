from __future__ import annotations

from telcoflow_sdk.audio.format import AudioFormat
from telcoflow_sdk.audio.outbox import Outbox
from telcoflow_sdk.protocol.messages import BufferRequestData
from telcoflow_sdk.protocol.requesting import RequestingLink


def link(channels: int = 1) -> tuple[RequestingLink, Outbox]:
    outbox = Outbox(AudioFormat(), 10_000)
    return RequestingLink(outbox, channels), outbox


def credit_bytes(outbox: Outbox) -> int:
    return outbox.statistics().credit_bytes


def test_a_request_is_credit_and_so_is_the_same_message_again() -> None:
    requesting, outbox = link()

    assert not requesting.grant_again(b"request")
    requesting.grant(b"request", BufferRequestData(960))
    assert requesting.grant_again(b"request")
    assert not requesting.grant_again(b"another")

    assert credit_bytes(outbox) == 1920


def test_a_request_for_another_channel_is_none() -> None:
    requesting, outbox = link()

    requesting.grant(b"request", BufferRequestData(960, channel_id=1))

    assert credit_bytes(outbox) == 0
    assert not requesting.grant_again(b"request")


def test_each_channel_has_half_a_sample_of_its_own() -> None:
    requesting, _ = link(channels=2)

    received = [requesting.receive_audio(m) for m in (b"\0abc", b"\1xyz", b"\0d", b"\1!")]

    assert received == [b"ab", b"xy", b"cd", b"z!"]


def test_what_is_no_audio_of_this_call_is_none() -> None:
    requesting, _ = link()

    assert [requesting.receive_audio(m) for m in (b"", b"\0", b"\1ab")] == [None, None, None]
