from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from telcoflow_server.loading import load
from telcoflow_server.settings import (
    KEYS,
    ConnectorSettings,
    ServerSettings,
    Settings,
    SettingsError,
    for_sandbox,
)

SAMPLE = Path(__file__).parents[2] / "config.sample.toml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_defaults_need_neither_file_nor_environment() -> None:
    assert load(None, {}) == Settings()


def test_file_sets_what_it_names(config: Path) -> None:
    config.write_text('[server]\nport = 9000\n[calls]\nrecord_dir = "kept"\nring_timeout_s = 5\n')

    settings = load(config, {})

    assert settings.server == ServerSettings(port=9000)
    assert settings.calls.record_dir == Path("kept")
    assert settings.calls.ring_timeout_s == 5.0


def test_command_line_goes_before_environment_before_file(config: Path) -> None:
    config.write_text("[server]\nport = 1\nmedia_port = 1\ndrain_timeout_s = 1\n")
    environment = {"TELCOFLOW_SERVER_PORT": "2", "TELCOFLOW_SERVER_MEDIA_PORT": "2"}

    server = load(config, environment, {"server.port": 3, "server.media_port": None}).server

    assert (server.port, server.media_port, server.drain_timeout_s) == (3, 2, 1)


def test_environment_converts_words_to_types() -> None:
    settings = load(None, {"TELCOFLOW_LOG_JSON": "true", "TELCOFLOW_SERVER_DRAIN_TIMEOUT_S": "2.5"})

    assert settings.log.json is True
    assert settings.server.drain_timeout_s == 2.5


def test_empty_variable_is_unset() -> None:
    assert load(None, {"TELCOFLOW_SERVER_PORT": ""}) == Settings()


def test_variables_of_agents_are_left_alone() -> None:
    environment = {
        "TELCOFLOW_BASE_URL": "ws://elsewhere:1",
        "TELCOFLOW_API_KEY": "k",
        "TELCOFLOW_CONNECTOR_UUID": "c",
        "PATH": "/bin",
    }

    assert load(None, environment) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[server]\nprot = 1",
            "server.prot is no setting; did you mean server.port? (in {}, line 2)",
        ),
        ("[sever]\nport = 1", "sever is no setting; did you mean server? (in {}, line 1)"),
        ("[[conectors]]\n", "conectors is no setting; did you mean connectors? (in {}, line 1)"),
        ("[server]\nport = '1'", "server.port must be a whole number, not '1'"),
        ("[server]\nport = 70000", "server.port must be 0 to 65535, not 70000 (in {}, line 2)"),
        ("[server]\nport = true", "server.port must be a whole number, not True"),
        ("server = 1", "server must be a table: [server] (in {}, line 1)"),
        ("[server]\nport = 65535", "server.media_port must be given"),
        ("[server]\ndrain_timeout_s = -1", "server.drain_timeout_s must be 0 to 3600, not -1"),
        ("[calls]\nring_timeout_s = nan", "calls.ring_timeout_s must be 0.1 to 600, not nan"),
        ("[calls]\nrecord_dir = 5", "calls.record_dir must be a string, not 5"),
        ("[media]\npublic_url = 'http://x'", "media.public_url must begin with ws:// or wss://"),
        ("[log]\njson = 'yes'", "log.json must be true or false, not 'yes'"),
        ("[log]\nlevel = 'loud'", "log.level must be debug, info, warning or error, not 'loud'"),
        ("[limits]\nmessages_per_second = 0", "limits.messages_per_second must be 1 to 100000"),
        ("connectors = 3", "connectors must be tables: [[connectors]]"),
        ("port = ", "is not TOML"),
    ],
)
def test_bad_file_is_refused_with_key_value_and_what_is_allowed(
    config: Path, text: str, said: str
) -> None:
    config.write_text(text)

    with pytest.raises(SettingsError) as caught:
        load(config, {})

    assert said.format(config) in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TELCOFLOW_SERVER_PROT", "1", "did you mean TELCOFLOW_SERVER_PORT?"),
        ("TELCOFLOW_API_KEYS", "secret", "did you mean TELCOFLOW_API_KEY?"),
        ("TELCOFLOW_SERVER_PORT", "abc", "not 'abc' (in TELCOFLOW_SERVER_PORT)"),
        ("TELCOFLOW_SERVER_PORT", "-1", "0 to 65535, not -1 (in TELCOFLOW_SERVER_PORT)"),
    ],
)
def test_bad_variable_is_refused_by_its_name(variable: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, {variable: value})

    assert said in str(caught.value)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml cannot be read"):
        load(tmp_path / "absent.toml", {})


