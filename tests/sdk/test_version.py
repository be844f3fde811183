from __future__ import annotations

import tomllib
from pathlib import Path

from telcoflow_sdk import __version__


def test_version_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert __version__ == project["version"]
