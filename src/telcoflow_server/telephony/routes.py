"""Which number belongs to whom, and by which way calls leave.

Not here: where that is configured (`settings.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from telcoflow_server.codec.table import Codec, offered


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Which number belongs to whom.

    Args:
        connectors: Called number to connector.
        default_connector: Whose all other numbers are; None: they are refused with 404.
        trunks: Connector to the trunk its calls leave by.
        default_trunk: For all other connectors; "": they reach registered phones only.
        codecs: Trunk to the codecs spoken over it, best first; "": everywhere else.
    """

    connectors: dict[str, str]
    default_connector: str | None
    trunks: dict[str, str]
    default_trunk: str
    codecs: dict[str, tuple[Codec, ...]]

    def codecs_of(self, trunk: str) -> tuple[Codec, ...]:
        """Return the codecs for a trunk; "" for phones."""
        return self.codecs.get(trunk) or self.codecs.get("") or offered()
