"""The stand-in of Gemini Live, over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integrations.gemini_live import GeminiService, serving_gemini


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GeminiService]:
    async with serving_gemini(tmp_path, monkeypatch) as running:
        yield running
