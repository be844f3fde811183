"""Reads the settings: a TOML file, the environment, the command line.

Not here: what can be set (`settings.py`), where a key stands in a file (`toml_lines.py`).
Implements docs/reference/settings.md.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from telcoflow_server.settings import (
    GROUPS,
    KEYS,
    ConnectorSettings,
    Settings,
    SettingsError,
    one_of,
)
from telcoflow_server.toml_lines import lines_of

ENVIRONMENT_PREFIX = "TELCOFLOW_"

CLIENT_VARIABLES = frozenset(
    {"TELCOFLOW_BASE_URL", "TELCOFLOW_API_KEY", "TELCOFLOW_CONNECTOR_UUID"}
)
"""What agents and `telcoflow call` read; the server leaves them alone."""

KEY_WAYS = ("api_key", "api_key_file", "api_key_env")

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
        connectors = _connectors(table.pop("connectors", []), environment, path)
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
        return Settings(connectors=connectors, **groups)
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
            raise SettingsError(group, _unknown(group, [*GROUPS, "connectors"]))
        if not isinstance(entries, dict):
            raise SettingsError(group, f"must be a table: [{group}]")
        for name, value in entries.items():
            key = f"{group}.{name}"
            if key not in KEYS:
                raise SettingsError(key, _unknown(key, KEYS))
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
        raise SettingsError(variable, _unknown(variable, [*known, *CLIENT_VARIABLES]))
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


def _connectors(
    tables: object, environment: Mapping[str, str], path: Path | None
) -> tuple[ConnectorSettings, ...]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError("connectors", "must be tables: [[connectors]]")
    return tuple(
        _connector(f"connectors[{number}]", table, environment, path)
        for number, table in enumerate(tables)
    )


def _connector(
    key: str, table: Mapping[str, object], environment: Mapping[str, str], path: Path | None
) -> ConnectorSettings:
    certificates = table.get("certificate_sha256", [])
    if isinstance(certificates, str):
        certificates = [certificates]
    if not isinstance(certificates, list) or not all(isinstance(c, str) for c in certificates):
        problem = "must be a string or a list of strings"
        raise SettingsError(f"{key}.certificate_sha256", problem)
    texts: dict[str, str] = {}
    for name, value in table.items():
        if name == "certificate_sha256":
            continue
        if name not in ("connector_uuid", *KEY_WAYS):
            problem = _unknown(name, ["connector_uuid", "certificate_sha256", *KEY_WAYS])
            raise SettingsError(f"{key}.{name}", problem)
        if not isinstance(value, str):  # the value is not shown: it may be a secret
            raise SettingsError(f"{key}.{name}", "must be a string")
        texts[name] = value
    given = [way for way in KEY_WAYS if way in texts]
    if len(given) > 1 or not (given or certificates):
        problem = f"needs exactly one of {one_of(KEY_WAYS)}, or a certificate_sha256"
        raise SettingsError(key, problem)
    try:
        return ConnectorSettings(
            connector_uuid=texts.get("connector_uuid", ""),
            api_key=_api_key(key, texts, environment, path),
            certificate_sha256=tuple(
                _fingerprint(f"{key}.certificate_sha256", one) for one in certificates
            ),
        )
    except SettingsError as error:
        # What one connector says of itself is said of "connectors": this one has a line.
        raise (SettingsError(key, error.problem) if error.key == "connectors" else error) from None


def _api_key(
    key: str, texts: Mapping[str, str], environment: Mapping[str, str], path: Path | None
) -> str | None:
    if "api_key_env" in texts:
        variable = texts["api_key_env"]
        if not environment.get(variable):
            raise SettingsError(f"{key}.api_key_env", f"names {variable}, which is not set")
        return environment[variable]
    if "api_key_file" in texts:
        return _secret_of(f"{key}.api_key_file", Path(texts["api_key_file"]), path)
    return texts.get("api_key")


def _fingerprint(key: str, text: str) -> str:
    # OpenSSL prints AB:CD:..., other tools abcd...
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise SettingsError(
            key, f"must be a SHA-256 fingerprint, 64 hexadecimal digits, not {text!r}"
        )
    return digits


def _secret_of(key: str, secret: Path, config: Path | None) -> str:
    # Relative to the file that names it, so that the server may be started from anywhere.
    found = secret if config is None else config.parent / secret
    try:
        return found.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(key, f"names {secret}, which cannot be read: {problem}") from None


def _unknown(given: str, known: Iterable[str]) -> str:
    known = sorted(known)
    nearest = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return f"is no setting; {hint}"
