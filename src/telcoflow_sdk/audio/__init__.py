"""PCM audio: its format, the buffer it waits in, and WAV files. No I/O, no clock."""
