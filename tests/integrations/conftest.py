"""Which vendors' libraries this environment has, and what the tests have measured.

`make integrations` runs each folder in an environment that has its library; `make test` those
that need none.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from telcoflow_sdk.testing import sandbox as sandbox  # a fixture
from tests.integrations.findings import Findings

LIBRARIES = {
    "openai": "openai",
    "gemini": "google.genai",
    "adk": "google.adk",
    "deepgram": "deepgram",
    "pipecat": "pipecat",
    "livekit": "livekit.agents",
}
"""What the tests in a folder need."""


def _is_there(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # nor the package it is in
        return False


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Pass over what this environment cannot run."""
    library = LIBRARIES.get(collection_path.name)
    is_ours = collection_path.parent == Path(__file__).parent
    return True if is_ours and library is not None and not _is_there(library) else None


_findings = Findings()


@pytest.fixture
def findings() -> Findings:
    """Keep what was measured, to be shown at the end."""
    return _findings


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    for line in _findings.lines():
        terminalreporter.write_line(line)
