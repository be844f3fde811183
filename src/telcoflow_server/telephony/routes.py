"""Which number belongs to whom, and by which way calls leave.

Not here: where that is configured (`settings.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from telcoflow_server.codec.table import Codec, offered
from telcoflow_server.sip.numbers import comparable


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Which number belongs to whom.

    Args:
        connectors: Called number, as `comparable` writes it, to connector.
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

    def connector_of(self, number: str) -> str | None:
        """Return whose a called number is, with or without its plus; None: nobody's."""
        return self.connectors.get(comparable(number), self.default_connector)

    def codecs_of(self, trunk: str) -> tuple[Codec, ...]:
        """Return the codecs for a trunk; "" for phones."""
        return self.codecs.get(trunk) or self.codecs.get("") or offered()
