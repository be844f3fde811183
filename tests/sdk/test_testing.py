from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest


class Missing:
    """A finder to whom one module is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, *_: Any) -> None:
        if name == self._name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def import_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the kit anew where `name` is missing."""
    kit = ("telcoflow_sdk.testing", "telcoflow_server.testing")
    for module in [one for one in sys.modules if one == name or one.startswith(kit)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Missing(name), *sys.meta_path])
    importlib.import_module("telcoflow_sdk.testing")


def test_what_is_not_installed_is_named_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError) as missing:
        import_without("pytest_asyncio", monkeypatch)

    assert missing.value.name == "pytest_asyncio"
    assert "needs pytest_asyncio" in str(missing.value)
    assert 'pip install "telcoflow-sdk[testing]"' in str(missing.value)


def test_a_part_of_ours_that_is_missing_is_no_matter_of_installing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"named 'telcoflow_server\.testing"):
        import_without("telcoflow_server.testing.virtual", monkeypatch)


def test_the_sdk_does_not_load_the_kit() -> None:
    sdk = importlib.import_module("telcoflow_sdk")

    assert "testing" not in sdk.__all__
