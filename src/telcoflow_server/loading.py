"""Reads the settings: a TOML file, the environment, the command line.

Not here: what can be set (`settings.py`), lists of tables (`tables.py`), where a key stands in a
file (`toml_lines.py`). Implements docs/reference/settings.md.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from telcoflow_server.settings import GROUPS, KEYS, Settings, SettingsError
from telcoflow_server.tables import TABLES, Source, take_tables, unknown
from telcoflow_server.toml_lines import lines_of

ENVIRONMENT_PREFIX = "TELCOFLOW_"

CLIENT_VARIABLES = frozenset(
    {"TELCOFLOW_BASE_URL", "TELCOFLOW_API_KEY", "TELCOFLOW_CONNECTOR_UUID"}
)
"""What agents and `telcoflow call` read; the server leaves them alone."""

SECRETS = frozenset({"admin.key"})
"""Values that no error shows."""

FILES = frozenset(key for key in KEYS if key.endswith("_file"))
"""Files to read. Relative to the file that names them, so that the server may be started from
anywhere; in the environment, to where it is started."""


def load(
    path: Path | None,
    environment: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Read the settings: command line before environment before file before defaults.

    Args:
        path: A TOML file, or None for none.
        environment: `TELCOFLOW_SERVER_PORT` sets `server.port`, and so on; empty means unset.
        overrides: Dotted names to values, from the command line; None means not given.

    Raises:
        SettingsError: an unreadable file, an unknown key (the nearest known one is named), or a
            value of the wrong type or out of range (key, value, what is allowed, where it stood:
            file and line, variable, or the command line).
    """
    origins: dict[str, str] = {}
    try:
        table: dict[str, Any] = {} if path is None else _read_toml(path, origins)
        tables = take_tables(table, Source(environment, path))
        values: dict[str, Any] = {}
        for key, value in _flat(table):
            values[key] = _converted(key, value, strict=True)
            if path is not None and key in FILES:
                values[key] = path.parent / values[key]
        for variable, value in _of_environment(environment):
            key = _key_of(variable)
            origins[key] = f"in {variable}"
            values[key] = _converted(key, value, strict=False)
        for key, value in (overrides or {}).items():
            if value is not None:
                values[key], origins[key] = value, "on the command line"
        groups = {group: settings(**_of_group(group, values)) for group, settings in GROUPS.items()}
        return Settings(
            connectors=tables.connectors,
            trunks=tables.trunks,
            extensions=tables.extensions,
            numbers=tables.numbers,
            **groups,
        )
    except SettingsError as error:
        where = origins.get(error.key)
        if where is None:
            raise
        raise SettingsError(error.key, f"{error.problem} ({where})") from None


def _read_toml(path: Path, origins: dict[str, str]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(str(path), f"cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"is not TOML: {error}") from None
    origins.update((key, f"in {path}, line {line}") for key, line in lines_of(text).items())
    return table


def _flat(table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for group, entries in table.items():
        if group not in GROUPS:
            raise SettingsError(group, unknown(group, [*GROUPS, *TABLES]))
        if not isinstance(entries, dict):
            raise SettingsError(group, f"must be a table: [{group}]")
        for name, value in entries.items():
            key = f"{group}.{name}"
            if key not in KEYS:
                raise SettingsError(key, unknown(key, KEYS))
            yield key, value


def _of_environment(environment: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for variable, value in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in CLIENT_VARIABLES and value:
            yield variable, value


def _variable_of(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.replace(".", "_").upper()


def _key_of(variable: str) -> str:
    known = {_variable_of(key): key for key in KEYS}
    if variable not in known:
        raise SettingsError(variable, unknown(variable, [*known, *CLIENT_VARIABLES]))
    return known[variable]


def _converted(key: str, value: object, *, strict: bool) -> Any:
    hint = KEYS[key]
    # A path is a string to TOML and to the environment.
    wanted = str if hint == Path | None else hint
    try:
        converted = msgspec.convert(value, wanted, strict=strict)
    except msgspec.ValidationError:
        shown = "" if key in SECRETS else f", not {value!r}"
        raise SettingsError(key, f"must be {_kind(hint)}{shown}") from None
    return Path(converted) if hint == Path | None else converted


def _kind(hint: Any) -> str:
    kinds = {int: "a whole number", float: "a number", bool: "true or false"}
    for kind, words in kinds.items():
        if hint in (kind, kind | None):
            return words
    return "a string"


def _of_group(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    prefix = group + "."
    return {key.removeprefix(prefix): v for key, v in values.items() if key.startswith(prefix)}
