"""Where the keys of a TOML file stand.

Not here: what they mean (`loading.py`), reading them: `tomllib` does, and it knows no lines.
Implements the line numbers in the errors of docs/reference/settings.md.
"""

from __future__ import annotations

import re

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_LONG_QUOTE = re.compile(r'"""|\'\'\'')


def lines_of(text: str) -> dict[str, int]:
    """Return the line, counted from 1, of every key and table of a valid TOML file.

    Keys are dotted as in `server.port`; the n-th table of an array is `connectors[n]`, from 0.
    A key inside of an inline table stands where the table stands, and is not listed.
    """
    lines: dict[str, int] = {}
    arrays: dict[str, int] = {}
    table = ""
    quote: str | None = None  # of the multi-line string that a line begins in
    for number, line in enumerate(text.splitlines(), 1):
        starts_in_string = quote is not None
        for mark in _LONG_QUOTE.findall(line):
            quote = None if mark == quote else quote or mark
        if starts_in_string:
            continue
        if match := _HEADER.match(line):
            table = _plain(match[2])
            lines.setdefault(table, number)
            if match[1] == "[[":
                arrays[table] = arrays.get(table, -1) + 1
                table = f"{table}[{arrays[table]}]"
                lines[table] = number
        elif match := _KEY.match(line):
            key = _plain(match[1])
            lines.setdefault(f"{table}.{key}" if table else key, number)
    return lines


def _plain(dotted: str) -> str:
    return ".".join(part.strip("\"'") for part in re.findall(_NAME, dotted))
