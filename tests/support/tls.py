"""A sandbox that speaks TLS in the test's own process, and its certificates.

Not here: making certificates (`certificates.py`), a sandbox without TLS (`server.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from telcoflow_sdk import TelcoflowClientConfig
from telcoflow_sdk.protocol.backoff import ReconnectPolicy
from telcoflow_server.app import Server
from telcoflow_server.settings import (
    ConnectorSettings,
    LimitSettings,
    MediaSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)
from tests.support.certificates import Authority, Certificate

KEY = "test-key"


class Trust:
    """Who trusts whom: an authority, the server's certificate, and those of clients.

    Args:
        folder: Where the files are.

    Attributes:
        agent: A certificate of connector `c1`.
        other: A certificate of connector `c2`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.server = self.authority.issue("server")
        self.agent = self.authority.issue("agent")
        self.other = self.authority.issue("other")
        self.crl_file: Path | None = None

    def settings(
        self,
        *,
        require_on_media: bool = False,
        limits: LimitSettings | None = None,
    ) -> Settings:
        """Return the settings of a server that asks clients for certificates."""
        return Settings(
            server=ServerSettings(port=0, drain_timeout_s=1.0),
            tls=TlsSettings(
                cert_file=self.server.cert_file,
                key_file=self.server.key_file,
                client_ca_file=self.authority.ca_file,
                crl_file=self.crl_file,
            ),
            connectors=(
                ConnectorSettings(
                    connector_uuid="c1", api_key=KEY, certificate_sha256=(self.agent.sha256,)
                ),
                ConnectorSettings(connector_uuid="c2", certificate_sha256=(self.other.sha256,)),
            ),
            media=MediaSettings(require_client_certificate=require_on_media),
            limits=limits or LimitSettings(),
        )

    def client(self, server: Server, certificate: Certificate) -> TelcoflowClientConfig:
        """Return the configuration of a client that shows a certificate."""
        return TelcoflowClientConfig.production(
            cert_path=certificate.cert_file,
            key_path=certificate.key_file,
            ca_path=self.authority.ca_file,
            base_url=f"wss://127.0.0.1:{server.control_port}",
            reconnect=ReconnectPolicy(initial_s=0.05),
        )

    def http(self, server: Server, certificate: Certificate | None = None) -> aiohttp.ClientSession:
        """Return an HTTP client that trusts the server and shows a certificate, or none."""
        context = self.authority.client_context(certificate)
        return aiohttp.ClientSession(
            f"https://127.0.0.1:{server.control_port}",
            connector=aiohttp.TCPConnector(ssl=context, force_close=True),
        )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Server]:
    """Run a sandbox with these settings."""
    server = Server(settings, sandbox=True)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
