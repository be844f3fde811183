"""Digest, by the examples of the RFCs and by what goes wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.sip.digest import (
    NONCE_LIFE_S,
    Algorithm,
    Challenge,
    Nonces,
    answer,
    best_challenge,
    ha1,
    parse_credentials,
    verify,
)
from tests.support.sip_phone import authorization

NONCES = Nonces(b"secret")


def test_example_of_rfc_7616_with_both_algorithms() -> None:
    responses = []
    for algorithm in Algorithm:
        challenge = Challenge(
            "http-auth@example.org",
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            algorithm,
            has_qop=True,
            opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
        )
        text = answer(
            challenge,
            "Mufasa",
            "Circle of Life",
            "GET",
            "/dir/index.html",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        )
        credentials = parse_credentials(text)
        assert credentials is not None
        responses.append(credentials.response)
        assert 'opaque="FQhe' in text

    assert responses == [
        "8ca523f5e9506fed4657c9700eebdbec",
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    ]


def test_example_of_rfc_2617_without_qop() -> None:
    """RFC 2069 style: no qop, no cnonce; the response of RFC 2617's hash without them."""
    challenge = Challenge("r", "n", Algorithm.MD5, has_qop=False)

    text = answer(challenge, "u", "p", "REGISTER", "sip:x", "ignored")

    credentials = parse_credentials(text)
    assert credentials is not None
    assert credentials.qop is None
    assert "cnonce" not in text
    kept = ha1(Algorithm.MD5, "u", "r", "p")
    assert credentials.response == Algorithm.MD5.digest(
        kept, "n", Algorithm.MD5.digest("REGISTER", "sip:x")
    )


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_right_password_is_right_and_any_other_wrong(algorithm: Algorithm) -> None:
    challenge = Challenge("realm", NONCES.issue("192.0.2.1", 0), algorithm, has_qop=True)
    _, text = authorization(challenge.text, "alice", "secret", "INVITE", "sip:x")
    credentials = parse_credentials(text)
    assert credentials is not None

    right = {algorithm: ha1(algorithm, "alice", "realm", "secret")}
    wrong = {algorithm: ha1(algorithm, "alice", "realm", "other")}

    assert verify(credentials, right, "INVITE")
    assert not verify(credentials, right, "REGISTER")
    assert not verify(credentials, wrong, "INVITE")
    assert not verify(credentials, {}, "INVITE")


def test_nonce_is_fresh_for_a_minute_at_its_address() -> None:
    nonce = NONCES.issue("192.0.2.1", 100.0)

    assert NONCES.is_fresh(nonce, "192.0.2.1", 100.0 + NONCE_LIFE_S)
    assert not NONCES.is_fresh(nonce, "192.0.2.1", 101.0 + NONCE_LIFE_S)
    assert not NONCES.is_fresh(nonce, "192.0.2.2", 100.0)
    assert not Nonces(b"other").is_fresh(nonce, "192.0.2.1", 100.0)


@pytest.mark.parametrize("nonce", ["", ".", "zz.00", "é.é", "1." + "0" * 32])
def test_nonce_of_others_is_not_fresh(nonce: str) -> None:
    assert not NONCES.is_fresh(nonce, "192.0.2.1", 0)


def test_first_challenge_that_can_be_met_is_taken() -> None:
    found = best_challenge(
        [
            'Basic realm="x"',
            'Digest realm="r", nonce="1", algorithm=SHA-512-256, qop="auth"',
            'Digest realm="r", nonce="2", algorithm=MD5-sess, qop="auth"',
            'Digest realm="r", nonce="3", qop="auth-int"',
            'Digest realm="r"',
            'digest realm="a, b", nonce="4", qop="auth-int, auth", opaque="o", algorithm=sha-256',
        ]
    )

    assert found == Challenge("a, b", "4", Algorithm.SHA_256, has_qop=True, opaque="o")
    assert best_challenge(['Digest realm="r", nonce="5"']) == Challenge(
        "r", "5", Algorithm.MD5, has_qop=False
    )
    assert best_challenge([]) is None


WHOLE = 'Digest username="a", realm="r", nonce="n", uri="sip:x", response="f"'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic abc",
        WHOLE.replace('response="f"', ""),
        WHOLE + ", algorithm=AKAv1-MD5",
        WHOLE + ", qop=auth-int",
        WHOLE + ", qop=auth",
    ],
)
def test_credentials_that_prove_nothing(text: str) -> None:
    assert parse_credentials(text) is None


def test_stale_challenge_says_so() -> None:
    challenge = Challenge("r", "n", Algorithm.MD5, has_qop=True)

    assert challenge.stale_text == challenge.text + ", stale=true"


def test_secrets_are_never_shown() -> None:
    credentials = parse_credentials(WHOLE)

    assert "sip:x" not in repr(credentials)
    assert '"n"' not in repr(Challenge("r", "n", Algorithm.MD5, has_qop=True))


@given(st.text(max_size=80))
def test_any_header_is_read_or_passed_over(text: str) -> None:
    parse_credentials(text)
    parse_credentials(WHOLE + text)
    best_challenge([text, "Digest " + text])


@given(st.text('abc"\\ ,=é', min_size=1, max_size=8), st.text(max_size=8))
def test_any_password_works(realm: str, password: str) -> None:
    realm = realm.replace('"', "").replace("\\", "")
    if any("\ud800" <= one <= "\udfff" for one in password):
        return
    challenge = Challenge(realm, "n", Algorithm.MD5, has_qop=True)

    credentials = parse_credentials(answer(challenge, "u", password, "INVITE", "sip:x", "c"))

    assert credentials is not None
    kept = {Algorithm.MD5: ha1(Algorithm.MD5, "u", realm, password)}
    assert verify(credentials, kept, "INVITE")
