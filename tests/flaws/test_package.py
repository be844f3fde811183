"""What importing and configuring the SDK brings with it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import telcoflow_sdk
import telcoflow_sdk.exceptions
from telcoflow_sdk import WSSError

LIST_PACKAGES = """
import sys
before = {name.partition(".")[0] for name in sys.modules}
import telcoflow_sdk, telcoflow_sdk.events, telcoflow_sdk.exceptions
after = {name.partition(".")[0] for name in sys.modules}
print(*sorted(after - before - set(sys.stdlib_module_names)))
"""

NOT_NEEDED = {"abxbus", "aiohttp", "dotenv", "httpx", "numpy", "pydantic", "telcoflow_server"}


def test_importing_the_sdk_imports_nothing_large() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIST_PACKAGES],
        check=True,
        capture_output=True,
        text=True,
    )

    packages = set(result.stdout.split())
    assert {"msgspec", "picows"} <= packages
    assert not packages & NOT_NEEDED
    assert result.stderr == ""


def test_every_exception_and_type_an_application_meets_can_be_imported_from_the_top() -> None:
    exceptions = {
        name
        for name, kind in inspect.getmembers(telcoflow_sdk.exceptions, inspect.isclass)
        if issubclass(kind, WSSError)
    }

    assert exceptions <= set(telcoflow_sdk.__all__)
    assert all(hasattr(telcoflow_sdk, name) for name in telcoflow_sdk.__all__)
