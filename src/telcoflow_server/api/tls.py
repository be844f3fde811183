"""The server's TLS: contexts made from files, and the certificate a client showed.

Not here: whose certificate it is (`auth.py`), which files (`settings.py`).
Implements the TLS of docs/explanation/security.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

from telcoflow_server.settings import SettingsError, TlsSettings

ALERT_TIMEOUT_S = 1.0
"""How long a peer that was refused may take to read why."""

_alerts: ContextVar[list[bytes]] = ContextVar("_alerts")
"""Where the handshakes of a task put their alerts."""


class ServerObject(ssl.SSLObject):
    """One connection's TLS; keeps the alert that OpenSSL makes when the handshake fails.

    asyncio and uvloop throw it away with everything else that was not sent yet.
    """

    outgoing: ssl.MemoryBIO
    alerts: list[bytes] | None

    def do_handshake(self) -> None:
        """See `ssl.SSLObject`."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.alerts is not None:
                self.alerts.append(self.outgoing.read())
            raise


class ServerContext(ssl.SSLContext):
    """A context whose handshakes leave their alerts where `alert_sent` finds them."""

    sslobject_class = ServerObject

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext`."""
        wrapped = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(wrapped, ServerObject), "the class named above"
        wrapped.outgoing = outgoing
        wrapped.alerts = _alerts.get(None)
        return wrapped


@asynccontextmanager
async def alert_sent(sock: socket.socket) -> AsyncIterator[None]:
    """Send the peer the alert of a TLS handshake that fails in this block, then go on failing.

    Without it the peer would never know whether its certificate had expired or the network failed.

    Args:
        sock: As given to the transport, which closes it; a duplicate stays open meanwhile.

    Cancellation: closes the duplicate.
    """
    alerts: list[bytes] = []
    spare = socket.socket(fileno=os.dup(sock.fileno()))
    # Transports make their SSL objects in callbacks, which they schedule in a copy of this context.
    token = _alerts.set(alerts)
    try:
        yield
    except ssl.SSLError:
        with suppress(OSError):  # TimeoutError is one, too
            await _say_goodbye(spare, b"".join(alerts))
        raise
    finally:
        _alerts.reset(token)
        spare.close()


async def _say_goodbye(sock: socket.socket, alert: bytes) -> None:
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    async with asyncio.timeout(ALERT_TIMEOUT_S):
        await loop.sock_sendall(sock, alert)
        sock.shutdown(socket.SHUT_WR)
        # A socket closed with bytes unread resets the connection, and the alert is lost with it.
        while await loop.sock_recv(sock, 4096):
            pass


def tls_context(files: TlsSettings) -> ssl.SSLContext | None:
    """Read certificate, key, authorities and revocation lists; None when there is no TLS.

    A client that shows a certificate must show a good one, signed by `client_ca_file`, not
    expired, not revoked; else the handshake fails. A client that shows none is let in here and
    asked for a key later.

    Raises:
        SettingsError: a file is missing, or not what it should be.
    """
    if files.cert_file is None or files.key_file is None:
        return None
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would bring a certificate back that was checked long ago.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        # Without the password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.cert_file, files.key_file, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        names = f"{files.cert_file} with tls.key_file {files.key_file}"
        raise _unusable("tls.cert_file", names, error) from None
    if files.client_ca_file is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(files.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("tls.client_ca_file", str(files.client_ca_file), error) from None
    if files.crl_file is not None:
        _load_revocations(context, files)
    return context


def _load_revocations(context: ssl.SSLContext, files: TlsSettings) -> None:
    authorities = context.cert_store_stats()["x509"]
    try:
        context.load_verify_locations(files.crl_file)
    except (OSError, ssl.SSLError) as error:
        raise _unusable("tls.crl_file", str(files.crl_file), error) from None
    # OpenSSL takes both from either file: a certificate in this one would be trusted.
    if context.cert_store_stats()["x509"] != authorities:
        raise SettingsError("tls.crl_file", f"{files.crl_file} holds certificates, not only lists")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _unusable(key: str, names: str, error: OSError) -> SettingsError:
    # OpenSSL's reasons are words such as NO_START_LINE; its full text holds no content either.
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return SettingsError(key, f"{names} cannot be used: {reason or error}")


def fingerprint_of(transport: asyncio.BaseTransport | None) -> str | None:
    """Return the SHA-256 of the certificate that a client showed, hexadecimal; None without one."""
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    certificate = None if tls is None else tls.getpeercert(binary_form=True)
    return None if certificate is None else hashlib.sha256(certificate).hexdigest()
