"""Why a server hung up during TLS: asked once more, with eyes open.

Not here: the WebSocket (`link.py`). Implements "Certificates" of docs/reference/wire.md.

With TLS 1.3 a client has finished the handshake before the server looks at its certificate (RFC
8446 §4.4.4). The alert that refuses it comes later, in place of the answer to the upgrade request,
and the WebSocket library sees a connection that just ended. asyncio's own TLS says what the alert
was.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

ALERT_TIMEOUT_S = 2.0
"""A server that refuses does so at once; one that says nothing had another reason."""

REFUSALS = {
    "CERTIFICATE_EXPIRED": "it has expired; get a new one",
    "CERTIFICATE_REVOKED": "it was revoked; get a new one from whoever signed it",
    "UNKNOWN_CA": "the server does not trust the authority that signed it; cert_path must be a "
    "certificate issued for this server, the authorities between included",
    "BAD_CERTIFICATE": "it cannot be used",
    "UNSUPPORTED_CERTIFICATE": "it is of a kind the server does not take",
    "CERTIFICATE_UNKNOWN": "the server does not accept it",
    "CERTIFICATE_REQUIRED": "there is none, and the server wants one; use production()",
}
"""TLS alerts (RFC 8446 §6.2) about a client's certificate, in words."""


async def refusal_of(sock: socket.socket, host: str, context: ssl.SSLContext | None) -> str | None:
    """Return why the server refuses our certificate; None when that is not what it does.

    Args:
        sock: Connected to the server anew; closed when this returns.
        host: Whose certificate the server must show.
        context: As for the link; None means the system's authorities.

    Cancellation: closes the socket.
    """
    context = context or ssl.create_default_context()
    try:
        async with asyncio.timeout(ALERT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=host
            )
            try:
                await reader.read(1)
            finally:
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()
    except ssl.SSLError as error:
        return _in_words(error.reason or "")
    except (OSError, TimeoutError):
        return None
    finally:
        sock.close()
    return None


def _in_words(reason: str) -> str | None:
    # Named after the version that had an alert first: SSLV3_ALERT_..., TLSV1_ALERT_...
    alert = reason.upper().replace(" ", "_").partition("ALERT_")[2]
    if alert not in REFUSALS:
        return None
    return f"the server refused the client certificate: {REFUSALS[alert]} (alert {alert.lower()})"
