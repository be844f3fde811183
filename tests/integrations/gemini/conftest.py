"""The stand-in of Gemini Live, over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integrations.gemini.standin import KEY, PATH, GeminiService
from tests.integrations.service import serving
from tests.support.certificates import Authority


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GeminiService]:
    """Run the stand-in; the client trusts the authority in SSL_CERT_FILE."""
    authority = Authority(tmp_path)
    certificate = authority.issue("service")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    running = GeminiService()
    async with serving(running, PATH, tls=context):
        yield running


def variables_for(service: GeminiService) -> dict[str, str]:
    """Return how an example finds the stand-in."""
    return {
        "GEMINI_API_KEY": KEY,
        "GOOGLE_API_KEY": "",
        "GOOGLE_GEMINI_BASE_URL": service.url,
    }
