"""Addresses as they stand in requests and headers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.sip.uri import NameAddress, SipError, SipUri, parse_name_address, parse_uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:alice@example.com", SipUri("sip", "alice", "example.com")),
        ("SIPS:example.com:5061", SipUri("sips", "", "example.com", 5061)),
        (
            "sip:+49;phone-context=x:pw@[2001:db8::1]:5070;transport=udp;lr",
            SipUri("sip", "+49", "2001:db8::1", 5070, (("transport", "udp"), ("lr", None))),
        ),
        ("sip:a%40b@c?Replaces=1", SipUri("sip", "a@b", "c", headers="Replaces=1")),
        ("tel:+4930;isub=1", SipUri("tel", "+4930", "")),
        (" sip:a@b ", SipUri("sip", "a", "b")),
    ],
)
def test_addresses_are_read(text: str, uri: SipUri) -> None:
    assert parse_uri(text) == uri


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 400),
        ("sip:", 400),
        ("sip:a b@c", 400),
        ("sip:a@b:99999", 400),
        ("tel:", 400),
        ("<sip:a@b>", 400),
        ("mailto:a@b", 416),
        ("soap.beep://a", 416),
    ],
)
def test_what_is_no_address_says_what_to_answer(text: str, status: int) -> None:
    with pytest.raises(SipError) as raised:
        parse_uri(text)

    assert raised.value.status == status


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@example.com",
        "sip:a%40b@[2001:db8::1]:5070;transport=udp;lr?h=1",
        "sips:example.com",
        "tel:+4930",
        "sip:a@b;empty=",
    ],
)
def test_addresses_are_written_as_they_were_read(text: str) -> None:
    assert str(parse_uri(text)) == text


def test_parameters_are_found_by_name() -> None:
    uri = parse_uri("sip:a@b;lr;Transport=udp;x=")

    assert [uri.parameter(name) for name in ("lr", "transport", "x", "y")] == ["", "udp", "", None]
    assert uri.transport_port == 5060
    assert parse_uri("sip:a@b:7").transport_port == 7


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ('"Ann \\"A\\" <x>" <sip:a@b>;tag=1', 'Ann "A" <x>', "1"),
        ("Ann B <sip:a@b> ; tag = 2", "Ann B", "2"),
        ("<sip:a@b>;tag=", "", None),
        ("sip:a@b;tag=3;x", "", "3"),
        ("<sip:a@b;tag=no>", "", None),
    ],
)
def test_names_and_tags(text: str, name: str, tag: str | None) -> None:
    address = parse_name_address(text)

    assert (address.name, address.tag, address.uri.user) == (name, tag, "a")


@pytest.mark.parametrize("text", ["", "<sip:a@b", '"open <sip:a@b>', "Bell, A <sip:a@b>", "<>"])
def test_what_names_nobody(text: str) -> None:
    with pytest.raises(SipError):
        parse_name_address(text)


def test_users_are_never_shown() -> None:
    address = parse_name_address('"Ann" <sip:+4930@example.com:7>')

    assert repr(address) == "NameAddress(SipUri(<hidden>@example.com:7))"


@given(st.text(max_size=60) | st.from_regex(r"(sips?|tel):[^ ]{0,30}@?[^ ]{0,20}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_uri, parse_name_address):
        with contextlib.suppress(SipError):
            parse(text)


@given(st.text(min_size=1, max_size=20), st.sampled_from(["example.com", "::1"]))
def test_any_user_survives_the_wire(user: str, host: str) -> None:
    uri = SipUri("sip", user.replace(";", "").replace("\ud800", "") or "x", host, 5061)
    if any("\ud800" <= one <= "\udfff" for one in uri.user):
        return

    assert parse_uri(str(uri)).user == uri.user
    assert parse_name_address(str(NameAddress(uri).uri)).uri == uri
