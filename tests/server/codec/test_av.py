"""G.722 and Opus: lengths, delay, sound, and payloads that are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from telcoflow_server.codec.opus import payload_units
from telcoflow_server.codec.stream import CodecError, Decoder, Encoder

pytest.importorskip("av", reason="PyAV is not installed")

from telcoflow_server.codec.av import (
    G722_SAMPLE_RATE_HZ,
    OPUS_SAMPLE_RATE_HZ,
    G722Decoder,
    G722Encoder,
    OpusDecoder,
    OpusEncoder,
)


def voice(rate_hz: int, seconds: float = 2.0) -> NDArray[np.int16]:
    """Return harmonics of a gliding pitch, louder and quieter as syllables are."""
    at = np.arange(round(rate_hz * seconds)) / rate_hz
    phase = 2 * np.pi * (110 * at + 20 * np.sin(2 * np.pi * 0.7 * at))
    wave = sum(np.sin(n * phase) / n for n in range(1, 24))
    return np.asarray(np.rint(6_000 * wave * (0.6 + 0.4 * np.sin(9 * at))), dtype=np.int16)


def through(encoder: Encoder, decoder: Decoder, frames: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.concatenate([decoder.decode(encoder.encode(frame)) for frame in frames])


def aligned(sent: NDArray[np.int16], heard: NDArray[np.int16], longest: int) -> tuple[int, float]:
    """Return the delay in samples at which what is heard fits best, and its SNR in dB there."""
    begin, end = sent.size // 4, sent.size // 2
    wanted = sent[begin:end].astype(np.float64)
    noise = [
        float(((heard[begin + delay : end + delay] - wanted) ** 2).sum())
        for delay in range(longest)
    ]
    best = int(np.argmin(noise))
    return best, float(10 * np.log10(wanted @ wanted / noise[best]))


def test_g722_is_64_kbits_and_two_samples_a_byte() -> None:
    encoder, decoder = G722Encoder(), G722Decoder()
    payloads = [encoder.encode(np.zeros(320, dtype=np.int16)) for _ in range(5)]

    assert [len(payload) for payload in payloads] == [160] * 5
    assert [decoder.decode(payload).shape for payload in payloads] == [(320,)] * 5


def test_g722_sounds_as_it_should() -> None:
    sent = voice(G722_SAMPLE_RATE_HZ)

    heard = through(G722Encoder(), G722Decoder(), sent.reshape(-1, 320))
    delay, ratio_db = aligned(sent, heard, 60)

    assert heard.size == sent.size
    assert delay == 22  # of its two filters, 1.4 ms
    assert ratio_db >= 40


def test_opus_has_a_payload_for_every_frame_at_once() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    frames = voice(OPUS_SAMPLE_RATE_HZ, 1.0).reshape(-1, 480)
    payloads = [encoder.encode(frame) for frame in frames]

    assert {payload_units(payload) for payload in payloads} == {960}
    assert {decoder.decode(payload).shape for payload in payloads} == {(480,)}
    assert sum(map(len, payloads)) * 8 < 48_000  # in one second


def test_opus_sounds_as_it_should() -> None:
    sent = voice(OPUS_SAMPLE_RATE_HZ)

    heard = through(OpusEncoder(), OpusDecoder(), sent.reshape(-1, 480))
    delay, ratio_db = aligned(sent, heard, 400)

    assert heard.size == sent.size
    assert delay <= OPUS_SAMPLE_RATE_HZ * 8 // 1000
    assert ratio_db >= 18


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_g722_takes_packets_of_any_ptime(ptime_ms: int) -> None:
    sent = voice(G722_SAMPLE_RATE_HZ, 1.2)
    encoder, one, other = G722Encoder(), G722Decoder(), G722Decoder()
    stream = b"".join(encoder.encode(frame) for frame in sent.reshape(-1, 320))
    whole = one.decode(stream)

    size = 8 * ptime_ms
    parts = [other.decode(stream[at : at + size]) for at in range(0, len(stream), size)]

    assert {part.size for part in parts} == {16 * ptime_ms}
    assert (np.concatenate(parts) == whole).all()


def opus_packets(frame_ms: int, count: int) -> list[bytes]:
    """Return payloads of a length of their own, as libopus makes them for another far end."""
    import av
    from av.audio.codeccontext import AudioCodecContext

    context: AudioCodecContext = AudioCodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format = 48_000, "stereo", "s16"
    context.options = {"frame_duration": str(frame_ms)}
    context.open()
    samples = np.repeat(voice(48_000, frame_ms * count / 1000), 2)[np.newaxis]
    size = 2 * 48 * frame_ms
    payloads = []
    for number in range(count):
        part = np.ascontiguousarray(samples[:, number * size : (number + 1) * size])
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, number * 48 * frame_ms
        payloads += [bytes(packet) for packet in context.encode(frame)]
    return payloads


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_opus_takes_packets_of_any_ptime_and_two_channels(frame_ms: int) -> None:
    payloads = opus_packets(frame_ms, 20)
    decoder = OpusDecoder()

    parts = [decoder.decode(payload) for payload in payloads]

    assert {payload_units(payload) for payload in payloads} == {48 * frame_ms}
    assert {part.size for part in parts} == {24 * frame_ms}
    sent = voice(OPUS_SAMPLE_RATE_HZ, frame_ms * 20 / 1000)
    assert aligned(sent, np.concatenate(parts), 400)[1] >= 20


@pytest.mark.parametrize(
    ("make", "samples"),
    [(G722Encoder, 160), (G722Encoder, 321), (OpusEncoder, 320), (OpusEncoder, 0)],
)
def test_frame_of_another_length_is_refused(make: Callable[[], Encoder], samples: int) -> None:
    with pytest.raises(ValueError, match="frame has"):
        make().encode(np.zeros(samples, dtype=np.int16))


def test_frame_may_lie_apart_in_memory() -> None:
    samples = np.repeat(voice(G722_SAMPLE_RATE_HZ, 0.02), 2)

    assert G722Encoder().encode(samples[::2]) == G722Encoder().encode(samples[::2].copy())


@pytest.mark.parametrize(
    ("decoder", "payload", "samples"),
    [(G722Decoder, b"\x55" * 160, 320), (OpusDecoder, b"\xf8\xff\xfe", 480)],
)
def test_empty_payload_is_refused_and_does_not_end_the_stream(
    decoder: Callable[[], Decoder], payload: bytes, samples: int
) -> None:
    stream = decoder()

    with pytest.raises(CodecError):
        stream.decode(b"")

    assert stream.decode(payload).size == samples


@pytest.mark.parametrize("malformed", [b"\xff\xff", b"\xfa\xff"], ids=["too long", "no lengths"])
def test_opus_that_is_none_is_refused_and_the_stream_goes_on(
    malformed: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    sent = voice(OPUS_SAMPLE_RATE_HZ, 0.4).reshape(-1, 480)
    encoder, decoder, undisturbed = OpusEncoder(), OpusDecoder(), OpusDecoder()

    for frame in sent:
        payload = encoder.encode(frame)
        with pytest.raises(CodecError):
            decoder.decode(malformed)
        assert (decoder.decode(payload) == undisturbed.decode(payload)).all()

    assert capfd.readouterr() == ("", "")  # nothing is written by the library either


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_opus_decoder_accepts_or_refuses_any_bytes(payloads: list[bytes]) -> None:
    decoder = OpusDecoder()

    for payload in payloads:
        try:
            samples = decoder.decode(payload)
        except CodecError:
            continue
        assert samples.size * 2 == payload_units(payload)


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=8))
def test_g722_decoder_accepts_any_bytes(payloads: list[bytes]) -> None:
    decoder = G722Decoder()

    for payload in payloads:
        assert decoder.decode(payload).size == 2 * len(payload)
