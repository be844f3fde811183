"""What a call is and does: states, sessions, commands. No I/O, no clock."""
