"""sippy's transaction layer on one UDP socket.

The only importer of sippy, whose event loop exists once per process: import this in the SIP process
only. Not here: what messages mean (`switchboard.py`), the process (`child.py`).

What is mended of sippy 2.5.0: one To-tag for 180, 200, 487 and the 200 to CANCEL; retransmissions
at most 4 s apart (RFC 3261 T2); the ACK for a refusal goes where its INVITE went; no thread per
socket, no polling, no logging.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sippy.Core.EventDispatcher import ED2
from sippy.MsgBody import MsgBody
from sippy.Network_server import Network_server, Network_server_opts, Remote_address
from sippy.SipCallId import SipCallId
from sippy.SipConf import SipConf
from sippy.SipContact import SipContact
from sippy.SipContentType import SipContentType
from sippy.SipFrom import SipFrom
from sippy.SipHeader import SipHeader
from sippy.SipRequest import SipRequest
from sippy.SipRoute import SipRoute
from sippy.SipTo import SipTo
from sippy.SipTransactionManager import RINGING, TRYING, SipTransactionManager
from sippy.SipURL import SipURL
from sippy.Time.MonoTime import MonoTime
from sippy.Time.Timeout import Timeout

from telcoflow_server.sip.datagrams import Sender
from telcoflow_server.sip.message import (
    Body,
    Endpoint,
    Headers,
    InviteEvents,
    OutgoingRequest,
    Request,
    Response,
)
from telcoflow_server.sip.reasons import reason_of
from telcoflow_server.sip.screen import Kind, screen

T2_S = 4.0
"""RFC 3261 §17: the longest time between two retransmissions."""

DATAGRAM_BYTES = 65_536

USER_AGENT = "Telcoflow"


class _Silence:
    """What sippy logs to: every message whole, so nowhere."""

    def write(self, *args: object, **options: object) -> None:
        """Forget it."""


class _Server(Network_server):  # type: ignore[misc]  # sippy is untyped
    """Our socket, as sippy wants it."""

    transport = "udp"

    def __init__(self, global_config: dict[str, Any], options: Network_server_opts) -> None:
        super().__init__(options)
        self._sender: Sender = global_config["sender"]
        self._address: tuple[str, int] = global_config["advertised"]

    def getSIPaddr(self) -> tuple[tuple[str, int], str]:
        return self._address, self.transport

    def send_to(self, data: str | bytes, address: tuple[str, int], delayed: bool = False) -> None:
        host, port = address[0].strip("[]"), int(address[1])
        self._sender.send(data if isinstance(data, bytes) else _bytes_of(data), host, port)

    def shutdown(self) -> None:
        """Leave the socket to who owns it."""

    def join(self) -> None:
        """Wait for no thread: there is none."""


def _bytes_of(text: str) -> bytes:
    head, gap, body = text.partition("\r\n\r\n")
    return (head + gap).encode() + body.encode("latin-1", "replace")


class _Transactions(SipTransactionManager):  # type: ignore[misc]  # sippy is untyped
    """sippy's transactions, mended."""

    model_udp_server = (_Server, Network_server_opts)

    def incomingRequest(self, msg: Any, checksum: Any, tids: Any, server: Any) -> None:
        if msg.getMethod() == "CANCEL":
            cancelled = self.tserver.get(msg.getTId(wBRN=True))
            to = msg.getHFBody("to")
            if cancelled is not None and to.getTag() is None:
                to.setTag(cancelled.our_tag)  # RFC 3261 §9.2: the same in both responses
        super().incomingRequest(msg, checksum, tids, server)

    def timerA(self, t: Any) -> None:
        self.transmitData(t.userv, t.data, t.address)
        is_our_invite = t.method == "INVITE" and t.tid in self.tclient
        t.tout = t.tout * 2 if is_our_invite else min(t.tout * 2, T2_S)
        t.teA = Timeout(self.timerA, t.tout, 1, t)