def test_connectors_take_their_keys_from_file_environment_and_text(config: Path) -> None:
    (config.parent / "key").write_text("from-file\n")
    config.write_text(
        '[[connectors]]\nconnector_uuid = "a"\napi_key = "from-text"\n'
        '[[connectors]]\nconnector_uuid = "b"\napi_key_file = "key"\n'
        '[[connectors]]\nconnector_uuid = "c"\napi_key_env = "C_KEY"\n'
    )

    connectors = load(config, {"C_KEY": "from-environment"}).connectors

    assert {one.connector_uuid: one.api_key for one in connectors} == {
        "a": "from-text",
        "b": "from-file",
        "c": "from-environment",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("api_key = 'k3y'", "need a connector_uuid each"),
        ("connector_uuid = 'a'\napi_key = ''", "'a' has an empty API key"),
        ("connector_uuid = 'a'", "needs exactly one of api_key, api_key_file or api_key_env"),
        ("connector_uuid = 'a'\napi_key = 'k3y'\napi_key_env = 'K'", "needs exactly one of"),
        ("connector_uuid = 'a'\napi_key_env = 'K'", "names K, which is not set"),
        ("connector_uuid = 'a'\napi_key_file = 'absent'", "names absent, which cannot be read"),
        ("connector_uuid = 'a'\napi_key = 123454321", "connectors[0].api_key must be a string"),
        ("connector_uuid = 'a'\nap_key = 'k3y'", "did you mean api_key?"),
        (
            "connector_uuid='a'\napi_key='b'\n[[connectors]]\nconnector_uuid='a'\napi_key='c'",
            "name 'a' twice",
        ),
    ],
)
def test_bad_connector_is_refused_without_showing_its_key(
    config: Path, text: str, said: str
) -> None:
    config.write_text("[[connectors]]\n" + text)

    with pytest.raises(SettingsError) as caught:
        load(config, {})

    assert said in str(caught.value)
    assert "k3y" not in str(caught.value)
    assert "123454321" not in str(caught.value)


def test_keys_are_not_in_the_repr() -> None:
    connector = ConnectorSettings(connector_uuid="a", api_key="k3y")

    assert "k3y" not in repr(Settings(connectors=(connector,)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_sandbox_has_its_own_connector_on_a_loopback_host(host: str) -> None:
    settings = for_sandbox(Settings(server=ServerSettings(host=host)))

    assert settings.connectors == (ConnectorSettings(connector_uuid="sandbox", api_key="sandbox"),)


def test_sandbox_on_other_hosts_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0.*--config.*--host 127\.0\.0\.1"):
        for_sandbox(Settings(server=ServerSettings(host="0.0.0.0")))


def test_sandbox_with_connectors_of_its_own_has_only_those() -> None:
    own = (ConnectorSettings(connector_uuid="a", api_key="k3y"),)
    settings = Settings(server=ServerSettings(host="0.0.0.0"), connectors=own)

    assert for_sandbox(settings).connectors == own


def test_sample_as_it_stands_changes_nothing() -> None:
    assert load(SAMPLE, {}) == Settings()


def test_sample_names_every_setting_with_its_default(config: Path) -> None:
    uncommented = re.sub(r"^#(?=\S)", "", SAMPLE.read_text(), flags=re.MULTILINE)
    config.write_text(uncommented)
    table = tomllib.loads(uncommented)
    del table["connectors"]

    named = {
        f"{group}.{key}": value for group, keys in table.items() for key, value in keys.items()
    }
    assert set(named) == set(KEYS)
    defaults = Settings()
    for key, value in named.items():
        group, _, name = key.partition(".")
        default = getattr(getattr(defaults, group), name)
        assert default is None or value == default, key
    assert load(config, {"FRONT_DESK_KEY": "k"}).connectors[0].connector_uuid == "front-desk"
