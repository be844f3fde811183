from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from telcoflow_server.loading import load
from telcoflow_server.settings import (
    KEYS,
    AdminSettings,
    ConnectorSettings,
    ServerSettings,
    Settings,
    SettingsError,
    for_sandbox,
)
from telcoflow_server.tables import TABLES

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
        ("[media]\npublic_url = 'wss://'", "media.public_url must be ws:// or wss://, a host"),
        ("[media]\npublic_url = 'wss://a b'", "media.public_url must be ws:// or wss://, a host"),
        ("[media]\npublic_url = 'wss://a:x'", "media.public_url must be ws:// or wss://, a host"),
        ("[calls]\nrecord_dir = ''", "calls.record_dir must name a folder"),
        (
            "[[connectors]]\nconnector_uuid = \"a\\n\"\napi_key = 'x'",
            "must have printable names, not",
        ),
        ("[media]\npublic_url = 'http://x'", "media.public_url must be ws:// or wss://"),
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


PORTS = "must be 0 to 65535, not "
NUMBER, WHOLE, STRING = "must be a number, not ", "must be a whole number, not ", "must be a string"
BOOLEAN = "must be true or false, not "

WRONG: dict[str, list[tuple[str, str]]] = {
    "server.host": [("5", STRING + ", not 5"), ("''", "must be an address or a name, not ''")],
    "server.port": [("-1", PORTS + "-1"), ("65536", PORTS + "65536"), ("'1'", WHOLE + "'1'")],
    "server.media_port": [("70000", PORTS + "70000"), ("1.5", WHOLE + "1.5")],
    "server.drain_timeout_s": [
        ("-1", "must be 0 to 3600, not -1"),
        ("inf", "must be 0 to 3600, not inf"),
        ("true", NUMBER + "True"),
    ],
    "server.keys_file": [("5", STRING + ", not 5")],
    "tls.cert_file": [("5", STRING + ", not 5"), ("'a'", "needs tls.key_file, which is not set")],
    "tls.key_file": [("5", STRING + ", not 5"), ("'a'", "needs tls.cert_file, which is not set")],
    "tls.client_ca_file": [("[]", STRING + ", not []"), ("'a'", "needs tls.cert_file")],
    "tls.crl_file": [("{}", STRING + ", not {}"), ("'a'", "needs tls.client_ca_file")],
    "sip.port": [("-1", PORTS + "-1"), ("'1'", WHOLE + "'1'")],
    "sip.host": [
        ("'example.org'", "must be an IPv4 or IPv6 address, not 'example.org'"),
        ("'0.0.0.0'", "every address of this machine: sip.advertised_host must say which"),
    ],
    "sip.advertised_host": [
        ("'sip.example.org'", "must be an IPv4 or IPv6 address, not 'sip.example.org'"),
        ("'::1'", "must be one IPv4 address, as sip.host is, not '::1'"),
        ("'0.0.0.0'", "must be one IPv4 address, as sip.host is, not '0.0.0.0'"),
    ],
    "sip.realm": [("''", "must be 1 to 128 letters without quotes"), ("'a\"b'", "without quotes")],
    "sip.rtp_first_port": [
        ("16385", "must be even, not 16385"),
        ("80", "must be 1024 to 65534, not 80"),
    ],
    "sip.rtp_last_port": [
        ("16384", "must be above rtp_first_port, 16384"),
        ("65536", "must be 1024 to 65535, not 65536"),
    ],
    "sip.default_connector": [("5", STRING + ", not 5")],
    "sip.default_trunk": [("'carrier'", "is no trunk's name: 'carrier'")],
    "sip.unauthenticated_calls": [("1", BOOLEAN + "1")],
    "sip.max_dialogs": [("0", "must be 1 to 100000, not 0")],
    "sip.invites_per_second": [("0", "must be 0.1 to 100000, not 0")],
    "sip.messages_per_second": [("0.5", "must be 1 to 1000000, not 0.5")],
    "sip.retry_after_s": [("0", "must be 1 to 3600, not 0")],
    "sip.min_expires_s": [("5", "must be 10 to 3600, not 5")],
    "sip.max_expires_s": [("90000", "must be 60 to 86400, not 90000")],
    "calls.ring_timeout_s": [("0", "must be 0.1 to 600, not 0"), ("'1'", NUMBER + "'1'")],
    "calls.media_grace_s": [("0", "must be 1 to 60, not 0"), ("61", "must be 1 to 60, not 61")],
    "calls.record_dir": [("false", STRING + ", not False")],
    "calls.record_split": [("1", BOOLEAN + "1"), ("true", "needs calls.record_dir")],
    "media.public_url": [
        ("1", STRING + ", not 1"),
        ("'http://a'", "ws:// or wss://, a host and perhaps a port, not 'http"),
    ],
    "media.require_client_certificate": [
        ("'yes'", BOOLEAN + "'yes'"),
        ("true", "needs tls.client_ca_file, which is not set"),
    ],
    "limits.messages_per_second": [
        ("0", "must be 1 to 100000, not 0"),
        ("1.5", WHOLE + "1.5"),
    ],
    "limits.calls_per_connector": [("100001", "must be 1 to 100000, not 100001")],
    "limits.call_duration_s": [
        ("0.5", "must be 1 to 604800, not 0.5"),
        ("nan", "must be 1 to 604800, not nan"),
    ],
    "limits.connections_per_address": [("0", "must be 1 to 1000000, not 0")],
    "limits.connection_attempts_per_minute": [("1000001", "must be 1 to 1000000, not 1000001")],
    "admin.key": [("5", STRING), ("'hunter2'", "must have at least 16 characters")],
    "log.level": [("'loud'", "must be debug, info, warning or error, not 'loud'")],
    "log.json": [("'yes'", BOOLEAN + "'yes'"), ("1979-05-27", BOOLEAN + "datetime.date")],
}
"""Values that cannot be, of every setting, and what must be said of them."""


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [(key, value, said) for key, cases in WRONG.items() for value, said in cases],
)
def test_a_wrong_value_is_said_with_line_key_value_and_what_is_allowed(
    config: Path, key: str, value: str, said: str
) -> None:
    group, _, name = key.partition(".")
    config.write_text(f"# a comment\n\n[{group}]\n# {name} = 1\n{name} = {value}\n")

    with pytest.raises(SettingsError) as caught:
        load(config, {})

    text = str(caught.value)
    assert text.startswith(f"{key} ")
    assert said in text
    assert text.endswith(f" (in {config}, line 5)")
    assert "hunter2" not in text


