"""The server under test, with real phones: what `node.py` is without.

Not here: the phones (`sip_callers.py`), the agents (`agents.py`), who asks (`sip.py`).
"""

from __future__ import annotations

import logging

from benchmarks import lines
from benchmarks.node import Node
from telcoflow_server.app import Server
from telcoflow_server.settings import (
    SANDBOX_CONNECTOR,
    LimitSettings,
    ServerSettings,
    Settings,
)
from telcoflow_server.sip_settings import SipSettings
from telcoflow_server.telephony.service import Telephony


class Phones:
    """The phones of a server, and what went over their legs.

    Args:
        telephony: Of the server.
    """

    def __init__(self, telephony: Telephony) -> None:
        self._telephony = telephony

    async def sip_address(self) -> tuple[str, int]:
        """Tell where phones call."""
        return self._telephony.edge.address

    async def media(self) -> dict[str, float]:
        """Tell what all legs have received and what of it was late, and the deepest buffer."""
        legs = [
            phone.leg.statistics() for phone in self._telephony.phones() if phone.leg is not None
        ]
        return {
            "depth_ms": max((leg.jitter.depth_ms for leg in legs), default=0.0),
            "received": sum(leg.received.packets for leg in legs),
            "missing": sum(leg.jitter.lost + leg.jitter.late for leg in legs),
        }


async def main() -> None:
    """Serve until the input ends."""
    logging.getLogger("telcoflow_server").setLevel(logging.ERROR)
    settings = Settings(
        server=ServerSettings(port=0),
        connectors=(SANDBOX_CONNECTOR,),
        limits=LimitSettings(connection_attempts_per_minute=1_000_000),
        sip=SipSettings(
            port=0,
            default_connector=SANDBOX_CONNECTOR.connector_uuid,
            unauthenticated_calls=True,
            max_dialogs=100_000,
            invites_per_second=100_000,
            messages_per_second=1_000_000,
        ),
    )
    server = Server(settings, owns_process=True)
    await server.start()
    assert server.telephony is not None, "the settings want phones"
    node, phones = Node(server), Phones(server.telephony)
    await lines.serve(
        {
            "url": node.url,
            "lateness": node.lateness,
            "profile": node.profile,
            "sip_address": phones.sip_address,
            "media": phones.media,
        }
    )
    await server.stop()


if __name__ == "__main__":
    lines.run(main(), "uvloop")
