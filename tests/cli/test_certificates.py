"""What `telcoflow doctor` finds in certificates: as clients would, before they do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from telcoflow_server.cli.certificates import certificate_findings
from telcoflow_server.cli.finding import Finding, Verdict
from telcoflow_server.settings import TlsSettings
from tests.support.certificates import Authority

MONTH_S = 30 * 86_400.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def findings(files: TlsSettings, now_s: float | None = None) -> dict[str, Finding]:
    # The test authority signs for half a day: a month ago, that was a long time.
    now_s = time.time() - MONTH_S if now_s is None else now_s
    return {finding.what: finding for finding in certificate_findings(files, now_s)}


def test_without_tls_there_is_nothing_to_do() -> None:
    assert findings(TlsSettings())["certificate"].verdict is Verdict.OK


def test_a_good_certificate_of_a_known_authority(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = authority.issue("server")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))

    found = findings(TlsSettings(cert_file=own.cert_file, key_file=own.key_file))

    assert {one.verdict for one in found.values()} == {Verdict.OK}
    assert found["certificate"].text.startswith("localhost, 127.0.0.1, good until ")
    assert found["certificate"].text.endswith("30 days")
    assert found["chain"].text == "trusted by this machine"


def test_an_authority_of_ones_own_is_a_warning(authority: Authority) -> None:
    own = authority.issue("server")

    found = findings(TlsSettings(cert_file=own.cert_file, key_file=own.key_file))

    assert found["chain"].verdict is Verdict.WARNING
    assert "unable to get local issuer certificate" in found["chain"].text
    assert "give clients the authority's certificate" in found["chain"].remedy


def test_a_certificate_that_ends_soon_is_a_warning(authority: Authority) -> None:
    own = authority.issue("server")

    found = findings(TlsSettings(cert_file=own.cert_file, key_file=own.key_file), time.time())

    assert found["certificate"].verdict is Verdict.WARNING
    assert found["certificate"].remedy == "renew it"


def test_an_expired_certificate_is_broken(authority: Authority) -> None:
    own = authority.issue("server", expired=True)

    found = findings(TlsSettings(cert_file=own.cert_file, key_file=own.key_file))

    assert found["certificate"].verdict is Verdict.BROKEN
    assert "certificate has expired" in found["certificate"].text


def test_a_key_of_another_certificate_is_broken(authority: Authority) -> None:
    own, other = authority.issue("server"), authority.issue("other")

    found = findings(TlsSettings(cert_file=own.cert_file, key_file=other.key_file))

    assert found["certificate"].verdict is Verdict.BROKEN
    assert "KEY_VALUES_MISMATCH" in found["certificate"].text
    assert found["certificate"].remedy == "put it right in tls.cert_file"


def test_a_file_that_is_not_there_is_broken(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"

    found = findings(TlsSettings(cert_file=absent, key_file=absent))

    assert found["certificate"].verdict is Verdict.BROKEN
    assert "absent.pem" in found["certificate"].text


@pytest.mark.parametrize(
    ("late_s", "verdict"),
    [(-MONTH_S, Verdict.OK), (0.0, Verdict.WARNING), (MONTH_S, Verdict.BROKEN)],
)
def test_authorities_of_clients_are_judged_by_their_end(
    authority: Authority, tmp_path: Path, late_s: float, verdict: Verdict
) -> None:
    own, clients = authority.issue("server"), Authority(tmp_path, "clients")
    files = TlsSettings(
        cert_file=own.cert_file, key_file=own.key_file, client_ca_file=clients.ca_file
    )

    found = findings(files, time.time() + late_s)

    assert found["authority clients"].verdict is verdict
