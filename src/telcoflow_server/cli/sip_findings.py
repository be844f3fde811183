"""What a softphone's trial call shows: whether audio went both ways, and if not, why not.

Not here: the call (`sip_check.py`). No sockets: from what was counted to what is said of it.
Implements "telcoflow sip-check" of docs/reference/cli.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from telcoflow_server.cli.finding import Finding, Verdict, ok
from telcoflow_server.legs.rtp import RtpLegStatistics
from telcoflow_server.sip.events import EdgeStatistics
from telcoflow_server.sip.negotiation import Refusal

SILENT_DB = -60.0
"""Below the noise of any room; a microphone that is off, or a call on hold."""

POOR_LOSS = 0.02
"""More lost packets than this are heard."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was seen.

    Attributes:
        server: Where SIP listens.
        reached_at: Where the phone was told to send audio.
        media_ports: The ports that RTP is received on, first and last.
        sip: What the SIP process counted.
        registered_from: Where the phone registered from, if it did.
        called_from: Where its call came from, if one did.
        refusal: Why that call led nowhere.
        codec: What was agreed on.
        leg: What went over the call's RTP leg; None: there was none.
        loudest_db: Level of the loudest 20 ms that the phone said, dB of full scale.
        pressed_keys: How many keys were pressed on the phone.
    """

    server: Address
    reached_at: str
    media_ports: tuple[int, int]
    sip: EdgeStatistics
    registered_from: Address | None = None
    called_from: Address | None = None
    refusal: Refusal | None = None
    codec: str | None = None
    leg: RtpLegStatistics | None = None
    loudest_db: float = float("-inf")
    pressed_keys: int = 0


def findings_of(seen: Evidence) -> Iterator[Finding]:
    """Yield what is to be said, in the order in which things happen."""
    yield _registration(seen)
    if seen.registered_from is not None or seen.called_from is not None:
        yield _call(seen)
    if seen.leg is None:
        return
    yield _from_phone(seen, seen.leg)
    yield _to_phone(seen, seen.leg)
    if seen.leg.received.packets:
        yield _quality(seen.leg)


def shown(address: Address) -> str:
    """Return an address as people write it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _registration(seen: Evidence) -> Finding:
    what, sip = "registration", seen.sip
    if seen.registered_from is not None:
        return ok(what, f"from {shown(seen.registered_from)}")
    if seen.called_from is not None:
        return Finding(
            what,
            Verdict.WARNING,
            "none: the phone can call, and cannot be called",
            "let it register with the account above",
        )
    where = f"UDP {shown(seen.server)}"
    if sip.logins_failed or sip.logins_refused:
        return Finding(
            what,
            Verdict.BROKEN,
            f"{sip.logins_failed + sip.logins_refused} times with a wrong user or password",
            "copy user and password as they are shown above; an address that fails too often is "
            "refused for a while",
        )
    if sip.requests:
        return Finding(
            what,
            Verdict.MISSING,
            f"{sip.requests} SIP messages came to {where}, and no registration that was completed",
            "our answer does not reach the phone, or it gave up: look at its own log; a firewall "
            "must let UDP out, too",
        )
    if sip.garbage or sip.malformed:
        return Finding(
            what,
            Verdict.BROKEN,
            f"what came to {where} is no SIP",
            "set the phone's transport to UDP, without TLS",
        )
    return Finding(
        what,
        Verdict.MISSING,
        f"nothing at all came to {where}",
        "is that the phone's server, with transport UDP? Is the phone in the same network? Does a "
        "firewall let UDP in?",
    )


def _call(seen: Evidence) -> Finding:
    what = "call"
    if seen.called_from is None:
        return Finding(what, Verdict.MISSING, "none came", "dial any number on the phone")
    source = shown(seen.called_from)
    if seen.leg is not None:
        return ok(what, f"from {source}, codec {seen.codec}")
    if seen.refusal is Refusal.ENCRYPTED:
        remedy = "set the phone's media encryption to none: SRTP keys are not exchanged here"
    elif seen.refusal is Refusal.NOTHING_COMMON:
        remedy = "switch on PCMU or PCMA (G.711) in the phone"
    else:
        remedy = "look at the phone's own log"
    reason = "no audio was agreed on" if seen.refusal is None else seen.refusal.value
    return Finding(what, Verdict.BROKEN, f"from {source}, refused: {reason}", remedy)


