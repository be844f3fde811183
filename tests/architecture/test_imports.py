"""Who may import what: the arrows of ARCHITECTURE.md, checked.

Not here: what the names mean (`test_tree.py` has the sizes and the words).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

ENGINES = (
    "telcoflow_sdk/protocol",
    "telcoflow_sdk/audio",
    "telcoflow_server/call",
    "telcoflow_server/codec",
    "telcoflow_server/legs",
    "telcoflow_server/media",
    "telcoflow_server/rtp",
    "telcoflow_server/sip",
)
"""Pure: bytes, samples and ticks in; bytes, samples and commands out."""

NOT_IN_ENGINES = frozenset(
    {
        "aiohttp", "asyncio", "datetime", "multiprocessing", "picows", "random", "secrets",
        "select", "selectors", "socket", "ssl", "subprocess", "threading", "time", "uuid",
    }
)  # fmt: skip
"""I/O, clocks and chance, which engines are given as arguments."""

SIP_PROCESS = frozenset(
    f"telcoflow_server/sip/{name}.py" for name in ("child", "datagrams", "edge", "stack")
)
"""The rim of SIP: the process, its socket, sippy in it, and the server's end of it."""

ENGINE_EXCEPTIONS = {
    # The recorder is the one thread that writes files, so that no disk stall reaches the tick.
    ("telcoflow_server/media/record.py", "threading"),
    # Text-to-speech libraries write on threads of their own: the buffer has a lock.
    ("telcoflow_sdk/audio/buffer.py", "threading"),
}

IMPORTERS = {
    "av": {"telcoflow_server/codec/av.py"},
    "aiofastnet": {"telcoflow_server/api/media.py"},
    "picows": {
        "telcoflow_sdk/_asyncio/link.py",
        "telcoflow_server/api/agent_socket.py",
        "telcoflow_server/api/media.py",
    },
    "aiohttp": {
        "telcoflow_server/api/admin.py",
        "telcoflow_server/api/auth.py",
        "telcoflow_server/api/control.py",
        "telcoflow_server/api/http.py",
        "telcoflow_server/api/overview.py",
        "telcoflow_server/api/sandbox.py",
        "telcoflow_server/api/upload.py",
        "telcoflow_server/app.py",
        "telcoflow_server/cli/client.py",
        "telcoflow_server/cli/drain.py",
        "telcoflow_server/cli/node.py",
    },
    "jwt": {"telcoflow_server/api/auth.py"},
    "livekit": {"telcoflow_sdk/integrations/livekit.py"},
    "matplotlib": {"telcoflow_server/cli/picture.py"},
    "pipecat": {"telcoflow_sdk/integrations/pipecat.py"},
    "prometheus_client": {
        "telcoflow_server/api/families.py",
        "telcoflow_server/api/metrics.py",
        "telcoflow_server/api/phone_metrics.py",
    },
    "pytest_asyncio": {"telcoflow_server/testing/fixtures.py"},
    # Its event loop and its ports are globals: it lives in the SIP process only.
    "sippy": {"telcoflow_server/sip/child.py", "telcoflow_server/sip/stack.py"},
    # RTP is read once a tick, and by nothing else.
    "select": {"telcoflow_server/sip/child.py", "telcoflow_server/udp.py"},
    "uvloop": {"telcoflow_server/cli/run.py"},
    "websockets": set(),
}
"""Each third-party library that does I/O (or is slow to load), and the modules that know it."""


def modules(folder: str = "") -> list[Path]:
    return sorted((SRC / folder).rglob("*.py"))


@cache
def imports(module: Path) -> tuple[str, ...]:
    """Return the full name of every module imported anywhere in a file."""
    return tuple(_imports(module))


def _imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            yield f"{node.module}"
            # `from package import module` is an import of that module too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name(module: Path) -> str:
    return module.relative_to(SRC).as_posix()


def within(imported: str, *packages: str) -> bool:
    return any(imported == one or imported.startswith(one + ".") for one in packages)


def test_sdk_never_imports_the_server() -> None:
    wrong = [
        (name(module), one)
        for module in modules("telcoflow_sdk")
        # The test kit is the server's, and known by the SDK's name; nothing imports it.
        if name(module) != "telcoflow_sdk/testing.py"
        for one in imports(module)
        if within(one, "telcoflow_server", "telcoflow_sdk.testing")
    ]

    assert wrong == []


def test_server_imports_only_protocol_and_audio_of_the_sdk() -> None:
    wrong = [
        (name(module), one)
        for module in modules("telcoflow_server")
        for one in imports(module)
        if within(one, "telcoflow_sdk")
        and not within(one, "telcoflow_sdk.protocol", "telcoflow_sdk.audio")
    ]

    assert wrong == []


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_reads_no_clock_and_opens_no_socket(engine: str) -> None:
    wrong = {
        (name(module), one.partition(".")[0])
        for module in modules(engine)
        for one in imports(module)
        if one.partition(".")[0] in NOT_IN_ENGINES and name(module) not in SIP_PROCESS
    }

    assert wrong - ENGINE_EXCEPTIONS == set()


def test_engines_know_nothing_of_what_surrounds_them() -> None:
    wrong = [
        (name(module), one)
        for engine in ENGINES
        for module in modules(engine)
        for one in imports(module)
        if within(
            one,
            "telcoflow_sdk._asyncio",
            "telcoflow_sdk.call",
            "telcoflow_sdk.client",
            "telcoflow_server.api",
            "telcoflow_server.app",
            "telcoflow_server.cli",
            "telcoflow_server.settings",
        )
    ]

    assert wrong == []


def test_media_knows_nothing_of_calls() -> None:
    wrong = [
        (name(module), one)
        for module in modules("telcoflow_server/media")
        for one in imports(module)
        if within(one, "telcoflow_server.call", "telcoflow_server.legs")
    ]

    assert wrong == []


@pytest.mark.parametrize("library", sorted(IMPORTERS))
def test_library_is_imported_where_listed_and_nowhere_else(library: str) -> None:
    importers = {
        name(module) for module in modules() if any(within(one, library) for one in imports(module))
    }

    assert importers - IMPORTERS[library] == set()


def test_only_settings_and_the_client_configuration_read_the_environment() -> None:
    readers = {
        name(module)
        for module in modules()
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }

    assert {one for one in readers if not one.startswith("telcoflow_server/cli/")} <= {
        "telcoflow_sdk/config.py",
        "telcoflow_server/settings.py",
        # Numerical libraries read their thread count when they are imported: it is set here.
        "telcoflow_server/__init__.py",
    }