class SippyServerTransaction:
    """A request that came; a `ServerTransaction`."""

    def __init__(self, manager: Any, request: Any, transaction: Any) -> None:
        self.tag: str = request.getHFBody("to").getTag() or secrets.token_hex(8)
        self.events: InviteEvents | None = None
        self._manager = manager
        self._request = request
        self._transaction = transaction
        self._is_answered = False
        self._is_accepted = False
        transaction.our_tag = self.tag
        if transaction.r487 is not None:
            self._mark(transaction.r487)

    def respond(self, status: int, headers: Headers = (), body: Body | None = None) -> None:
        """See `ServerTransaction`."""
        if self._is_answered:
            return
        response = self._request.genResponse(status, reason_of(status))
        if status > 100:
            self._mark(response)
        for name, value in headers:
            response.appendHeader(SipHeader(name=name, bodys=value))
        if body is not None:
            response.setBody(MsgBody(body.text, SipContentType(body.content_type)))
        self._is_answered = status >= 200
        self._is_accepted = 200 <= status < 300
        self._manager.sendResponse(response, self._transaction, ack_cb=self._acknowledged)

    def cancelled(self, rtime: Any, request: Any) -> None:
        """A CANCEL came, or the INVITE expired; sippy has answered."""
        self._is_answered = True
        if self.events is not None:
            self.events.cancelled(time.monotonic())

    def unacknowledged(self) -> None:
        """No ACK came for 32 s."""
        if self._is_accepted and self.events is not None:
            self.events.unacknowledged(time.monotonic())

    def _acknowledged(self, ack: Any) -> None:
        if self._is_accepted and self.events is not None:
            self.events.acknowledged(_body_of(ack), time.monotonic())

    def _mark(self, response: Any) -> None:
        to = response.getHFBody("to")
        if to.getTag() is None:
            to.setTag(self.tag)


class _ClientTransaction:
    """A request of ours; a `ClientTransaction`."""

    def __init__(self, manager: Any, transaction: Any) -> None:
        self._manager = manager
        self._transaction = transaction

    def cancel(self) -> None:
        transaction = self._transaction
        if transaction.tid in self._manager.tclient and transaction.state in (TRYING, RINGING):
            self._manager.cancelTransaction(transaction)