def _from_phone(seen: Evidence, leg: RtpLegStatistics) -> Finding:
    what, latch, came = "from the phone", leg.latch, leg.received.packets
    if came and seen.loudest_db > SILENT_DB:
        source = shown(latch.source) if latch.source else "the phone"
        return ok(what, f"{came} packets from {source}, loudest {seen.loudest_db:.0f} dB")
    if leg.undecodable:
        return Finding(
            what,
            Verdict.BROKEN,
            f"{leg.undecodable} packets that are no {seen.codec}",
            f"leave only {seen.codec} switched on in the phone, or only another codec",
        )
    if came:
        return Finding(
            what,
            Verdict.BROKEN,
            f"{came} packets, and all of them silence",
            "say something; is the microphone off, or not allowed to the app?",
        )
    if leg.received.foreign:
        return Finding(
            what,
            Verdict.BROKEN,
            f"{leg.received.foreign} packets of another codec than {seen.codec}, which was agreed",
            f"leave only {seen.codec} switched on in the phone, or only another codec",
        )
    if latch.last_stranger is not None:
        return _strange(seen, leg, latch.last_stranger)
    if leg.malformed:
        return Finding(
            what,
            Verdict.BROKEN,
            f"{leg.malformed} datagrams that are no RTP",
            "set the phone's media encryption to none, and ICE, STUN and TURN to off",
        )
    first, last = seen.media_ports
    ports = "any UDP port" if first == 0 else f"UDP {first} to {last}"
    return Finding(
        what,
        Verdict.MISSING,
        f"one-way audio: not one packet came to {seen.reached_at}, {ports}",
        f"can the phone reach {seen.reached_at}? A firewall must let these ports in; behind a NAT, "
        "sip.advertised_host must be the outer address",
    )


def _strange(seen: Evidence, leg: RtpLegStatistics, stranger: Address) -> Finding:
    announced = leg.latch.announced
    named = "names none" if announced is None else f"names {shown(announced)}"
    peer = "" if seen.called_from is None else f", its call came from {seen.called_from[0]}"
    return Finding(
        "from the phone",
        Verdict.BROKEN,
        f"one-way audio: {leg.latch.strangers} packets came from {shown(stranger)}, and were not "
        f"believed: its SDP {named}{peer}",
        "let the phone send its audio from where it calls from: a VPN or a second network "
        "interface in between takes another way",
    )


def _to_phone(seen: Evidence, leg: RtpLegStatistics) -> Finding:
    what, sent = "to the phone", leg.sent.packets
    destination = leg.latch.source or leg.latch.announced
    if destination is None or not sent:
        named = "none" if leg.latch.announced is None else shown(leg.latch.announced)
        return Finding(
            what,
            Verdict.BROKEN,
            f"nothing was sent: the address for it in the phone's SDP is {named}, which is not "
            "where it calls from, and nothing came from there",
            "set the phone to its own address, without a VPN; turn ICE, STUN and TURN off",
        )
    text = f"{sent} packets to {shown(destination)}"
    if seen.pressed_keys:
        return ok(what, f"{text}; a key was pressed")
    lost = leg.reports.far_lost_fraction
    if lost is not None and lost < 0.5:
        return ok(what, f"{text}; the phone reports that they came")
    if lost is not None:
        return Finding(
            what,
            Verdict.BROKEN,
            f"{text}; the phone reports {lost * 100:.0f} % of them lost",
            "look at the network between here and the phone",
        )
    if leg.latch.source is None:
        return Finding(
            what,
            Verdict.WARNING,
            f"{text}, the address in its SDP, from where nothing came back",
            "if nothing was heard: a NAT or firewall in front of the phone drops them",
        )
    return Finding(
        what,
        Verdict.WARNING,
        f"{text}, from where its own come; the phone does not say whether they came",
        "press a key on the phone when you hear the sentence, and this can be told",
    )


def _quality(leg: RtpLegStatistics) -> Finding:
    came, jitter = leg.received.packets, leg.jitter
    lost = jitter.lost / (came + jitter.lost)
    text = (
        f"{lost * 100:.1f} % lost, {jitter.late} late, jitter {leg.received.jitter_ms:.0f} ms, "
        f"delay {jitter.depth_ms:.0f} ms"
    )
    if lost > POOR_LOSS:
        return Finding(
            "quality", Verdict.WARNING, text, "try a cable, or come nearer to the access point"
        )
    return ok("quality", text)
