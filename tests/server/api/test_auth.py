from __future__ import annotations

import pytest

from telcoflow_sdk.protocol.codes import ErrorCode
from telcoflow_server.api.auth import KeyRing, Refused
from telcoflow_server.keys import digest_of

KEY, OLD_KEY, OTHER_KEY = "tfk_1", "tfk_0", "tfk_2"
CERTIFICATE, OTHER_CERTIFICATE = "aa" * 32, "bb" * 32


@pytest.fixture
def ring() -> KeyRing:
    ring = KeyRing()
    ring.replace(
        [("c1", digest_of(KEY)), ("c1", digest_of(OLD_KEY)), ("c2", digest_of(OTHER_KEY))],
        {CERTIFICATE: "c1", OTHER_CERTIFICATE: "c2"},
    )
    return ring


@pytest.mark.parametrize(
    ("api_key", "connector_uuid", "certificate"),
    [
        (KEY, "c1", None),
        (OLD_KEY, "c1", None),
        (None, None, CERTIFICATE),
        (None, "c1", CERTIFICATE),
        ("", "c1", CERTIFICATE),
        (KEY, "c1", OTHER_CERTIFICATE),
        (KEY, "c1", "cc" * 32),
    ],
)
def test_a_key_or_a_certificate_speaks_for_its_connector(
    ring: KeyRing, api_key: str | None, connector_uuid: str | None, certificate: str | None
) -> None:
    assert ring.connector(api_key, connector_uuid, certificate) == "c1"


@pytest.mark.parametrize(
    ("api_key", "connector_uuid", "certificate", "status", "code"),
    [
        (None, None, None, 401, ErrorCode.UNAUTHORIZED),
        (KEY, None, None, 401, ErrorCode.UNAUTHORIZED),
        (None, "c1", None, 401, ErrorCode.UNAUTHORIZED),
        ("tfk_3", "c1", None, 401, ErrorCode.UNAUTHORIZED),
        ("tfk_3", "c1", CERTIFICATE, 401, ErrorCode.UNAUTHORIZED),
        (digest_of(KEY), "c1", None, 401, ErrorCode.UNAUTHORIZED),
        (KEY, "c2", None, 403, ErrorCode.FORBIDDEN),
        (None, "c2", CERTIFICATE, 403, ErrorCode.FORBIDDEN),
        (None, None, "cc" * 32, 403, ErrorCode.CERTIFICATE_UNKNOWN),
    ],
)
def test_others_are_refused_with_a_code(
    ring: KeyRing,
    api_key: str | None,
    connector_uuid: str | None,
    certificate: str | None,
    status: int,
    code: ErrorCode,
) -> None:
    with pytest.raises(Refused) as refused:
        ring.connector(api_key, connector_uuid, certificate)

    assert (refused.value.status, refused.value.code) == (status, code)
    assert KEY not in refused.value.message


def test_what_was_replaced_holds_no_longer(ring: KeyRing) -> None:
    ring.replace([("c1", digest_of("new"))], {})

    assert ring.connector("new", "c1") == "c1"
    for api_key, certificate in ((KEY, None), (None, CERTIFICATE)):
        with pytest.raises(Refused):
            ring.connector(api_key, "c1", certificate)


@pytest.mark.parametrize(
    ("certificate", "status", "code"),
    [
        (None, 401, ErrorCode.UNAUTHORIZED),
        (OTHER_CERTIFICATE, 403, ErrorCode.FORBIDDEN),
        ("cc" * 32, 403, ErrorCode.CERTIFICATE_UNKNOWN),
    ],
)
def test_a_media_link_needs_its_connector_s_certificate_where_one_is_required(
    ring: KeyRing, certificate: str | None, status: int, code: ErrorCode
) -> None:
    ring.check_certificate(CERTIFICATE, "c1")

    with pytest.raises(Refused) as refused:
        ring.check_certificate(certificate, "c1")
    assert (refused.value.status, refused.value.code) == (status, code)
