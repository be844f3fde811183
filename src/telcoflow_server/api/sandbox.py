"""Simulated phones over REST: place a call from WAV files, watch it, fetch what was heard.

Not here: the phone (`legs/simulated.py`). Mounted in a sandbox only.
Implements the simulated phones of docs/reference/rest.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from aiohttp import BodyPartReader, web

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_server.api.auth import Refused
from telcoflow_server.api.http import RestPort, json_response
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange, NewCall, Recordings
from telcoflow_server.call.report import CallReport
from telcoflow_server.legs.simulated import Play, Script, SimulatedPhone
from telcoflow_server.media.record import Lane, Recorder
from telcoflow_server.media.sound import Sound, SoundError, load_sound

logger = logging.getLogger(__name__)

UPLOAD_LIMIT_BYTES = 32 * 1024 * 1024
"""Eleven minutes of 24 kHz mono, over all sounds of a call."""

SOUNDS_LIMIT = 64

FINISHED_CALLS_KEPT = 32
"""Reports and recordings of ended calls that can still be fetched."""

TIMELINE_TICKS_KEPT = 30_000
"""Ten minutes of queue levels for the picture."""

EVENT_INTERVAL_S = 0.1


class PlayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Play the n-th uploaded sound, `at_ms` after the answer or right after the one before."""

    sound: int
    at_ms: int | None = None


class ScriptRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the simulated caller does."""

    caller: str = msgspec.field(default="+15550100", name="from")
    callee: str = msgspec.field(default="+15550199", name="to")
    plays: list[PlayRequest] = msgspec.field(default_factory=list)
    hang_up_after_ms: int | None = None


class LiveLine(msgspec.Struct, frozen=True):
    """One line of a call's event stream."""

    state: str
    at_ms: int
    spoken_db: float
    heard_db: float
    queued_ms: float


