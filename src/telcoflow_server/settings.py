"""Everything that can be set, with its default and its range.

Not here: real phones (`sip_settings.py`), where values come from (`loading.py`), what they do:
engines are given values, never this tree. Every key is in config.sample.toml; a test compares that
file with the defaults below.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from telcoflow_server.settings_error import SettingsError as SettingsError
from telcoflow_server.settings_error import check_range, one_of
from telcoflow_server.sip_settings import (
    ExtensionSettings,
    NumberSettings,
    SipSettings,
    TrunkSettings,
    check_together,
)

SANDBOX_NAME = "sandbox"
"""API key, connector uuid and admin key of a sandbox that was given no connectors."""

ADMIN_KEY_LENGTH = 16
"""Fewer characters can be guessed."""

LOG_LEVELS = ("debug", "info", "warning", "error")


def _is_websocket_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_port = parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close
        return False
    return parts.scheme in ("ws", "wss") and bool(parts.hostname) and has_port and " " not in text


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
    keys_file: Path | None = None
    """API keys as digests, made by `telcoflow keys`. None: those of the connectors only."""

    def __post_init__(self) -> None:
        if not self.host:
            raise SettingsError("server.host", "must be an address or a name, not ''")
        check_range("server.port", self.port, 0, 65535)
        if self.media_port is not None:
            check_range("server.media_port", self.media_port, 0, 65535)
        elif self.port == 65535:
            raise SettingsError("server.media_port", "must be given: none is left above port 65535")
        check_range("server.drain_timeout_s", self.drain_timeout_s, 0, 3600)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The server's certificate, and whose certificates clients may show. Read again on SIGHUP."""

    cert_file: Path | None = None
    """PEM, the chain included. With it both ports speak TLS only. None: no TLS."""
    key_file: Path | None = None
    client_ca_file: Path | None = None
    """PEM, the authorities that sign clients' certificates. None: clients are not asked for one."""
    crl_file: Path | None = None
    """PEM, one revocation list for each of these authorities. None: nothing is revoked."""

    def __post_init__(self) -> None:
        for name, needs in (
            ("key_file", "cert_file"),
            ("cert_file", "key_file"),
            ("client_ca_file", "cert_file"),
            ("crl_file", "client_ca_file"),
        ):
            if getattr(self, name) is not None and getattr(self, needs) is None:
                raise SettingsError(f"tls.{name}", f"needs tls.{needs}, which is not set")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSettings:
    """One connector: agents that show its key or a certificate of its are offered its calls."""

    connector_uuid: str
    api_key: str | None = field(default=None, repr=False)
    certificate_sha256: tuple[str, ...] = ()
    """Fingerprints of client certificates: 64 hexadecimal digits each."""

    def __post_init__(self) -> None:
        if not self.connector_uuid:
            raise SettingsError("connectors", "need a connector_uuid each")
        if not self.connector_uuid.isprintable():  # it stands in log lines
            raise SettingsError(
                "connectors", f"must have printable names, not {self.connector_uuid!r}"
            )
        if self.api_key == "":
            raise SettingsError("connectors", f"{self.connector_uuid!r} has an empty API key")