class SippyStack:
    """sippy's transaction layer on one socket; a `Stack`.

    Args:
        udp: Bound; stays its owner's.
        advertised: Our address as others reach it.
        admits: Whether a message of an address is looked at at all, and when it came.
        receive: Called with each new request.
        guarded: Runs a function of ours, so that its fault does not end sippy's work.
    """

    def __init__(
        self,
        udp: socket.socket,
        advertised: Endpoint,
        admits: Callable[[str, float], bool],
        receive: Callable[[Request, SippyServerTransaction, float], InviteEvents | None],
        guarded: Callable[[Callable[[], None]], None],
    ) -> None:
        self.keep_alives = self.garbage = self.malformed = self.responses = 0
        self._udp = udp
        self._sender = Sender(udp)
        self._admits = admits
        self._receive = receive
        self._guarded = guarded
        self._is_ipv6 = udp.family == socket.AF_INET6
        host = f"[{advertised[0]}]" if self._is_ipv6 else advertised[0]
        SipConf.my_uaname = USER_AGENT
        SipConf.autoconvert_tel_url = True
        ED2.my_ident = threading.get_ident()
        self._manager = _Transactions(
            {
                "_sip_address": host,
                "_sip_port": advertised[1],
                "_sip_logger": _Silence(),
                "sender": self._sender,
                "advertised": (host, advertised[1]),
            },
            self._request,
        )
        (self._server,) = self._manager.l4r.cache_l2s.values()

    def send(
        self, request: OutgoingRequest, on_response: Callable[[Response, float], None]
    ) -> _ClientTransaction:
        """See `Stack`."""
        host = f"[{request.target[0]}]" if ":" in request.target[0] else request.target[0]
        message = SipRequest(
            method=request.method,
            ruri=SipURL(request.uri),
            to=SipTo(request.to),
            fr0m=SipFrom(request.from_),
            callid=SipCallId(request.call_id),
            cseq=request.cseq,
            contact=None if request.contact is None else SipContact(request.contact),
            routes=[SipRoute(route) for route in request.routes],
            target=((host, request.target[1]), "udp"),
            user_agent=USER_AGENT,
        )
        for name, value in request.headers:
            message.appendHeader(SipHeader(name=name, bodys=value))
        if request.body is not None:
            content_type = SipContentType(request.body.content_type)
            message.setBody(MsgBody(request.body.text, content_type))

        def hear(response: Any) -> None:
            self._hear(request, response, on_response)

        return _ClientTransaction(self._manager, self._manager.newTransaction(message, hear))

    @property
    def is_idle(self) -> bool:
        """Whether no request of ours waits for its response."""
        return not self._manager.tclient

    def read(self) -> None:
        """Read one datagram."""
        try:
            datagram, address = self._udp.recvfrom(DATAGRAM_BYTES)
        except OSError:
            return  # none, or a word that nobody listened where an earlier one went
        self._guarded(partial(self._arrived, datagram, (address[0], address[1])))

    def timer_due_s(self) -> float | None:
        """Return in how many seconds `run_timers` has something to do; None: nothing is set."""
        if not ED2.tlisteners:
            return None
        return float(ED2.tlisteners[0].etime - MonoTime())

    def run_timers(self) -> None:
        """Do what sippy's own loop would do, which polls 100 times a second."""
        ED2.last_ts = MonoTime()
        ED2.dispatchTimers()
        if ED2.twasted * 2 > len(ED2.tlisteners):
            ED2.tlisteners = [one for one in ED2.tlisteners if one.cb_func is not None]
            ED2.tlisteners.sort()  # a sorted list is a heap
            ED2.twasted = 0

    def _arrived(self, datagram: bytes, source: Endpoint) -> None:
        if not self._admits(source[0], time.monotonic()):
            return  # sippy keeps what it has seen for a minute: a flood must not get there
        screened = screen(datagram, source)
        if screened.kind is Kind.MESSAGE:
            host = f"[{source[0]}]" if self._is_ipv6 else source[0]
            remote = Remote_address((host, source[1]), "udp")
            try:
                self._manager.handleIncoming(screened.text, remote, self._server, MonoTime())
            except Exception:
                # Of sippy's parsers, at what passed the screen: what is ours is guarded by itself.
                self.malformed += 1
        elif screened.kind is Kind.KEEP_ALIVE:
            self.keep_alives += 1
        elif screened.kind is Kind.GARBAGE:
            self.garbage += 1
        else:
            self.malformed += 1
            if screened.response is not None:
                self._sender.send(screened.response, source[0], screened.port)

    def _request(self, message: Any, transaction: Any) -> Any:
        try:
            ours = SippyServerTransaction(self._manager, message, transaction)
            request = _request_of(message)
        except Exception:  # whatever sippy's lazy parsers raise at what passed the screen
            self.malformed += 1
            return message.genResponse(400, reason_of(400)), None, None
        if request.method == "INVITE":
            ours.respond(100)

        def receive() -> None:
            ours.events = self._receive(request, ours, time.monotonic())

        self._guarded(receive)
        return (
            None,
            lambda rtime, cancel: self._guarded(lambda: ours.cancelled(rtime, cancel)),
            lambda: self._guarded(ours.unacknowledged),
        )

    def _hear(
        self,
        request: OutgoingRequest,
        message: Any,
        on_response: Callable[[Response, float], None],
    ) -> None:
        self.responses += 1
        status = message.getSCode()[0]
        source = None if message.source is None else _plain(message.getSource())
        response = Response(status, _headers_of(message), _body_of(message), source)
        if status >= 300:
            # sippy sends the ACK where a Contact says; of a refusal it goes where the INVITE went.
            message.delHFs("contact")
            message.delHFs("record-route")
        elif (
            request.is_behind_nat
            and source is not None
            and message.countHFs("contact")
            # A proxy in between has its own way to the phone, and needs the Contact as it is.
            and not message.countHFs("record-route")
        ):
            url = message.getHFBody("contact").getUrl()
            url.host, url.port = message.getSource()
        self._guarded(lambda: on_response(response, time.monotonic()))


def _plain(address: tuple[str, int]) -> Endpoint:
    return address[0].strip("[]"), int(address[1])


def _headers_of(message: Any) -> Headers:
    return tuple((str(one.name), str(one.body)) for one in message.headers)


def _body_of(message: Any) -> Body | None:
    body = message.getBody()
    return None if body is None else Body(str(body), str(body.mtype))


def _request_of(message: Any) -> Request:
    return Request(
        method=message.getMethod(),
        uri=str(message.getRURI()),
        call_id=str(message.getHFBody("call-id")),
        cseq=message.getHFBody("cseq").getCSeqNum(),
        headers=_headers_of(message),
        body=_body_of(message),
        source=_plain(message.getSource()),
    )