@dataclass(slots=True, eq=False)
class _PhoneCall:
    """A simulated phone's call, running or ended."""

    connector_uuid: str
    call: Call
    phone: SimulatedPhone
    heard: Lane
    heard_file: Path
    call_file: Path
    keeps_call_file: bool
    report: CallReport | None = None
    queued_ms: array[float] = field(default_factory=lambda: array("f"))
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class SandboxPort:
    """Places calls from simulated phones.

    Args:
        exchange: Where the calls go.
        rest: Checks who asks.
        recorder: Writes what phones hear.
        scratch_dir: Holds recordings until they are fetched or forgotten.
        record_dir: Keeps the stereo recordings, or None to forget them like the rest.
    """

    def __init__(
        self,
        exchange: Exchange,
        rest: RestPort,
        recorder: Recorder,
        scratch_dir: Path,
        record_dir: Path | None,
    ) -> None:
        self._exchange = exchange
        self._rest = rest
        self._recorder = recorder
        self._scratch_dir = scratch_dir
        self._record_dir = record_dir
        self._calls: OrderedDict[str, _PhoneCall] = OrderedDict()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put this port's paths on the control port."""
        base = "/sandbox/v1/calls"
        router.add_post(base, self._place, name="place-simulated-call")
        router.add_get(base + "/{call_id}", self._report, name="report-of-simulated-call")
        router.add_get(base + "/{call_id}/events", self._events, name="simulated-call-events")
        router.add_post(base + "/{call_id}/hang-up", self._hang_up, name="hang-up")
        router.add_get(base + "/{call_id}/heard.wav", self._heard_wav, name="heard-recording")
        router.add_get(base + "/{call_id}/call.wav", self._call_wav, name="call-recording")

    def close(self) -> None:
        """Delete what nobody can fetch any more."""
        for phone_call in self._calls.values():
            self._forget(phone_call)
        self._calls.clear()

    # --- placing ---------------------------------------------------------------------------

    async def _place(self, request: web.Request) -> web.Response:
        connector_uuid = self._rest.connector_of(request)
        script, sounds = await _read_upload(request)
        plays = []
        for number, play in enumerate(script.plays):
            if not 0 <= play.sound < len(sounds):
                raise _invalid(
                    f"plays[{number}] names sound {play.sound}, but {len(sounds)} were uploaded"
                )
            if play.at_ms is not None and play.at_ms < 0:
                raise _invalid(f"plays[{number}].at_ms is {play.at_ms}; it must be 0 or more")
            plays.append(Play(sounds[play.sound], play.at_ms))
        if script.hang_up_after_ms is not None and script.hang_up_after_ms < 0:
            raise _invalid(f"hang_up_after_ms is {script.hang_up_after_ms}; it must be 0 or more")
        if self._exchange.is_draining:
            raise Refused(503, ErrorCode.DRAINING, "the sandbox is finishing its calls")
        phone_call = self._start(
            connector_uuid, script, Script(tuple(plays), script.hang_up_after_ms)
        )
        return json_response({"call_id": phone_call.call.identity.call_id}, 201)

    def _start(self, connector_uuid: str, request: ScriptRequest, script: Script) -> _PhoneCall:
        call_id = self._exchange.new_id()
        heard_file = self._scratch_dir / f"{call_id}.heard.wav"
        call_file = (self._record_dir or self._scratch_dir) / f"{call_id}.wav"
        heard = self._recorder.open(heard_file, channels=1)
        phone = SimulatedPhone(script, heard)
        call = self._exchange.place(
            phone,
            NewCall(connector_uuid, request.caller, request.callee, int(time.time())),
            recordings=Recordings(self._recorder.open(call_file, channels=2)),
            call_id=call_id,
            on_ended=self._ended,
        )
        phone_call = _PhoneCall(
            connector_uuid, call, phone, heard, heard_file, call_file, self._record_dir is not None
        )
        self._calls[call_id] = phone_call
        return phone_call

    def _ended(self, call: Call) -> None:
        phone_call = self._calls[call.identity.call_id]
        phone_call.report = self._exchange.report(call)
        phone_call.heard.close()
        phone_call.ended.set()
        finished = [other for other in self._calls.values() if other.report is not None]
        for old in finished[:-FINISHED_CALLS_KEPT]:
            del self._calls[old.call.identity.call_id]
            self._forget(old)

    def _forget(self, phone_call: _PhoneCall) -> None:
        phone_call.heard_file.unlink(missing_ok=True)
        if not phone_call.keeps_call_file:
            phone_call.call_file.unlink(missing_ok=True)

    def sample(self) -> None:
        """Note the queue level of every running call; called once before each tick."""
        for phone_call in self._calls.values():
            if phone_call.report is None and len(phone_call.queued_ms) < TIMELINE_TICKS_KEPT:
                phone_call.queued_ms.append(phone_call.call.queued_ms)

    # --- watching --------------------------------------------------------------------------

    def _find(self, request: web.Request) -> _PhoneCall:
        connector_uuid = self._rest.connector_of(request)
        phone_call = self._calls.get(request.match_info["call_id"])
        if phone_call is None or phone_call.connector_uuid != connector_uuid:
            raise Refused(404, ErrorCode.NOT_FOUND, "no simulated call with this id")
        return phone_call

    def _report_of(self, phone_call: _PhoneCall) -> CallReport:
        return phone_call.report or self._exchange.report(phone_call.call)

    async def _report(self, request: web.Request) -> web.Response:
        phone_call = self._find(request)
        report = msgspec.to_builtins(self._report_of(phone_call))
        if request.query.get("timeline"):
            report["timeline"] = {
                "tick_ms": TICK_MS,
                "queued_ms": [round(level, 1) for level in phone_call.queued_ms],
            }
        return json_response(report)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        phone_call = self._find(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        lines = 0
        while phone_call.report is None:
            await response.write(msgspec.json.encode(_live_line(phone_call)) + b"\n")
            lines += 1
            next_s = start_s + lines * EVENT_INTERVAL_S
            try:
                async with asyncio.timeout_at(next_s):
                    await phone_call.ended.wait()
            except TimeoutError:
                continue
        await response.write(msgspec.json.encode({"report": phone_call.report}) + b"\n")
        await response.write_eof()
        return response

    async def _hang_up(self, request: web.Request) -> web.Response:
        phone_call = self._find(request)
        phone_call.call.end(EndReason.CALLER_HUNG_UP)
        return json_response({"call_id": phone_call.call.identity.call_id}, 202)

    async def _heard_wav(self, request: web.Request) -> web.StreamResponse:
        phone_call = self._find(request)
        return await self._recording(phone_call, phone_call.heard_file)

    async def _call_wav(self, request: web.Request) -> web.StreamResponse:
        phone_call = self._find(request)
        return await self._recording(phone_call, phone_call.call_file)

    async def _recording(self, phone_call: _PhoneCall, file: Path) -> web.StreamResponse:
        if phone_call.report is None:
            raise Refused(409, ErrorCode.INVALID_STATE, "the call still runs; hang up first")
        await asyncio.to_thread(self._recorder.flush)
        if not await asyncio.to_thread(file.exists):
            raise Refused(404, ErrorCode.NOT_FOUND, "the recording could not be written")
        return web.FileResponse(file, headers={"Content-Type": "audio/wav"})


def _live_line(phone_call: _PhoneCall) -> LiveLine:
    call, levels = phone_call.call, phone_call.phone.levels
    return LiveLine(
        state=call.state,
        at_ms=call.tick * TICK_MS,
        spoken_db=round(levels.spoken_db, 1),
        heard_db=round(levels.heard_db, 1),
        queued_ms=round(call.queued_ms, 1),
    )


def _invalid(message: str) -> Refused:
    return Refused(400, ErrorCode.INVALID_REQUEST, message)


async def _read_upload(request: web.Request) -> tuple[ScriptRequest, list[Sound]]:
    """Read `script` and the sounds; conversion runs in a thread, so the tick is not delayed."""
    if not request.content_type.startswith("multipart/"):
        raise _invalid("send multipart/form-data with a part `script` and parts `sound`")
    script: ScriptRequest | None = None
    sounds: list[Sound] = []
    left_bytes = UPLOAD_LIMIT_BYTES
    reader = await request.multipart()
    async for part in reader:
        if not isinstance(part, BodyPartReader):
            raise _invalid("nested multipart is not understood")
        data = await _read_part(part, left_bytes)
        left_bytes -= len(data)
        if part.name == "script":
            try:
                script = msgspec.json.decode(data, type=ScriptRequest)
            except (msgspec.DecodeError, UnicodeError) as error:
                raise _invalid(f"script: {error}") from None
        elif part.name == "sound":
            if len(sounds) >= SOUNDS_LIMIT:
                raise _invalid(f"more than {SOUNDS_LIMIT} sounds")
            try:
                sounds.append(await asyncio.to_thread(load_sound, data))
            except SoundError as error:
                raise Refused(400, ErrorCode.INVALID_WAV, str(error)) from None
        else:
            raise _invalid("parts are `script` and `sound`")
    if script is None:
        raise _invalid("the part `script` is missing")
    return script, sounds


async def _read_part(part: BodyPartReader, limit_bytes: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(64 * 1024):
        data += chunk
        if len(data) > limit_bytes:
            raise Refused(
                413,
                ErrorCode.INVALID_REQUEST,
                f"the upload is over {UPLOAD_LIMIT_BYTES} bytes",
            )
    return bytes(data)
