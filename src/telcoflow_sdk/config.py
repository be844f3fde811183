"""What a client is told: where the server is, who we are, which audio we want.

Not here: connecting (`client.py`). Implements `TelcoflowClientConfig` of docs/reference/sdk.md.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from telcoflow_sdk.audio.format import (
    CHANNELS,
    DEFAULT_SAMPLE_RATE_HZ,
    AudioFormat,
    CallAudio,
)
from telcoflow_sdk.exceptions import WSSConnectionError
from telcoflow_sdk.protocol.backoff import ReconnectPolicy

BASE_URL_VARIABLE = "TELCOFLOW_BASE_URL"
SANDBOX_BASE_URL = "ws://127.0.0.1:8080"

DEFAULT_BUFFER_BYTES = 8 * 1024 * 1024
"""About 174 s at 24 kHz: a text-to-speech engine may deliver a long answer at once."""

_CONTROL_PATH = "/v1/agent/session-manager"

_logger = logging.getLogger("telcoflow_sdk")

FilePath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelcoflowClientConfig:
    """How to reach a server. Made by `sandbox` or `production`.

    Attributes:
        base_url: `ws://host:port` or `wss://host:port`, without a slash at the end.
        audio_format: Of both directions of every call.
        buffer_size: Most outgoing audio that a call holds, bytes; taken as it fills.
        audio_mode: "mixed": the agent hears one channel; "isolated": also caller and callee on
            channels of their own.
        api_key: With `connector_uuid`, or None with a certificate. Never in `repr`.
        connector_uuid: Which connector's calls to take.
        cert_path: PEM file with the client certificate.
        key_path: PEM file with its key.
        ca_path: PEM file with the authorities to trust; None means the system's.
        reconnect: How the control link comes back.
    """

    base_url: str
    audio_format: AudioFormat
    buffer_size: int
    audio_mode: str = "mixed"
    api_key: str | None = field(default=None, repr=False)
    connector_uuid: str | None = None
    cert_path: FilePath | None = None
    key_path: FilePath | None = None
    ca_path: FilePath | None = None
    reconnect: ReconnectPolicy = field(default_factory=ReconnectPolicy)

    def __post_init__(self) -> None:
        if self.buffer_size < self.audio_format.frame_bytes:
            raise ValueError(
                f"buffer_size must be at least one frame, {self.audio_format.frame_bytes} bytes, "
                f"not {self.buffer_size}"
            )
        if self.audio_mode not in CHANNELS:
            raise ValueError(
                f"audio_mode must be one of {tuple(CHANNELS)}, not {self.audio_mode!r}"
            )

    @classmethod
    def sandbox(
        cls,
        *,
        api_key: str,
        connector_uuid: str,
        sample_rate: int = DEFAULT_SAMPLE_RATE_HZ,
        buffer_size: int = DEFAULT_BUFFER_BYTES,
        audio_mode: str = "mixed",
        base_url: str | None = None,
        ca_path: FilePath | None = None,
        reconnect: ReconnectPolicy | None = None,
    ) -> TelcoflowClientConfig:
        """Return a configuration with an API key.

        Args:
            api_key: Not empty.
            connector_uuid: Not empty.
            sample_rate: 8000, 16000 or 24000 Hz.
            buffer_size: Bytes of outgoing audio a call holds at most, at least one frame.
            audio_mode: "mixed", or "isolated" for `audio_stream(1)` and `audio_stream(2)`.
            base_url: Defaults to the environment variable `TELCOFLOW_BASE_URL`, then to
                `ws://127.0.0.1:8080`.
            ca_path: PEM file with authorities to trust instead of the system's.
            reconnect: Defaults to 0.5 s growing to 10 s.

        Raises:
            ValueError: an argument is missing or outside its range.
        """
        _require(api_key=api_key, connector_uuid=connector_uuid)
        url = _base_url(base_url or os.environ.get(BASE_URL_VARIABLE) or SANDBOX_BASE_URL)
        parts = urlsplit(url)
        if parts.scheme == "ws" and not _is_loopback(parts.hostname or ""):
            _logger.warning("the API key travels in clear text to %s: use wss://", parts.hostname)
        return cls(
            base_url=url,
            audio_format=AudioFormat(sample_rate),
            buffer_size=buffer_size,
            audio_mode=audio_mode,
            api_key=api_key,
            connector_uuid=connector_uuid,
            ca_path=ca_path,
            reconnect=reconnect or ReconnectPolicy(),
        )

    @classmethod
    def production(
        cls,
        *,
        cert_path: FilePath,
        key_path: FilePath,
        sample_rate: int = DEFAULT_SAMPLE_RATE_HZ,
        buffer_size: int = DEFAULT_BUFFER_BYTES,
        audio_mode: str = "mixed",
        base_url: str | None = None,
        ca_path: FilePath | None = None,
        reconnect: ReconnectPolicy | None = None,
    ) -> TelcoflowClientConfig:
        """Return a configuration with a client certificate, shown on every link.

        The files are read when the client connects.

        Args:
            cert_path: PEM file with the certificate.
            key_path: PEM file with its key.
            sample_rate: 8000, 16000 or 24000 Hz.
            buffer_size: Bytes of outgoing audio a call holds at most, at least one frame.
            audio_mode: "mixed", or "isolated" for `audio_stream(1)` and `audio_stream(2)`.
            base_url: `wss://` only; defaults to the environment variable `TELCOFLOW_BASE_URL`.
            ca_path: PEM file with authorities to trust instead of the system's.
            reconnect: Defaults to 0.5 s growing to 10 s.

        Raises:
            ValueError: an argument is missing or outside its range.
        """
        _require(cert_path=cert_path, key_path=key_path)
        url = base_url or os.environ.get(BASE_URL_VARIABLE)
        if not url:
            raise ValueError(f"production needs base_url or the variable {BASE_URL_VARIABLE}")
        url = _base_url(url)
        if not url.startswith("wss://"):
            raise ValueError("base_url must be wss:// in production")
        return cls(
            base_url=url,
            audio_format=AudioFormat(sample_rate),
            buffer_size=buffer_size,
            audio_mode=audio_mode,
            cert_path=cert_path,
            key_path=key_path,
            ca_path=ca_path,
            reconnect=reconnect or ReconnectPolicy(),
        )

    @property
    def sample_rate(self) -> int:
        """Samples per second, of both directions."""
        return self.audio_format.sample_rate_hz

    @property
    def call_audio(self) -> CallAudio:
        """What audio each call carries and holds."""
        return CallAudio(self.audio_format, CHANNELS[self.audio_mode], self.buffer_size)

    @property
    def control_url(self) -> str:
        """Where the control link is."""
        return self.base_url + _CONTROL_PATH

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that say who we are; none when the certificate does."""
        if self.api_key is None or self.connector_uuid is None:
            return {}
        return {"x-api-key": self.api_key, "x-connector-uuid": self.connector_uuid}

    def tls_context(self) -> ssl.SSLContext | None:
        """Read certificates and authorities; None when neither is configured.

        Raises:
            WSSConnectionError: a file is missing or not what it should be.
        """
        if self.cert_path is None and self.ca_path is None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_path)
            if self.cert_path is not None:
                context.load_cert_chain(self.cert_path, self.key_path)
        except (OSError, ssl.SSLError) as error:
            # The text of OpenSSL's errors names a reason, never content.
            raise WSSConnectionError(f"cannot use the certificate files: {error}") from None
        return context


def _require(**arguments: FilePath) -> None:
    for name, value in arguments.items():
        if not value:
            raise ValueError(f"{name} is missing")


def _base_url(url: str) -> str:
    url = url.rstrip("/")
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("ws", "wss") and bool(parts.hostname)
        _ = parts.port  # raises when it is no number
    except ValueError:
        is_usable = False
    # Not quoted: what is wrong with it may be that it holds a password.
    if not is_usable:
        raise ValueError("base_url must look like ws://host:port or wss://host:port")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("base_url must not hold credentials, a query or a fragment")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
