"""A softphone's account as people need it: made up for a trial, and as two softphones want it.

Not here: accounts of a server's own (`sip_settings.py`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from telcoflow_server.settings import Settings
from telcoflow_server.sip.digest import Algorithm, ha1
from telcoflow_server.sip_settings import ExtensionSettings

TRIAL_USER = "100"

DEFAULT_SIP_PORT = 5060

PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Typed on a phone's keyboard, and none can be taken for another."""

PASSWORD_LENGTH = 10
"""Of 31 letters each: 49 bits, against a server that slows guessers down and then refuses them."""


def new_password() -> str:
    """Return a password nobody has guessed."""
    return "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(PASSWORD_LENGTH))


def extension_of(user: str, password: str, realm: str) -> ExtensionSettings:
    """Return what is kept of an account whose password any phone can use (MD5)."""
    return ExtensionSettings(user=user, ha1_md5=ha1(Algorithm.MD5, user, realm, password))


@dataclass(frozen=True, slots=True)
class Account:
    """What a softphone is to be told.

    Args:
        host: Where the server is reached.
        port: Likewise, UDP.
        password: None: it is the one that its owner chose.
    """

    user: str
    host: str
    port: int
    password: str | None = field(repr=False)

    @property
    def server(self) -> str:
        """Host and port, the port only where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_SIP_PORT else f"{host}:{self.port}"

    @property
    def shown_password(self) -> str:
        """The password, or in its place whose it is."""
        return self.password or "(the one that was given to telcoflow sip-password)"

    def line(self, codecs: Sequence[str]) -> str:
        """Return everything in one line, for people and scripts."""
        parts = [f"phone sip:{self.user}@{self.server}", f"user={self.user}"]
        if self.password is not None:
            parts.append(f"password={self.password}")
        return " ".join([*parts, "transport=udp", f"codecs={','.join(codecs)}"])

    def linphone(self) -> list[tuple[str, str]]:
        """Return the fields of Linphone's "Use a SIP account" and what goes into them."""
        return [
            ("Username", self.user),
            ("SIP domain", self.server),
            ("Password", self.shown_password),
            ("Transport", "UDP"),
            ("Media encryption", "None"),
        ]

    def baresip(self) -> str:
        """Return the line for baresip's file `accounts`."""
        password = self.password or "PASSWORD"
        return f"<sip:{self.user}@{self.server};transport=udp>;auth_pass={password};regint=600"


def codec_names(encodings: Sequence[str]) -> tuple[str, ...]:
    """Return each name once, in order."""
    return tuple(dict.fromkeys(encodings))


def with_trial_account(settings: Settings, password: str) -> Settings:
    """Add an account to settings that want phones and know none, trunks neither."""
    if settings.sip.port is None or settings.extensions or settings.trunks:
        return settings
    extension = extension_of(TRIAL_USER, password, settings.sip.realm)
    return replace(settings, extensions=(extension,))
