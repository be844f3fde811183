"""The wire protocol, spoken by both ends: messages, codes, engines. No I/O, no clock."""
