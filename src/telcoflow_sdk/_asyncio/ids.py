"""New ids for requests and commands.

Not here: what they identify (`protocol/`). Implements `reqId` and `command_id` of
docs/reference/wire.md.
"""

from __future__ import annotations

import uuid


def make_id() -> str:
    """Return an id nobody else has."""
    return str(uuid.uuid4())
