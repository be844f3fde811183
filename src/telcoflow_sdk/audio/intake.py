"""Where the application's audio comes in: checked, then queued.

Not here: how it leaves (`outbox.py` over protocol v1, `positioned.py` over v2).
Implements the `send_audio` row of docs/reference/sdk.md.
"""

from __future__ import annotations

import logging

from telcoflow_sdk.audio.buffer import ConcurrentByteBuffer
from telcoflow_sdk.audio.format import AudioFormat, BytesLike
from telcoflow_sdk.audio.wav import WavError, begins_like_wav, parse_wav_header, wanted_of

_logger = logging.getLogger("telcoflow_sdk.media_connection")


class Intake:
    """Takes chunks of PCM into a buffer; leaves out the header of a WAV file.

    Concurrency: `write` from any thread.

    Args:
        audio_format: The format of the call; WAV headers are compared with it.
        capacity_bytes: The most that may be queued.

    Attributes:
        buffer: What was taken and has not left.
        audio_format: Of what is in it.
    """

    __slots__ = ("_has_warned_of_wav", "audio_format", "buffer")

    def __init__(self, audio_format: AudioFormat, capacity_bytes: int) -> None:
        self.audio_format = audio_format
        self.buffer = ConcurrentByteBuffer(capacity_bytes)
        self._has_warned_of_wav = False

    def write(self, data: BytesLike) -> None:
        """Queue PCM, all of it or nothing.

        Args:
            data: Little-endian signed 16-bit mono at the call's rate, any length. The header
                of a WAV file in exactly that format is left out.

        Raises:
            BufferFullError: it does not fit; nothing changed.
            BufferClosedError: the call has ended.
            ValueError: a WAV file in another format.
            TypeError: not bytes-like.
        """
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        if data[:4] == b"RIFF" and begins_like_wav(data):
            data = self._without_header(data)
        self.buffer.write(data)

    def _without_header(self, data: bytes) -> bytes:
        wanted = wanted_of(self.audio_format)
        try:
            header = parse_wav_header(data)
        except WavError as error:
            raise ValueError(f"{error}; {wanted}") from None
        header.require(self.audio_format)
        if not self._has_warned_of_wav:
            self._has_warned_of_wav = True
            _logger.warning(
                "WAV headers are left out of the audio of this call; %s to save the search", wanted
            )
        return header.samples_in(data)
