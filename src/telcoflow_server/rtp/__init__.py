"""Real-time transport: packets, streams, reports, digits, and whom to believe. No I/O, no clock."""
