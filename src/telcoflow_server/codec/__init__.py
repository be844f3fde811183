"""Speech codecs: samples to payloads and back. No I/O, no clock."""
