"""What docstrings and comments say of the documentation is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import ROOT, headings

PAGE = re.compile(r"(?:docs/[\w/]+/[\w-]+|\b[A-Z]{4,})\.md")
SECTION = re.compile(r"\b([\w-]+\.md)[^\S\n]*\n?[^\S\n]*((?:§\d+(?:[^\S\n]+and[^\S\n]+)?)+)")
PART = re.compile(r'"([A-Z][^"\n]+)"[^\S\n]+of[^\S\n]+(docs/[\w/-]+\.md)')
PART_AFTER = re.compile(r'(docs/[\w/-]+\.md),[^\S\n]+"([A-Z][^"\n]+)"')


def modules() -> Iterator[Path]:
    for folder in ("src", "tests", "examples", "scripts"):
        for file in sorted((ROOT / folder).rglob("*")):
            is_text = file.is_file() and file.suffix in (".py", "")
            if is_text and "__pycache__" not in file.parts and file != Path(__file__):
                yield file


def texts() -> Iterator[tuple[str, str]]:
    for file in modules():
        # One line per paragraph, as docstrings and comments are wrapped.
        text = re.sub(r"\n[^\S\n]*#?[^\S\n]*(?=\S)", " ", file.read_text(encoding="utf-8"))
        yield file.relative_to(ROOT).as_posix(), text


def page(file_name: str) -> Path | None:
    found = [*ROOT.glob(file_name), *(ROOT / "docs").rglob(Path(file_name).name)]
    return found[0] if found else None


def test_pages_named_in_code_exist() -> None:
    missing = [
        (where, file)
        for where, text in texts()
        for file in PAGE.findall(text)
        if not (ROOT / file).is_file()
    ]

    assert missing == []


def test_sections_named_in_code_exist() -> None:
    missing = []
    for where, text in texts():
        for file, sections in SECTION.findall(text):
            target = page(file)
            numbers = {
                number
                for heading in (headings(target) if target else [])
                for number in re.findall(r"§\d+", heading)
            }
            missing += [(where, file, s) for s in re.findall(r"§\d+", sections) if s not in numbers]

    assert missing == []


def test_headings_quoted_in_code_exist() -> None:
    quotes = [
        (where, heading, file)
        for where, text in texts()
        for heading, file in [
            *PART.findall(text),
            *((heading, file) for file, heading in PART_AFTER.findall(text)),
        ]
    ]
    missing = [
        (where, heading, file)
        for where, heading, file in quotes
        if not (ROOT / file).is_file() or heading not in headings(ROOT / file)
    ]

    assert quotes
    assert missing == []


@pytest.mark.parametrize("engine", ["telcoflow_sdk/protocol", "telcoflow_server/call"])
def test_engines_name_the_page_they_implement(engine: str) -> None:
    silent = [
        file.name
        for file in (ROOT / "src" / engine).glob("*.py")
        if file.name not in ("__init__.py", "ports.py")
        and "docs/" not in file.read_text(encoding="utf-8")
    ]

    assert silent == []
