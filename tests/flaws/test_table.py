"""Every test that the table of flaws names exists, and every test of this folder is named in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.pages import ROOT

TABLE = Path(__file__).with_name("README.md")
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
ROW = re.compile(r"^\|(.+)\|(.+)\|(.+)\|$", re.MULTILINE)
HEADER = ("flaw", "---")


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def named() -> set[tuple[str, str]]:
    return set(TEST_ID.findall(TABLE.read_text(encoding="utf-8")))


def test_every_flaw_names_tests_and_all_of_them_exist() -> None:
    rows = [
        row
        for row in ROW.findall(TABLE.read_text(encoding="utf-8"))
        if not row[0].strip().startswith(HEADER)
    ]

    assert len(rows) > 40
    assert [flaw for flaw, _, tests in rows if not TEST_ID.search(tests)] == []
    missing = [
        f"{file}::{test}"
        for file, test in named()
        if not (ROOT / file).is_file() or (test and test not in functions(ROOT / file))
    ]
    assert missing == []


def test_every_test_of_this_folder_is_in_the_table() -> None:
    here = {
        (file.relative_to(ROOT).as_posix(), test)
        for file in TABLE.parent.glob("test_*.py")
        if file != Path(__file__)
        for test in functions(file)
        if test.startswith("test_")
    }

    assert here - named() == set()