def test_every_setting_has_a_wrong_value() -> None:
    assert set(WRONG) == set(KEYS)


@pytest.mark.parametrize("key", ["tls.cert_file", "tls.crl_file", "server.keys_file"])
def test_files_are_found_beside_the_file_that_names_them(config: Path, key: str) -> None:
    given = {"tls.cert_file": "a", "tls.key_file": "a", "tls.client_ca_file": "a", key: "dir/file"}
    config.write_text("".join(f'{name} = "{file}"\n' for name, file in given.items()))

    settings = load(config, {})

    group, _, name = key.partition(".")
    assert getattr(getattr(settings, group), name) == config.parent / "dir" / "file"


def test_absolute_files_and_those_of_the_environment_are_taken_as_they_are(config: Path) -> None:
    config.write_text('[tls]\ncert_file = "/a/b"\nkey_file = "c"\n')

    tls = load(config, {"TELCOFLOW_TLS_KEY_FILE": "here"}).tls

    assert (tls.cert_file, tls.key_file) == (Path("/a/b"), Path("here"))


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
        ("connector_uuid = 'a'\ncertificate_sha256 = 5", "a string or a list of strings"),
        ("connector_uuid = 'a'\ncertificate_sha256 = [5]", "a string or a list of strings"),
        ("connector_uuid = 'a'\ncertificate_sha256 = 'ab'", "64 hexadecimal digits, not 'ab'"),
        ("connector_uuid = 'a'\ncertificate_sha256 = []", "needs exactly one of"),
        (f"connector_uuid = 'a'\ncertificate_sha256 = '{'a' * 64}'", "need tls.client_ca_file"),
        (
            f"connector_uuid = 'a'\ncertificate_sha256 = ['{'a' * 64}', '{':'.join(['AA'] * 32)}']",
            f"name '{'a' * 64}' twice",
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


def test_a_connector_may_have_certificates_and_a_key(config: Path) -> None:
    first, second = "a" * 64, "B" * 64
    config.write_text(
        '[tls]\ncert_file = "a"\nkey_file = "a"\nclient_ca_file = "a"\n'
        f'[[connectors]]\nconnector_uuid = "a"\ncertificate_sha256 = "{first}"\n'
        f'[[connectors]]\nconnector_uuid = "b"\ncertificate_sha256 = ["{second}"]\n'
        'api_key = "k"\n'
    )

    one, other = load(config, {}).connectors

    assert (one.api_key, one.certificate_sha256) == (None, (first,))
    assert (other.api_key, other.certificate_sha256) == ("k", (second.lower(),))


def test_a_wrong_connector_is_said_with_its_line(config: Path) -> None:
    config.write_text(
        '[[connectors]]\nconnector_uuid = "a"\napi_key = "b"\n\n'
        '[[connectors]]\nconnector_uuid = "c"\ncertificate_sha256 = "d"\n'
    )

    with pytest.raises(SettingsError, match=r"^connectors\[1\]\.certificate_sha256 .*, line 7\)$"):
        load(config, {})


def test_the_well_known_admin_key_comes_with_the_well_known_connector_only() -> None:
    own = (ConnectorSettings(connector_uuid="a", api_key="k3y"),)

    assert for_sandbox(Settings()).admin.key == "sandbox"
    assert for_sandbox(Settings(connectors=own)).admin.key is None
    with_keys = ServerSettings(keys_file=Path("keys.json"))
    assert for_sandbox(Settings(server=with_keys)) == Settings(server=with_keys)


def test_keys_are_not_in_the_repr() -> None:
    connector = ConnectorSettings(connector_uuid="a", api_key="k3y")
    admin = AdminSettings(key="k3y-of-the-operator")

    assert "k3y" not in repr(Settings(connectors=(connector,), admin=admin))


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
    for name in TABLES:
        del table[name]

    named = {
        f"{group}.{key}": value for group, keys in table.items() for key, value in keys.items()
    }
    assert set(named) == set(KEYS)
    defaults = Settings()
    for key, value in named.items():
        group, _, name = key.partition(".")
        default = getattr(getattr(defaults, group), name)
        assert default is None or value == default, key
    loaded = load(config, {"FRONT_DESK_KEY": "k", "CARRIER_PASSWORD": "p"})
    assert loaded.connectors[0].connector_uuid == "front-desk"
    [trunk], [extension], [number] = loaded.trunks, loaded.extensions, loaded.numbers
    for one in (trunk, extension, number):
        assert [field.name for field in fields(one) if getattr(one, field.name) is None] == []


def test_the_well_known_key_of_a_connector_stays_at_home_too() -> None:
    known = (ConnectorSettings(connector_uuid="sandbox", api_key="sandbox"),)

    with pytest.raises(SettingsError, match="everybody knows"):
        for_sandbox(Settings(server=ServerSettings(host="0.0.0.0"), connectors=known))
    assert for_sandbox(Settings(connectors=known)).connectors == known
