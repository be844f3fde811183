"""Real phones as the settings want them: SIP, RTP ports, and who belongs to whom.

Not here: the parts (`telephony/`, `sip/`, `udp.py`), the rest of a server (`app.py`).
Implements "Real phones" of docs/reference/settings.md.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from telcoflow_server.call.ports import Callee, Dialer, DialRequest
from telcoflow_server.call.recordings import Recording, Recordings
from telcoflow_server.codec.table import Codec, offered
from telcoflow_server.media.record import Recorder
from telcoflow_server.media.routing import Slot
from telcoflow_server.settings import Settings, SettingsError
from telcoflow_server.sip.accounts import EdgeSettings, Extension, Private, Trunk
from telcoflow_server.sip.numbers import comparable
from telcoflow_server.sip_settings import SipSettings, TrunkSettings
from telcoflow_server.telephony.routes import Routes
from telcoflow_server.telephony.service import Calls, Telephony
from telcoflow_server.udp import PortPool, PortRange

UNCHANGING = ("port", "host", "advertised_host", "rtp_first_port", "rtp_last_port")
"""What phones were told stays; everything else is taken over on SIGHUP."""


class Ways:
    """Several ways to phones, asked in turn until one knows the number; a `Dialer`."""

    def __init__(self, *ways: Dialer) -> None:
        self._ways = list(ways)

    def prefer(self, way: Dialer) -> None:
        """Ask this one first."""
        self._ways.insert(0, way)

    def dial(self, request: DialRequest) -> Callee | None:
        """See `Dialer`."""
        for way in self._ways:
            callee = way.dial(request)
            if callee is not None:
                return callee
        return None


class Archive:
    """Where the recordings of real phones' calls are kept.

    Args:
        recorder: Writes them.
        folder: Where to.
        is_split: Whether to keep one for each party, too.
    """

    def __init__(self, recorder: Recorder, folder: Path, *, is_split: bool) -> None:
        self._recorder = recorder
        self._folder = folder
        self._is_split = is_split

    def open(self, call_id: str) -> Recordings:
        """Return where a call is recorded."""
        split: dict[Slot, Recording] = {}
        if self._is_split:
            for slot in Slot:
                file = self._folder / f"{call_id}.{slot.name.lower()}.wav"
                split[slot] = self._recorder.open(file, channels=1)
        return Recordings(self._recorder.open(self._folder / f"{call_id}.wav", channels=2), split)


def telephony_of(settings: Settings, calls: Calls, recorder: Recorder | None) -> Telephony | None:
    """Return the phones that the settings want, not yet started; None: they want none.

    Args:
        settings: All of them.
        calls: Where the phones' calls are.
        recorder: Writes their recordings where `calls.record_dir` wants them; None: nothing does.

    Raises:
        SettingsError: a trunk speaks no codec that this installation has.
    """
    sip, record_dir = settings.sip, settings.calls.record_dir
    if sip.port is None:
        return None
    routes = routes_of(settings)
    archive = None
    if recorder is not None and record_dir is not None:
        archive = Archive(recorder, record_dir, is_split=settings.calls.record_split)
    return Telephony(
        calls,
        edge_settings_of(settings),
        routes,
        PortPool(PortRange(sip.host, sip.rtp_first_port, sip.rtp_last_port)),
        sip.reached_at,
        None if archive is None else archive.open,
    )


def edge_settings_of(settings: Settings) -> EdgeSettings:
    """Return what the SIP process is set up with."""
    sip = settings.sip
    assert sip.port is not None, "asked by who wants phones only"
    has_default = sip.default_connector is not None
    return EdgeSettings(
        host=sip.host,
        port=sip.port,
        advertised_host=sip.advertised_host or "",
        realm=sip.realm,
        extensions=tuple(
            Extension(
                user=one.user,
                ha1_md5=_private(one.ha1_md5),
                ha1_sha256=_private(one.ha1_sha256),
            )
            for one in settings.extensions
        ),
        trunks=tuple(_trunk(trunk) for trunk in settings.trunks),
        numbers=None if has_default else tuple(one.number for one in settings.numbers),
        max_dialogs=sip.max_dialogs,
        invites_per_second=sip.invites_per_second,
        messages_per_second=sip.messages_per_second,
        retry_after_s=sip.retry_after_s,
        min_expires_s=sip.min_expires_s,
        max_expires_s=sip.max_expires_s,
        unauthenticated_calls=sip.unauthenticated_calls,
    )


def routes_of(settings: Settings) -> Routes:
    """Return which number belongs to whom.

    Raises:
        SettingsError: a trunk speaks no codec that this installation has.
    """
    return Routes(
        connectors={comparable(one.number): one.connector for one in settings.numbers},
        default_connector=settings.sip.default_connector,
        trunks={name: trunk.name for trunk in settings.trunks for name in trunk.connectors},
        default_trunk=settings.sip.default_trunk or "",
        codecs={
            trunk.name: _codecs_of(number, trunk)
            for number, trunk in enumerate(settings.trunks)
            if trunk.codecs
        },
    )


def check_reload(running: SipSettings, wanted: SipSettings) -> None:
    """Raise `SettingsError` for a change that takes a restart."""
    for one in fields(SipSettings):
        if one.name in UNCHANGING and getattr(running, one.name) != getattr(wanted, one.name):
            raise SettingsError(f"sip.{one.name}", "was changed: that takes a restart")


def _trunk(trunk: TrunkSettings) -> Trunk:
    return Trunk(
        name=trunk.name,
        host=trunk.host,
        port=trunk.port,
        sources=trunk.allowed_sources,
        user=trunk.user,
        password=_private(trunk.password),
        registers=trunk.registers,
        expires_s=trunk.expires_s,
        keep_alive_s=trunk.keep_alive_s,
    )


def _codecs_of(number: int, trunk: TrunkSettings) -> tuple[Codec, ...]:
    wanted = [name.lower() for name in trunk.codecs]
    codecs = tuple(
        codec for name in wanted for codec in offered() if codec.encoding.lower() == name
    )
    if not codecs:
        raise SettingsError(
            f"trunks[{number}].codecs",
            'are not installed here: opus and G722 need pip install "telcoflow-sdk[av]"',
        )
    return codecs


def _private(text: str | None) -> Private | None:
    return None if text is None else Private(text)
