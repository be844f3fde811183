"""The server's TLS files, examined for `telcoflow doctor`: good until when, and for whom.

Not here: loading them (`api/tls.py`), which the server does in the same way.

They are judged by a handshake in memory, as clients judge them; the standard library parses no
certificate that it has not verified.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from telcoflow_server.api.tls import tls_context
from telcoflow_server.cli.finding import Finding, Verdict, ok
from telcoflow_server.settings import SettingsError, TlsSettings

SOON_DAYS = 14
"""Renewal by a machine happens 30 days before the end; whoever gets here was forgotten."""

_PEM = re.compile(
    r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.+?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_DAY_S = 86_400.0
_NAMES = "subjectAltName"


def certificate_findings(files: TlsSettings, now_s: float) -> Iterator[Finding]:
    """Judge certificate, key, chain and authorities.

    Args:
        files: What the settings name.
        now_s: Wall clock, seconds since 1970.
    """
    try:
        context = tls_context(files)
    except SettingsError as error:
        yield Finding("certificate", Verdict.BROKEN, str(error), f"put it right in {error.key}")
        return
    if context is None or files.cert_file is None:
        yield ok("certificate", "none: no TLS (tls.cert_file is not set)")
        return
    yield _own_finding(context, files.cert_file, now_s)
    yield _chain_finding(context)
    if files.client_ca_file is not None:
        for authority in context.get_ca_certs():
            name = f"authority {_name(authority.get('subject'))}"
            yield _expiry_finding(name, str(authority["notAfter"]), now_s)


def _own_finding(server: ssl.SSLContext, file: Path, now_s: float) -> Finding:
    # Trusting the certificate itself leaves what is wrong with it, not with who signed it.
    first = _PEM.search(file.read_text(encoding="ascii", errors="replace"))
    assert first is not None, "the server's context was made from this file"
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=first[0])
    try:
        shown = _handshake(server, client)
    except ssl.SSLCertVerificationError as error:
        remedy = "get a new one from whoever issued it, and name it in tls.cert_file"
        return Finding("certificate", Verdict.BROKEN, f"{file}: {error.verify_message}", remedy)
    names = ", ".join(str(value) for _, value in shown.get(_NAMES, ()))
    if not names:
        return Finding(
            "certificate",
            Verdict.BROKEN,
            f"{file} names no host, so that no client accepts it",
            "get one with a subjectAltName",
        )
    return _expiry_finding("certificate", str(shown["notAfter"]), now_s, f"{names}, ")


def _chain_finding(server: ssl.SSLContext) -> Finding:
    client = ssl.create_default_context()
    client.check_hostname = False
    try:
        _handshake(server, client)
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "chain",
            Verdict.WARNING,
            f"not trusted by this machine: {error.verify_message}",
            "put the authorities between into tls.cert_file, or give clients the authority's "
            "certificate",
        )
    return ok("chain", "trusted by this machine")


def _expiry_finding(what: str, not_after: str, now_s: float, names: str = "") -> Finding:
    left_days = (ssl.cert_time_to_seconds(not_after) - now_s) / _DAY_S
    if left_days < 0:
        return Finding(what, Verdict.BROKEN, f"{names}expired {not_after}", "renew it")
    text = f"{names}good until {not_after}, {left_days:.0f} days"
    if left_days < SOON_DAYS:
        return Finding(what, Verdict.WARNING, text, "renew it")
    return ok(what, text)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Let a client meet the server in memory; return what the server showed.

    Raises:
        ssl.SSLCertVerificationError: the client does not accept it.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    is_done = False
    while not is_done:
        is_done = _step(client_end)
        if not is_done:
            _step(server_end)
    shown: dict[str, Any] | None = client_end.getpeercert()
    assert shown is not None, "a client that verifies has seen a certificate"
    return shown


def _step(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _name(subject: Any) -> str:
    parts = {key: value for part in subject or () for key, value in part}
    return str(parts.get("commonName") or parts.get("organizationName") or "without a name")
