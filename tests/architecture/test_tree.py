"""What every file of the project keeps to: its size, and what it must not give away.

Not here: imports (`test_imports.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (".ci", "benchmarks", "docs", "examples", "scripts", "src", "tests")
TEXT = {".cfg", ".in", ".json", ".lock", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}

FILE_LINES, FILE_LINES_WITH_A_REASON = 400, 600
FUNCTION_LINES, FUNCTION_LINES_WITH_A_REASON = 60, 100

LONG_FILES: dict[str, str] = {
    "src/telcoflow_sdk/call.py": "one public class; more than half of it is its documentation",
    "src/telcoflow_server/media/plane.py": "rows are views into the plane's arrays",
}
"""Files over the soft limit, each with the reason why it is one thing."""

LONG_FUNCTIONS: dict[str, str] = {
    "src/telcoflow_server/cli/commands.py:call": "its parameters are the flags, with their help",
    "src/telcoflow_server/cli/commands.py:sandbox": "likewise",
}
"""`file:function` over the soft limit, each with the reason why it is one thing."""

HOME = re.compile(r"(?<![\w.~/$}])/(?:home|root|Users)/\w")
INDEX = re.compile(r"https?://[^\s/]*(?:pythonhosted|" + "pypi" + r")[\w.]*/?(?:simple|packages)?")
ANY_ADDRESS = re.compile(r"\w+://")


@cache
def texts() -> tuple[tuple[str, str], ...]:
    return tuple(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    top = [path for path in ROOT.iterdir() if path.is_file()]
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted(top + below):
        if path.suffix in TEXT and "__pycache__" not in path.parts and path.name != ".coverage":
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def python() -> Iterator[tuple[str, str]]:
    return ((name, text) for name, text in texts() if name.endswith(".py"))


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines without its docstring: explaining is free."""
    docstring = ast.get_docstring(function, clean=False)
    explained = docstring.count("\n") + 1 if docstring else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - explained


def test_files_are_short_or_say_why_not() -> None:
    lines = {name: text.count("\n") for name, text in python()}
    long = {name for name, count in lines.items() if count > FILE_LINES and name.startswith("src/")}

    assert long == set(LONG_FILES)
    # A test module holds every case of the module it mirrors, so it has the higher limit.
    assert {name for name, count in lines.items() if count > FILE_LINES_WITH_A_REASON} == set()


def test_functions_are_short_or_say_why_not() -> None:
    long = {
        f"{name}:{node.name}": lines
        for name, text in python()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := _code_lines(node)) > FUNCTION_LINES
    }

    assert set(long) == set(LONG_FUNCTIONS)
    assert all(lines <= FUNCTION_LINES_WITH_A_REASON for lines in long.values()), long


def test_modules_open_by_saying_what_they_hold() -> None:
    silent = [
        name
        for name, text in python()
        if name.startswith("src/") and not ast.get_docstring(ast.parse(text))
    ]

    assert silent == []


def test_nothing_names_the_machine_it_was_written_on() -> None:
    # A checkout directly below the root, such as a container's /src, is a word like any other.
    here = str(ROOT) if len(ROOT.parts) > 2 else "\0"

    assert [name for name, text in texts() if here in text or HOME.search(text)] == []


def test_nothing_names_the_index_it_was_installed_from() -> None:
    assert [name for name, text in texts() if INDEX.search(text)] == []
    locks = [name for name, text in texts() if name.endswith(".lock") and ANY_ADDRESS.search(text)]
    assert locks == []


def test_no_work_is_left_for_later_in_a_comment() -> None:
    later = re.compile(r"#\s*(?:TO" + r"DO(?!\(#\d+\))|FIX" + r"ME|XX" + "X)")

    assert [name for name, text in python() if later.search(text)] == []


def test_ignored_findings_name_their_rule() -> None:
    bare = re.compile(r"#\s*(?:noqa(?!:)|type:\s*ignore(?!\[))")

    assert [name for name, text in python() if bare.search(text)] == []
