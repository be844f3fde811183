"""Reads the lists of tables of the settings file: connectors, trunks, extensions, numbers.

Not here: single values (`loading.py`), what can be set (`settings.py`, `sip_settings.py`).
Implements "Connectors" and "Real phones" of docs/reference/settings.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from telcoflow_server.settings import ConnectorSettings
from telcoflow_server.settings_error import SettingsError, one_of
from telcoflow_server.sip_settings import ExtensionSettings, NumberSettings, TrunkSettings

T = TypeVar("T")

KEY_WAYS = ("api_key", "api_key_file", "api_key_env")
PASSWORD_WAYS = ("password", "password_file", "password_env")

_SECRETS = frozenset({"password", "ha1_md5", "ha1_sha256", "number"})
"""Values that no error shows."""

_KINDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of strings",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where the tables were read, and where the secrets are that they name.

    Args:
        environment: Variables.
        path: The settings file, which files are relative to; None: there is none.
    """

    environment: Mapping[str, str]
    path: Path | None

    def secret(self, key: str, texts: Mapping[str, str], ways: tuple[str, ...]) -> str | None:
        """Return the secret that a table holds, or names a variable or a file for.

        Args:
            key: Of the table.
            texts: Its strings; at most one of `ways` is among them.
            ways: Names of the secret itself, of its file, of its variable.
        """
        plain, file, variable = ways
        if variable in texts:
            name = texts[variable]
            if not self.environment.get(name):
                raise SettingsError(f"{key}.{variable}", f"names {name}, which is not set")
            return self.environment[name]
        if file in texts:
            return self._read(f"{key}.{file}", Path(texts[file]))
        return texts.get(plain)

    def _read(self, key: str, secret: Path) -> str:
        # Relative to the file that names it, so that the server may be started from anywhere.
        found = secret if self.path is None else self.path.parent / secret
        try:
            return found.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(key, f"names {secret}, which cannot be read: {problem}") from None


@dataclass(frozen=True, slots=True)
class Tables:
    """The lists of tables of one file."""

    connectors: tuple[ConnectorSettings, ...]
    trunks: tuple[TrunkSettings, ...]
    extensions: tuple[ExtensionSettings, ...]
    numbers: tuple[NumberSettings, ...]


TABLES = tuple(one.name for one in fields(Tables))
"""Their names."""


def take_tables(document: dict[str, Any], source: Source) -> Tables:
    """Take the lists of tables out of a file's content.

    Raises:
        SettingsError: an unknown key, a wrong type, a value that cannot be; `trunks[n].port` is
            the port of the n-th trunk, from 0.
    """
    return Tables(
        connectors=_each("connectors", document, source, _connector),
        trunks=_each("trunks", document, source, _trunk),
        extensions=_each("extensions", document, source, _extension),
        numbers=_each("numbers", document, source, _number),
    )


def unknown(given: str, known: Iterable[str]) -> str:
    """Return what is said of a name that there is not: the nearest that there is."""
    known = sorted(known)
    nearest = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return f"is no setting; {hint}"


_Table = Mapping[str, object]


def _each(
    name: str,
    document: dict[str, Any],
    source: Source,
    read: Callable[[str, _Table, Source], T],
) -> tuple[T, ...]:
    tables = document.pop(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(name, f"must be tables: [[{name}]]")
    made = []
    for number, table in enumerate(tables):
        key = f"{name}[{number}]"
        try:
            made.append(read(key, table, source))
        except SettingsError as error:
            # What one table says of itself is said of all of them: this one has a line.
            own = re.sub(rf"^{name}(?![\w\[])", key, error.key)
            raise SettingsError(own, error.problem) from None
    return tuple(made)


# --- connectors ----------------------------------------------------------------------------------


def _connector(key: str, table: _Table, source: Source) -> ConnectorSettings:
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
            problem = unknown(name, ["connector_uuid", "certificate_sha256", *KEY_WAYS])
            raise SettingsError(f"{key}.{name}", problem)
        texts[name] = _text(key, name, value)
    given = [way for way in KEY_WAYS if way in texts]
    if len(given) > 1 or not (given or certificates):
        problem = f"needs exactly one of {one_of(KEY_WAYS)}, or a certificate_sha256"
        raise SettingsError(key, problem)
    return ConnectorSettings(
        connector_uuid=texts.get("connector_uuid", ""),
        api_key=source.secret(key, texts, KEY_WAYS),
        certificate_sha256=tuple(
            _fingerprint(f"{key}.certificate_sha256", one) for one in certificates
        ),
    )


def _text(key: str, name: str, value: object) -> str:
    if not isinstance(value, str):  # the value is not shown: it may be a secret
        raise SettingsError(f"{key}.{name}", "must be a string")
    return value


def _fingerprint(key: str, text: str) -> str:
    # OpenSSL prints AB:CD:..., other tools abcd...
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise SettingsError(
            key, f"must be a SHA-256 fingerprint, 64 hexadecimal digits, not {text!r}"
        )
    return digits


# --- real phones ---------------------------------------------------------------------------------


def _trunk(key: str, table: _Table, source: Source) -> TrunkSettings:
    given = [way for way in PASSWORD_WAYS if way in table]
    if len(given) > 1:
        raise SettingsError(
            key, f"may have one of {one_of(PASSWORD_WAYS)}, not {' and '.join(given)}"
        )
    texts = {way: _text(key, way, table[way]) for way in given}
    others = {name: value for name, value in table.items() if name not in PASSWORD_WAYS}
    password = source.secret(key, texts, PASSWORD_WAYS)
    return _made(key, TrunkSettings, others, PASSWORD_WAYS, password=password)


def _extension(key: str, table: _Table, source: Source) -> ExtensionSettings:
    del source  # its hashes are no passwords, and stand here
    return _made(key, ExtensionSettings, table)


def _number(key: str, table: _Table, source: Source) -> NumberSettings:
    del source
    return _made(key, NumberSettings, table)


def _made(
    key: str, settings: type[T], table: _Table, also: tuple[str, ...] = (), **more: object
) -> T:
    """Return settings made of a table.

    Args:
        also: Names that are known, too.
        more: Values that do not come from the table as they stand.
    """
    hints = get_type_hints(settings)
    values: dict[str, Any] = dict(more)
    for name, value in table.items():
        if name not in hints:
            raise SettingsError(f"{key}.{name}", unknown(name, [*hints, *also]))
        try:
            values[name] = msgspec.convert(value, hints[name])
        except msgspec.ValidationError:
            shown = "" if name in _SECRETS else f", not {value!r}"
            kind = _KINDS.get(hints[name], "a string")
            raise SettingsError(f"{key}.{name}", f"must be {kind}{shown}") from None
    missing = [
        one.name
        for one in fields(settings)  # type: ignore[arg-type]  # no bound says "a dataclass"
        if one.default is MISSING and one.name not in values
    ]
    if missing:
        raise SettingsError(key, f"needs a {missing[0]}")
    return settings(**values)
