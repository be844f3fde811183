"""Everything that can be set, from a TOML file, the environment and the command line.

Not here: what the settings do; engines are given values, never this tree.
Every key is in config.sample.toml; a test compares that file with the defaults below.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

ENVIRONMENT_PREFIX = "TELCOFLOW_"

CLIENT_VARIABLES = frozenset(
    {"TELCOFLOW_BASE_URL", "TELCOFLOW_API_KEY", "TELCOFLOW_CONNECTOR_UUID"}
)
"""What agents and `telcoflow call` read; the server leaves them alone."""

SANDBOX_NAME = "sandbox"
"""API key and connector uuid of a sandbox that was given no connectors."""

LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(ValueError):
    """A setting that cannot be: `key` is its dotted name; the text never holds a secret."""

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        self.problem = problem
        super().__init__(f"{key} {problem}")


def _check_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(key, f"must be {low} to {high}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the server listens and how it leaves."""

    host: str = "127.0.0.1"
    port: int = 8080
    """Control port: control link, REST, health. 0 takes a free one."""
    media_port: int | None = None
    """None: one above `port`, or a free one where `port` is 0."""
    drain_timeout_s: float = 30.0
    """How long running calls may go on after the first signal to stop."""

    def __post_init__(self) -> None:
        _check_range("server.port", self.port, 0, 65535)
        if self.media_port is not None:
            _check_range("server.media_port", self.media_port, 0, 65535)
        elif self.port == 65535:
            raise SettingsError("server.media_port", "must be given: none is left above port 65535")
        _check_range("server.drain_timeout_s", self.drain_timeout_s, 0, 3600)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSettings:
    """One connector: agents that show this key are offered its calls."""

    connector_uuid: str
    api_key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.connector_uuid:
            raise SettingsError("connectors", "need a connector_uuid each")
        if not self.api_key:
            raise SettingsError("connectors", f"{self.connector_uuid!r} has an empty API key")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """What holds for every call."""

    ring_timeout_s: float = 60.0
    """An agent must have answered within this time; the caller hears busy otherwise."""
    record_dir: Path | None = None
    """Where stereo recordings are kept, one WAV file per call. None: nowhere."""

    def __post_init__(self) -> None:
        _check_range("calls.ring_timeout_s", self.ring_timeout_s, 0.1, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSettings:
    """How agents reach the media links."""

    public_url: str | None = None
    """Base of the media links' addresses. None: the host by which the agent reached us."""

    def __post_init__(self) -> None:
        if self.public_url is not None and not self.public_url.startswith(("ws://", "wss://")):
            raise SettingsError(
                "media.public_url", f"must begin with ws:// or wss://, not {self.public_url!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What one client may use."""

    messages_per_second: int = 500
    """Per link; 50 a second carry audio. A client above it is cut off with close code 4429."""

    def __post_init__(self) -> None:
        _check_range("limits.messages_per_second", self.messages_per_second, 1, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged, to stderr."""

    level: str = "info"
    json: bool = False
    """One JSON object per line instead of text."""

    def __post_init__(self) -> None:
        if self.level.lower() not in LOG_LEVELS:
            raise SettingsError("log.level", f"must be {_one_of(LOG_LEVELS)}, not {self.level!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one server."""

    server: ServerSettings = field(default_factory=ServerSettings)
    connectors: tuple[ConnectorSettings, ...] = ()
    calls: CallSettings = field(default_factory=CallSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    log: LogSettings = field(default_factory=LogSettings)

    def __post_init__(self) -> None:
        uuids = [connector.connector_uuid for connector in self.connectors]
        for uuid in uuids:
            if uuids.count(uuid) > 1:
                raise SettingsError("connectors", f"name {uuid!r} twice")


GROUPS: Mapping[str, type] = {
    "server": ServerSettings,
    "calls": CallSettings,
    "media": MediaSettings,
    "limits": LimitSettings,
    "log": LogSettings,
}
"""Table of the TOML file to the class of its keys; `connectors` is a list of tables."""

KEYS: Mapping[str, Any] = {
    f"{group}.{name}": hint
    for group, settings in GROUPS.items()
    for name, hint in get_type_hints(settings).items()
}
"""Dotted name of every scalar setting, to its type."""


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
            value of the wrong type or out of range (key, value, what is allowed, where it stood).
    """
    table = {} if path is None else _read_toml(path)
    connectors = _connectors(table.pop("connectors", []), environment, path)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, value in _flat(table, path):
        values[key], origins[key] = _converted(key, value, strict=True), f"in {path}"
    for variable, value in _of_environment(environment):
        key = _key_of(variable)
        values[key], origins[key] = _converted(key, value, strict=False), f"in {variable}"
    for key, value in (overrides or {}).items():
        if value is not None:
            values[key], origins[key] = value, "on the command line"
    try:
        return Settings(
            connectors=connectors,
            **{group: settings(**_of_group(group, values)) for group, settings in GROUPS.items()},
        )
    except SettingsError as error:
        where = origins.get(error.key)
        raise SettingsError(
            error.key, f"{error.problem} ({where})" if where else error.problem
        ) from None


def for_sandbox(settings: Settings) -> Settings:
    """Give a sandbox that names no connectors the well-known one.

    Raises:
        SettingsError: other machines could reach it; a key that everybody knows stays at home.
    """
    if settings.connectors:
        return settings
    if not settings.server.is_loopback:
        raise SettingsError(
            "server.host",
            f"is {settings.server.host}, which other machines can reach: the sandbox's own key "
            "works on a loopback host only. Name your connectors in a file (see "
            "config.sample.toml) and pass it with --config, or use --host 127.0.0.1",
        )
    known = ConnectorSettings(connector_uuid=SANDBOX_NAME, api_key=SANDBOX_NAME)
    return replace(settings, connectors=(known,))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(str(path), f"cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"is not TOML: {error}") from None


def _flat(table: Mapping[str, Any], path: Path | None) -> Iterable[tuple[str, Any]]:
    for group, entries in table.items():
        if group not in GROUPS:
            raise SettingsError(f"[{group}]", _unknown(group, [*GROUPS, "connectors"], path))
        if not isinstance(entries, dict):
            raise SettingsError(group, f"must be a table: [{group}] (in {path})")
        for name, value in entries.items():
            key = f"{group}.{name}"
            if key not in KEYS:
                raise SettingsError(key, _unknown(key, KEYS, path))
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
        raise SettingsError(variable, _unknown(variable, [*known, *CLIENT_VARIABLES], None))
    return known[variable]


def _converted(key: str, value: object, *, strict: bool) -> Any:
    hint = KEYS[key]
    # A path is a string to TOML and to the environment.
    wanted = str if hint == Path | None else hint
    try:
        converted = msgspec.convert(value, wanted, strict=strict)
    except msgspec.ValidationError:
        where = "" if strict else f" (in {_variable_of(key)})"
        raise SettingsError(key, f"must be {_kind(hint)}, not {value!r}{where}") from None
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
        raise SettingsError("connectors", f"must be tables: [[connectors]] (in {path})")
    return tuple(
        _connector(f"connectors[{number}]", table, environment, path)
        for number, table in enumerate(tables)
    )


def _connector(
    key: str, table: Mapping[str, object], environment: Mapping[str, str], path: Path | None
) -> ConnectorSettings:
    ways = ("api_key", "api_key_file", "api_key_env")
    for name, value in table.items():
        if name not in ("connector_uuid", *ways):
            problem = _unknown(name, ["connector_uuid", *ways], path)
            raise SettingsError(f"{key}.{name}", problem)
        if not isinstance(value, str):  # the value is not shown: it may be a secret
            raise SettingsError(f"{key}.{name}", f"must be a string (in {path})")
    texts = {name: str(value) for name, value in table.items()}
    if len([way for way in ways if way in texts]) != 1:
        raise SettingsError(key, f"needs exactly one of {_one_of(ways)} (in {path})")
    if "api_key_env" in texts:
        variable = texts["api_key_env"]
        if not environment.get(variable):
            raise SettingsError(f"{key}.api_key_env", f"names {variable}, which is not set")
        api_key = environment[variable]
    elif "api_key_file" in texts:
        api_key = _secret_of(f"{key}.api_key_file", Path(texts["api_key_file"]), path)
    else:
        api_key = texts["api_key"]
    return ConnectorSettings(connector_uuid=texts.get("connector_uuid", ""), api_key=api_key)


def _secret_of(key: str, secret: Path, config: Path | None) -> str:
    # Relative to the file that names it, so that the server may be started from anywhere.
    found = secret if config is None else config.parent / secret
    try:
        return found.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(key, f"names {secret}, which cannot be read: {problem}") from None


def _unknown(given: str, known: Iterable[str], path: Path | None) -> str:
    known = sorted(known)
    nearest = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return f"is no setting{f' (in {path})' if path else ''}; {hint}"


def _one_of(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]
