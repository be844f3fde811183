"""The documentation as data: pages, anchors, code blocks, tables.

Not here: what must hold of them (`tests/docs`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
EXPLANATION = ROOT / "docs" / "explanation"

_FENCE = re.compile(r"^```(.*)$")
_HEADING = re.compile(r"^(#+) (.+)$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: ```` ```LANGUAGE KIND ````."""

    page: Path
    line: int
    language: str
    kind: str
    text: str

    @property
    def name(self) -> str:
        return f"{name(self.page)}:{self.line}"


def pages() -> list[Path]:
    """Return every Markdown page of the project."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(*languages: str) -> list[Block]:
    """Return every fenced block in one of the languages."""
    found = [block for page in pages() for block in _blocks(page)]
    return [block for block in found if block.language in languages]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return "\n".join(line for _, line in _prose_lines(page))


def anchors(page: Path) -> set[str]:
    """Return what a link may name behind the `#`: GitHub's slugs of the headings."""
    return {slug(text) for text in headings(page)}


def headings(page: Path) -> list[str]:
    """Return the texts of a page's headings."""
    matches = (_HEADING.match(line) for _, line in _prose_lines(page))
    return [match[2] for match in matches if match]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def table(page: Path, heading: str, number: int = 0) -> list[list[str]]:
    """Return the cells of a table below a heading, without its head; the first unless told."""
    tables: list[list[list[str]]] = []
    is_below = is_in_table = False
    for _, line in _prose_lines(page):
        match = _HEADING.match(line)
        if match:
            is_below = match[2] == heading
        is_row = is_below and line.startswith("|")
        if is_row:
            if not is_in_table:
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        is_in_table = is_row
    assert len(tables) > number, f"{name(page)}: no table {number} below {heading!r}"
    return tables[number][2:]  # the head and the line below it


def quoted(cell: str) -> list[str]:
    """Return what a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def _blocks(page: Path) -> Iterator[Block]:
    start: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and start is None:
            start, lines = (number, fence[1]), []
        elif fence and start:
            language, _, kind = start[1].partition(" ")
            yield Block(page, start[0], language, kind, "\n".join(lines) + "\n")
            start = None
        else:
            lines.append(line)
    assert start is None, f"{name(page)}: a block has no end"


def _prose_lines(page: Path) -> Iterator[tuple[int, str]]:
    is_fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if _FENCE.match(line):
            is_fenced = not is_fenced
        elif not is_fenced:
            yield number, line
