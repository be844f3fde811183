from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from telcoflow_sdk import ReconnectPolicy, TelcoflowClientConfig, WSSConnectionError


@pytest.fixture(autouse=True)
def _no_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELCOFLOW_BASE_URL", raising=False)


def sandbox(**more: Any) -> TelcoflowClientConfig:
    return TelcoflowClientConfig.sandbox(**({"api_key": "key", "connector_uuid": "uuid"} | more))


def production(**more: Any) -> TelcoflowClientConfig:
    arguments = {"cert_path": "c.pem", "key_path": "k.pem", "base_url": "wss://host"}
    return TelcoflowClientConfig.production(**(arguments | more))


def test_sandbox_defaults() -> None:
    config = sandbox()

    assert config.control_url == "ws://127.0.0.1:8080/v1/agent/session-manager"
    assert config.sample_rate == 24_000
    assert config.buffer_size == 8 * 1024 * 1024
    assert config.credentials == {"x-api-key": "key", "x-connector-uuid": "uuid"}
    assert config.reconnect == ReconnectPolicy()
    assert config.tls_context() is None


def test_base_url_comes_from_argument_then_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELCOFLOW_BASE_URL", "ws://localhost:9000/")

    assert sandbox().base_url == "ws://localhost:9000"
    assert sandbox(base_url="ws://127.0.0.1:1//").base_url == "ws://127.0.0.1:1"


@pytest.mark.parametrize("name", ["api_key", "connector_uuid"])
@pytest.mark.parametrize("value", ["", None])
def test_missing_key_is_named(name: str, value: str | None) -> None:
    with pytest.raises(ValueError, match=f"{name} is missing"):
        sandbox(**{name: value})


@pytest.mark.parametrize("name", ["cert_path", "key_path"])
def test_missing_certificate_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is missing"):
        production(**{name: ""})


def test_production_shows_a_certificate_and_no_key() -> None:
    config = production(sample_rate=8_000, buffer_size=1_000)

    assert config.credentials == {}
    assert (config.sample_rate, config.buffer_size) == (8_000, 1_000)
    assert config.control_url == "wss://host/v1/agent/session-manager"


def test_production_without_a_base_url_names_both_ways_to_give_one() -> None:
    with pytest.raises(ValueError, match=r"base_url.*TELCOFLOW_BASE_URL"):
        production(base_url=None)


def test_production_takes_the_base_url_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELCOFLOW_BASE_URL", "wss://elsewhere")

    assert production(base_url=None).base_url == "wss://elsewhere"


def test_production_takes_no_clear_text() -> None:
    with pytest.raises(ValueError, match="wss://"):
        production(base_url="ws://host")


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "host:8080",
        "ws://",
        "ws://host:port",
        "ws://user:secret@host",
        "ws://host?key=secret",
        "ws://host#secret",
        "ws://[::1",
    ],
)
def test_unusable_base_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        sandbox(base_url=url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("sample_rate", [0, 11_025, 48_000])
def test_other_sample_rates_are_refused(sample_rate: int) -> None:
    with pytest.raises(ValueError, match="sample rate"):
        sandbox(sample_rate=sample_rate)


@pytest.mark.parametrize("factory", [sandbox, production])
def test_audio_is_mixed_unless_it_is_asked_for_apart(
    factory: Callable[..., TelcoflowClientConfig],
) -> None:
    assert factory().call_audio.channels == 1
    assert factory(audio_mode="isolated").call_audio.channels == 3


def test_other_audio_modes_are_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'mixed', 'isolated'"):
        sandbox(audio_mode="stereo")


def test_buffer_must_hold_a_frame() -> None:
    with pytest.raises(ValueError, match="960"):
        sandbox(buffer_size=959)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "[2001:db8::1]"])
def test_key_in_clear_text_to_another_machine_warns(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox(base_url=f"ws://{host}:8080")

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "wss://" in record.getMessage()


@pytest.mark.parametrize(
    "url", ["ws://localhost:1", "ws://127.0.0.1:1", "ws://[::1]:1", "wss://example.org"]
)
def test_key_that_nobody_can_read_does_not_warn(url: str, caplog: pytest.LogCaptureFixture) -> None:
    sandbox(base_url=url)

    assert caplog.records == []


def test_keys_are_never_in_repr() -> None:
    assert "very-secret" not in repr(sandbox(api_key="very-secret"))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_certificate_files_are_an_error_when_they_are_used(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_text(content)
    config = production(cert_path=path, key_path=path)

    with pytest.raises(WSSConnectionError, match="certificate files"):
        config.tls_context()
