"""`python -m telcoflow_server.cli` is `telcoflow`, where no script was installed.

Not here: anything else. The demo starts its sandbox this way.
"""

from __future__ import annotations

from telcoflow_server.cli.commands import main

main()
