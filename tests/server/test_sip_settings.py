"""Trunks, extensions and numbers as the settings file has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from telcoflow_server.loading import load
from telcoflow_server.settings import SANDBOX_CONNECTOR, Settings, SettingsError, for_sandbox
from telcoflow_server.sip_settings import (
    ExtensionSettings,
    NumberSettings,
    SipSettings,
    TrunkSettings,
)

MD5, SHA256 = "a" * 32, "b" * 64
CONNECTOR = "[[connectors]]\nconnector_uuid = 'desk'\napi_key = 'k'\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_a_trunk_an_extension_and_a_number_are_read(config: Path) -> None:
    config.write_text(
        CONNECTOR + "[sip]\nport = 5060\ndefault_trunk = 'carrier'\n"
        "[[trunks]]\nname = 'carrier'\nhost = '203.0.113.9'\nuser = 'u'\npassword = 'p'\n"
        "registers = true\ncodecs = ['pcma', 'PCMU']\nconnectors = ['desk']\n"
        f"[[extensions]]\nuser = '101'\nha1_md5 = '{MD5}'\nha1_sha256 = '{SHA256}'\n"
        "[[numbers]]\nnumber = '+49 30 901820'\nconnector = 'desk'\n"
    )

    settings = load(config, {})

    assert settings.sip == SipSettings(port=5060, default_trunk="carrier")
    assert settings.trunks == (
        TrunkSettings(
            name="carrier",
            host="203.0.113.9",
            user="u",
            password="p",
            registers=True,
            codecs=("pcma", "PCMU"),
            connectors=("desk",),
        ),
    )
    assert settings.extensions == (ExtensionSettings(user="101", ha1_md5=MD5, ha1_sha256=SHA256),)
    assert settings.numbers == (NumberSettings(number="+49 30 901820", connector="desk"),)


@pytest.mark.parametrize(
    ("way", "variables"),
    [
        ("password = 's3cret'", {}),
        ("password_file = 'secret'", {}),
        ("password_env = 'CARRIER'", {"CARRIER": "s3cret"}),
    ],
)
def test_a_trunks_password_is_taken_from_file_environment_or_text(
    config: Path, way: str, variables: dict[str, str]
) -> None:
    (config.parent / "secret").write_text("s3cret\n")
    config.write_text(f"[[trunks]]\nname = 'a'\nhost = 'b'\nuser = 'c'\n{way}\n")

    [trunk] = load(config, variables).trunks

    assert trunk.password == "s3cret"
    assert "s3cret" not in repr(trunk)


TRUNK = "[[trunks]]\nname = 'carrier'\nhost = 'sip.example'\n"
EXTENSION = f"[[extensions]]\nuser = '101'\nha1_md5 = '{MD5}'\n"


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("[[trunks]]\nname = 'a'\n", "trunks[0] needs a host", 1),
        (TRUNK + "hots = 'a'\n", "trunks[0].hots is no setting; did you mean host?", 4),
        (TRUNK + "port = 'a'\n", "trunks[0].port must be a whole number, not 'a'", 4),
        (TRUNK + "port = 0\n", "trunks[0].port must be 1 to 65535, not 0", 4),
        (TRUNK + "registers = 1\n", "trunks[0].registers must be true or false, not 1", 4),
        (TRUNK + "registers = true\n", "trunks[0].registers needs a user and a password", 4),
        (TRUNK + "sources = '1.2.3.4'\n", "trunks[0].sources must be a list of strings", 4),
        (TRUNK + "sources = ['1.2.3']\n", "must be addresses and networks such as", 4),
        (TRUNK + "codecs = ['GSM']\n", "must be of opus, G722, PCMU, PCMA or L16, not 'GSM'", 4),
        (TRUNK + "keep_alive_s = -1\n", "trunks[0].keep_alive_s must be 0 to 3600, not -1", 4),
        (TRUNK + "expires_s = 1\n", "trunks[0].expires_s must be 60 to 86400, not 1", 4),
        (TRUNK + "password = 's3cret'\n", "trunks[0].user must be set: the password is its", None),
        (TRUNK + "password = 53\n", "trunks[0].password must be a string", 4),
        (TRUNK + "password_env = 'NONE'\n", "trunks[0].password_env names NONE, which is not", 4),
        (TRUNK + "password_file = 'no'\n", "password_file names no, which cannot be read", 4),
        (
            TRUNK + "password = 's3cret'\npassword_env = 'a'\n",
            "may have one of password, password_file or password_env, not password and",
            1,
        ),
        ("[[trunks]]\nname = ''\nhost = 'a'\n", "trunks[0].name must be a printable name", 2),
        ("[[trunks]]\nname = 'a'\nhost = 'a b'\n", "trunks[0].host must be an address or", 3),
        (TRUNK + TRUNK, "trunks have name 'carrier' twice", 1),
        ("[[extensions]]\nha1_md5 = 'ab'\n", "extensions[0] needs a user", 1),
        (
            "[[extensions]]\nuser = '1'\n",
            "'1' needs ha1_md5 or ha1_sha256: `telcoflow sip-password 1` makes them",
            2,
        ),
        ("[[extensions]]\nuser = 'a b'\nha1_md5 = 'ab'\n", "must be letters, digits and any of", 2),
        ("[[extensions]]\nuser = '1'\nha1_md5 = 's3cret'\n", "must be 32 hexadecimal digits", 3),
        (EXTENSION + "password = 's3cret'\n", "extensions[0].password is no setting", 4),
        (EXTENSION + EXTENSION, "extensions have user '101' twice", 1),
        ("[[numbers]]\nnumber = '1'\n", "numbers[0] needs a connector", 1),
        ("[[numbers]]\nnumber = 's3cret'\nconnector = 'a'\n", "must be digits, perhaps", 2),
        ("[[numbers]]\nnumber = 1\nconnector = 'a'\n", "numbers[0].number must be a string", 2),
        ("[[numbers]]\nnumber = '1'\nconnector = ''\n", "numbers[0].connector must not be", 3),
        (
            "[[numbers]]\nnumber = '+1'\nconnector='a'\n[[numbers]]\nnumber='1'\nconnector='a'\n",
            "numbers have a number twice",
            1,
        ),
        ("trunks = 3\n", "trunks must be tables: [[trunks]]", 1),
        ("[[trunk]]\n", "trunk is no setting; did you mean trunks?", 1),
    ],
)
def test_a_wrong_table_is_said_with_line_key_and_what_is_allowed_and_no_secret(
    config: Path, text: str, said: str, line: int | None
) -> None:
    config.write_text(text)

    with pytest.raises(SettingsError) as caught:
        load(config, {})

    assert said in str(caught.value)
    if line is not None:
        assert str(caught.value).endswith(f"(in {config}, line {line})")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[[numbers]]\nnumber = '1'\nconnector = 'dek'\n", "numbers"),
        (TRUNK + "connectors = ['dek']\n", "trunks"),
        ("[sip]\ndefault_connector = 'dek'\n", "sip.default_connector"),
    ],
)
def test_a_connector_that_there_is_not_is_refused(config: Path, text: str, key: str) -> None:
    config.write_text(CONNECTOR + text)

    with pytest.raises(
        SettingsError, match="names 'dek', and there is no such connector"
    ) as caught:
        load(config, {})

    assert caught.value.key == key


def test_connectors_of_a_key_file_are_not_known_here(config: Path) -> None:
    config.write_text(
        CONNECTOR + "[server]\nkeys_file = 'k'\n[[numbers]]\nnumber = '1'\nconnector = 'other'\n"
    )

    assert load(config, {}).numbers[0].connector == "other"


def test_one_connector_has_one_trunk(config: Path) -> None:
    second = TRUNK.replace("carrier", "other")
    config.write_text(TRUNK + "connectors = ['a']\n" + second + "connectors = ['a']\n")

    with pytest.raises(SettingsError, match="trunks have connector 'a' twice"):
        load(config, {})


def test_a_wildcard_needs_an_address_that_phones_can_use() -> None:
    assert SipSettings(host="0.0.0.0", advertised_host="192.0.2.7").reached_at == "192.0.2.7"
    assert SipSettings(host="::", advertised_host="2001:db8::7").reached_at == "2001:db8::7"
    assert SipSettings(host="192.0.2.8").reached_at == "192.0.2.8"


def test_calls_without_a_password_stay_on_this_machine() -> None:
    assert SipSettings(unauthenticated_calls=True).unauthenticated_calls
    with pytest.raises(SettingsError, match=r"loopback sip\.host only"):
        SipSettings(host="192.0.2.8", unauthenticated_calls=True)


def test_rtp_ports_of_zero_are_any() -> None:
    assert SipSettings(rtp_first_port=0, rtp_last_port=0).rtp_last_port == 0


def test_the_shortest_registration_is_no_longer_than_the_longest() -> None:
    with pytest.raises(SettingsError, match=r"sip\.min_expires_s is above max_expires_s, 60"):
        SipSettings(min_expires_s=120, max_expires_s=60)


@pytest.mark.parametrize(
    ("host", "sources", "allowed"),
    [
        ("203.0.113.9", (), ("203.0.113.9",)),
        ("203.0.113.9", ("198.51.100.0/24",), ("198.51.100.0/24",)),
        ("sip.example", (), ()),
    ],
)
def test_a_trunks_calls_come_from_its_sources_or_from_its_address(
    host: str, sources: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    assert TrunkSettings(name="a", host=host, sources=sources).allowed_sources == allowed


def test_a_sandbox_lets_its_agents_have_every_number() -> None:
    settings = for_sandbox(Settings(numbers=(NumberSettings(number="1", connector="sandbox"),)))

    assert settings.connectors == (SANDBOX_CONNECTOR,)
    assert settings.sip.default_connector == "sandbox"