SANDBOX_CONNECTOR = ConnectorSettings(connector_uuid=SANDBOX_NAME, api_key=SANDBOX_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """What holds for every call."""

    ring_timeout_s: float = 60.0
    """An agent must have answered within this time; the caller hears busy otherwise."""
    media_grace_s: float = 10.0
    """How long a call waits for its agent's next media link, over protocol v2: a client that starts
    anew at most every second has ten tries. Its sound is kept so long, 48 kB/s a channel."""
    record_dir: Path | None = None
    """Where stereo recordings are kept, one WAV file per call. None: nowhere."""
    record_split: bool = False
    """Whether to keep there what each party said, too, in one mono file each."""

    def __post_init__(self) -> None:
        check_range("calls.ring_timeout_s", self.ring_timeout_s, 0.1, 600)
        check_range("calls.media_grace_s", self.media_grace_s, 1, 60)
        if self.record_dir is not None and not self.record_dir.name:
            raise SettingsError("calls.record_dir", f"must name a folder, not {self.record_dir}")
        if self.record_split and self.record_dir is None:
            raise SettingsError("calls.record_split", "needs calls.record_dir, which is not set")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSettings:
    """How agents reach the media links, and what lets them in beside the call's token."""

    public_url: str | None = None
    """Base of the media links' addresses. None: the host by which the agent reached us."""
    require_client_certificate: bool = False
    """Whether a media link must show a certificate of the connector's, too."""

    def __post_init__(self) -> None:
        if self.public_url is not None and not _is_websocket_url(self.public_url):
            raise SettingsError(
                "media.public_url",
                f"must be ws:// or wss://, a host and perhaps a port, not {self.public_url!r}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What one client, one address and one connector may use."""

    messages_per_second: int = 500
    """Per link; 50 a second carry audio. A client above it is cut off with close code 4429."""
    calls_per_connector: int = 2000
    """Running at once. The default is more than a node carries: it bounds runaways only."""
    call_duration_s: float = 14_400.0
    """A call ends after this: what nobody hung up for four hours was forgotten."""
    connections_per_address: int = 4096
    """Open at once, on both ports. One machine of agents needs one for each of its calls."""
    connection_attempts_per_minute: int = 12_000
    """Of one address, on both ports, as a burst too: a thousand calls may begin at once."""

    def __post_init__(self) -> None:
        check_range("limits.messages_per_second", self.messages_per_second, 1, 100_000)
        check_range("limits.calls_per_connector", self.calls_per_connector, 1, 100_000)
        check_range("limits.call_duration_s", self.call_duration_s, 1, 604_800)
        check_range("limits.connections_per_address", self.connections_per_address, 1, 1_000_000)
        check_range(
            "limits.connection_attempts_per_minute",
            self.connection_attempts_per_minute,
            1,
            1_000_000,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """Who may run the server by HTTP."""

    key: str | None = field(default=None, repr=False)
    """What `telcoflow drain` must show. None: nobody may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged, to stderr."""

    level: str = "info"
    json: bool = False
    """One JSON object per line instead of text."""

    def __post_init__(self) -> None:
        if self.level.lower() not in LOG_LEVELS:
            raise SettingsError("log.level", f"must be {one_of(LOG_LEVELS)}, not {self.level!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one server."""

    server: ServerSettings = field(default_factory=ServerSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    connectors: tuple[ConnectorSettings, ...] = ()
    sip: SipSettings = field(default_factory=SipSettings)
    trunks: tuple[TrunkSettings, ...] = ()
    extensions: tuple[ExtensionSettings, ...] = ()
    numbers: tuple[NumberSettings, ...] = ()
    calls: CallSettings = field(default_factory=CallSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    log: LogSettings = field(default_factory=LogSettings)

    def __post_init__(self) -> None:
        for named in (
            [connector.connector_uuid for connector in self.connectors],
            [one for connector in self.connectors for one in connector.certificate_sha256],
        ):
            for name in named:
                if named.count(name) > 1:
                    raise SettingsError("connectors", f"name {name!r} twice")
        key = self.admin.key
        if key is not None and len(key) < ADMIN_KEY_LENGTH and not self.has_known_keys:
            raise SettingsError("admin.key", f"must have at least {ADMIN_KEY_LENGTH} characters")
        if self.tls.client_ca_file is None:
            if any(connector.certificate_sha256 for connector in self.connectors):
                raise SettingsError(
                    "connectors", "with a certificate_sha256 need tls.client_ca_file"
                )
            if self.media.require_client_certificate:
                raise SettingsError(
                    "media.require_client_certificate", "needs tls.client_ca_file, which is not set"
                )
        check_together(
            self.sip, self.trunks, self.extensions, self.numbers, self._known_connectors()
        )

    def _known_connectors(self) -> frozenset[str]:
        """Return all there are; none where the key file may have more of them."""
        if self.server.keys_file is not None:
            return frozenset()
        return frozenset(connector.connector_uuid for connector in self.connectors)

    @property
    def has_known_keys(self) -> bool:
        """Whether this is a sandbox that everybody on this machine has the keys of."""
        return self.connectors == (SANDBOX_CONNECTOR,)


GROUPS: Mapping[str, type] = {
    "server": ServerSettings,
    "tls": TlsSettings,
    "sip": SipSettings,
    "calls": CallSettings,
    "media": MediaSettings,
    "limits": LimitSettings,
    "admin": AdminSettings,
    "log": LogSettings,
}
"""Table of the TOML file to the class of its keys; lists of tables are in `tables.py`."""

KEYS: Mapping[str, Any] = {
    f"{group}.{name}": hint
    for group, settings in GROUPS.items()
    for name, hint in get_type_hints(settings).items()
}
"""Dotted name of every scalar setting, to its type."""


def for_sandbox(settings: Settings) -> Settings:
    """Give a sandbox that names no connectors the well-known one, and the well-known admin key.

    Raises:
        SettingsError: other machines could reach it; a key that everybody knows stays at home.
    """
    if settings.connectors or settings.server.keys_file is not None:
        if SANDBOX_NAME in {c.api_key for c in settings.connectors} and not (
            settings.server.is_loopback
        ):
            raise SettingsError(
                "connectors",
                f"have the sandbox's own key, which everybody knows, on {settings.server.host}, "
                "which other machines can reach: make a key of your own",
            )
        return settings
    if not settings.server.is_loopback:
        raise SettingsError(
            "server.host",
            f"is {settings.server.host}, which other machines can reach: the sandbox's own key "
            "works on a loopback host only. Name your connectors in a file (see "
            "config.sample.toml) and pass it with --config, or use --host 127.0.0.1",
        )
    admin = AdminSettings(key=settings.admin.key or SANDBOX_NAME)
    # Whatever a phone dials, the agent of whoever tries it answers.
    sip = replace(settings.sip, default_connector=settings.sip.default_connector or SANDBOX_NAME)
    return replace(settings, connectors=(SANDBOX_CONNECTOR,), admin=admin, sip=sip)
