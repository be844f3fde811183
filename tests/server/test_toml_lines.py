from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.toml_lines import lines_of


def test_keys_stand_on_the_lines_they_stand_on() -> None:
    text = (
        "top = 1\n"
        "# port = 2\n"
        "[server]  # here\n"
        'host = "a"\n'
        "\n"
        "port= 3 # = 4\n"
        "[ log . deep ]\n"
        '"quoted" = 1\n'
        "'single' = 2\n"
    )

    assert lines_of(text) == {
        "top": 1,
        "server": 3,
        "server.host": 4,
        "server.port": 6,
        "log.deep": 7,
        "log.deep.quoted": 8,
        "log.deep.single": 9,
    }


def test_tables_of_an_array_are_numbered() -> None:
    lines = lines_of("[[a]]\nb = 1\n[[a]]\nb = 2\n[c]\nb = 3\n")

    assert lines == {"a": 1, "a[0]": 1, "a[0].b": 2, "a[1]": 3, "a[1].b": 4, "c": 5, "c.b": 6}


def test_dotted_and_inline_keys_stand_where_they_begin() -> None:
    lines = lines_of('server.port = 1\nlog = { level = "info", json = true }\n')

    assert lines == {"server.port": 1, "log": 2}


@pytest.mark.parametrize("quote", ['"""', "'''"])
def test_what_stands_in_a_string_of_many_lines_is_no_key(quote: str) -> None:
    text = f"[a]\nb = {quote}\n[c]\nd = 1\n{quote}\ne = {quote}f = 1{quote}\ng = 2\n"

    assert lines_of(text) == {"a": 1, "a.b": 2, "a.e": 6, "a.g": 7}


def test_lists_of_many_lines_hold_no_keys() -> None:
    assert lines_of('[a]\nb = [\n  "c = 1",\n  "[d]",\n]\ne = 1\n') == {"a": 1, "a.b": 2, "a.e": 6}


def dotted(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")


NAMES = st.text("abcdefgh_-1", min_size=1, max_size=4)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.text(max_size=20), max_size=5), max_size=5))
def test_every_key_of_any_file_is_found_where_it_was_written(
    tables: dict[str, dict[str, str]],
) -> None:
    written: dict[str, int] = {}
    lines: list[str] = []
    for table, keys in tables.items():
        lines.append(f"[{table}]")
        written[table] = len(lines)
        for key, value in keys.items():
            escaped = "".join(f"\\U{ord(letter):08x}" for letter in value)
            lines.append(f'{key} = "{escaped}"')
            written[f"{table}.{key}"] = len(lines)
    text = "\n".join(lines)

    assert lines_of(text) == written
    assert set(dotted(tomllib.loads(text))) == set(written)
