"""The command line: `telcoflow sandbox`, `telcoflow call`, `telcoflow demo`.

Not here: the server (`app.py`). `commands.py` has every flag; the other modules do the work.
Implements docs/reference/cli.md.
"""

from __future__ import annotations

from telcoflow_server.cli.commands import main

__all__ = ["main"]
