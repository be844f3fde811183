"""Sound files for simulated phones: any 16-bit WAV to mono at the mix rate.

Not here: the WAV header (`telcoflow_sdk.audio.wav`), streams (`resample.py`), playing (`legs/`).
Implements "Placing a call" of docs/reference/rest.md. Offline: looks ahead, so it adds no delay.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray

from telcoflow_sdk.audio.wav import WavError, WavHeader, parse_wav_header
from telcoflow_server.media.plane import MIX_RATE_HZ

Sound = NDArray[np.int16]
"""Mono, 24 kHz, shape (n,)."""

MAX_SOUND_S = 600
"""Ten minutes: 29 MB as a `Sound`, and longer than any script needs."""
MAX_FILE_BYTES = 64 * 1024 * 1024
"""What ten minutes take as they are usually recorded: 48 kHz, one channel."""
MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 192_000

_ZERO_CROSSINGS = 32
_BETA = 9.0
"""Kaiser's: 90 dB of attenuation; with 32 zero crossings either side the transition is 9 % of
the lower rate wide."""
_PASS = 0.91
"""The -6 dB point over the lower Nyquist frequency: it puts the end of the transition there."""
_PHASES = 512
"""Filters between two samples; in between they are interpolated, with an error below -100 dB."""
_OUTPUTS_AT_ONCE = 4_096  # keeps the gathered windows at 20 MB even from 192 kHz

_UNKNOWN_LENGTH = 0x7FFF_0000
"""From here on, what a length says is that its writer did not know: sox writes 0x7FFFF000 to a
pipe and ffmpeg 0xFFFFFFFF."""

_FOREIGN = {
    b"RIFX": "a big-endian WAV file",
    b"RF64": "an RF64 file",
    b"OggS": "an Ogg file",
    b"fLaC": "a FLAC file",
    b"FORM": "an AIFF file",
    b"ID3\x03": "an MP3 file",
    b"ID3\x04": "an MP3 file",
}


class SoundError(ValueError):
    """The bytes are no sound we can play; the text says what they are and what to do."""


def load_sound(data: bytes) -> Sound:
    """Return a WAV file's sound.

    Stereo is brought to mono by the mean of both sides. A mono file at 24 kHz is returned sample
    for sample; other rates keep their band up to 0.4 times the lower rate.

    Args:
        data: The whole file: 16-bit PCM, one or two channels, 4 to 192 kHz, up to ten minutes.

    Returns:
        int16, shape (n,), n above 0; as long as the file's sound, rounded up to a sample.

    Raises:
        SoundError: anything else.
    """
    header = _parse(data)
    samples = np.frombuffer(_audio(data, header), dtype="<i2")
    if header.channels == 1 and header.sample_rate_hz == MIX_RATE_HZ:
        return samples.astype(np.int16)
    mono = samples.reshape(-1, header.channels).mean(axis=1)
    return _to_int16(_convert(mono, header.sample_rate_hz))


def _parse(data: bytes) -> WavHeader:
    if len(data) > MAX_FILE_BYTES:
        raise SoundError(
            f"{len(data)} bytes, more than {MAX_FILE_BYTES}; {_advice(f'-c 1 -r {MIX_RATE_HZ}')}"
        )
    if data[:4] in _FOREIGN:
        raise SoundError(f"this is {_FOREIGN[data[:4]]}; {_advice('-b 16')}")
    try:
        header = parse_wav_header(data)
    except WavError as error:
        raise SoundError(f"{error}; export it again as 16-bit PCM WAV") from None
    if not header.is_pcm:
        raise SoundError(
            f"{header.sample_bits}-bit samples that are not PCM (floating point or compressed);"
            f" {_advice('-b 16 -e signed-integer')}"
        )
    if header.sample_bits != 16:
        raise SoundError(f"{header.sample_bits}-bit PCM; {_advice('-b 16')}")
    if header.channels not in (1, 2):
        raise SoundError(f"{header.channels} channels, not 1 or 2; {_advice('-c 1')}")
    if not MIN_RATE_HZ <= header.sample_rate_hz <= MAX_RATE_HZ:
        raise SoundError(
            f"a sample rate of {header.sample_rate_hz} Hz, not {MIN_RATE_HZ} to {MAX_RATE_HZ};"
            f" {_advice(f'-r {MIX_RATE_HZ}')}"
        )
    return header


def _audio(data: bytes, header: WavHeader) -> bytes:
    held = len(data) - header.data_start
    if held < header.data_bytes < _UNKNOWN_LENGTH:
        raise SoundError(
            f"cut short: {header.data_bytes} bytes of sound announced, {held} found; "
            "send the whole file"
        )
    audio = header.samples_in(data)
    block_bytes = 2 * header.channels
    blocks = len(audio) // block_bytes
    if blocks == 0:
        raise SoundError("no sound in it: the file ends with its header")
    if blocks > MAX_SOUND_S * header.sample_rate_hz:
        raise SoundError(
            f"{blocks / header.sample_rate_hz:.0f} s long, more than {MAX_SOUND_S} s; "
            + _advice("", f" trim 0 {MAX_SOUND_S}")
        )
    return audio[: blocks * block_bytes]


def _advice(options: str, effect: str = "") -> str:
    return f"convert with: sox in.wav {options}{' ' if options else ''}out.wav{effect}"


def _convert(mono: NDArray[np.float64], rate_hz: int) -> NDArray[np.float64]:
    """Bring a whole signal to the mix rate by windowed-sinc interpolation.

    Output m lies at m * rate / mix rate of the input. Its filter is picked, by how far that is
    past an input sample, from a table made once; so every rate takes the same path.

    Source: J. O. Smith, Digital Audio Resampling, "Bandlimited interpolation".
    """
    if rate_hz == MIX_RATE_HZ:
        return mono
    shared = gcd(rate_hz, MIX_RATE_HZ)
    step, parts = rate_hz // shared, MIX_RATE_HZ // shared
    table = _filters(rate_hz)
    reach = table.shape[1] // 2
    padded = np.pad(mono, (reach, reach + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach)
    converted = np.empty(-(-mono.size * parts // step))
    for first in range(0, converted.size, _OUTPUTS_AT_ONCE):
        at = np.arange(first, min(first + _OUTPUTS_AT_ONCE, converted.size)) * step
        phase = at % parts * (_PHASES / parts)
        whole = phase.astype(np.intp)
        between = (phase - whole)[:, np.newaxis]
        filters = table[whole] * (1 - between) + table[whole + 1] * between
        # Window i + 1 holds the inputs i - reach + 1 to i + reach, those around position i.
        converted[first : first + at.size] = np.einsum(
            "ij,ij->i", windows[at // parts + 1], filters
        )
    return converted


def _filters(rate_hz: int) -> NDArray[np.float64]:
    """Return the filters for 0, 1/512 ... 1 sample past an input, each of gain one."""
    cutoff = _PASS * min(1.0, MIX_RATE_HZ / rate_hz)
    reach = int(np.ceil(_ZERO_CROSSINGS * max(1.0, rate_hz / MIX_RATE_HZ)))
    past = np.arange(_PHASES + 1)[:, np.newaxis] / _PHASES
    distance = np.arange(1 - reach, reach + 1) - past
    window = np.i0(_BETA * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, 1)))
    filters = np.sinc(cutoff * distance) * window
    return np.asarray(filters / filters.sum(axis=1, keepdims=True), dtype=np.float64)


def _to_int16(signal: NDArray[np.float64]) -> Sound:
    return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)
