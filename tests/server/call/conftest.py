"""What is said of a call with one agent of protocol v2 holds wherever its leg is kept.

Not here: what such legs do in any order of events (`tests/server/legs/test_agent_array.py`).
"""

from __future__ import annotations

import pytest

from tests.support.exchange import JointMemoryPhone
from tests.support.joint_link import JointPositionedLink
from tests.support.positions import Scene
from tests.support.twin_agents import let_few_be_together


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of modules that use a scene with legs of both kinds."""
    if "Scene" in vars(metafunc.module):
        metafunc.parametrize("_legs", ["alone", "together"], indirect=True)


@pytest.fixture(autouse=True)
def _legs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(request, "param", "alone") == "together":
        let_few_be_together(monkeypatch)
        monkeypatch.setattr(Scene, "link", JointPositionedLink)
        monkeypatch.setattr(Scene, "phone", JointMemoryPhone)
