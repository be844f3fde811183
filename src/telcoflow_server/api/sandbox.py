"""Simulated phones over REST: place calls from WAV files, watch calls, fetch what was heard.

Not here: the calls (`simulation.py`), the phones (`legs/simulated.py`), reading uploads
(`upload.py`). Mounted in a sandbox only. Implements the simulated phones of
docs/reference/rest.md.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
from aiohttp import web

from telcoflow_sdk.audio.format import TICK_MS
from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_server.api.auth import Refused
from telcoflow_server.api.http import RestPort, json_response
from telcoflow_server.api.script import PhoneRequest, ScriptError, ScriptRequest
from telcoflow_server.api.upload import invalid, read_json, read_upload
from telcoflow_server.call.exchange import Draining, NewCall, QuotaExceeded
from telcoflow_server.call.report import GapReport
from telcoflow_server.legs.simulated import Levels
from telcoflow_server.media.sound import Sound
from telcoflow_server.simulation import SimulatedCall, Simulation

EVENT_INTERVAL_S = 0.1

LISTED_CALLS = 100
"""How many calls a listing holds; what runs beyond them is found by its id."""

_QUIET = Levels(-96.0, -96.0)


class LiveLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a call's event stream.

    Levels are those of the caller and the callee. `said_ms` is what was heard of the agent's
    utterance in progress; the other times are as in `AgentAudio`.
    """

    state: str
    mode: str | None = None
    at_ms: int
    spoken_db: float
    heard_db: float
    callee_spoken_db: float | None = None
    callee_heard_db: float | None = None
    queued_ms: float
    in_flight_ms: float = 0.0
    said_ms: float = 0.0
    lead_ms: float = 0.0
    gaps: int = 0
    last_gap: GapReport | None = None


class CallListed(msgspec.Struct, frozen=True):
    """One line of the listing."""

    call_id: str
    direction: str
    caller: str = msgspec.field(name="from")
    callee: str = msgspec.field(name="to")
    state: str
    duration_ms: int
    end_reason: EndReason | None


class SandboxPort:
    """Simulated phones, by HTTP.

    Args:
        simulation: Their calls.
        rest: Checks who asks.
    """

    def __init__(self, simulation: Simulation, rest: RestPort) -> None:
        self._simulation = simulation
        self._rest = rest

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put this port's paths on the control port."""
        router.add_post("/sandbox/v1/phones", self._register, name="register-simulated-phone")
        base = "/sandbox/v1/calls"
        router.add_post(base, self._place, name="place-simulated-call")
        router.add_get(base, self._list, name="list-simulated-calls")
        base += "/{call_id}"
        router.add_get(base, self._report, name="report-of-simulated-call")
        router.add_get(base + "/events", self._events, name="simulated-call-events")
        router.add_post(base + "/hang-up", self._hang_up, name="hang-up")
        router.add_get(base + "/heard.wav", self._heard_wav, name="heard-recording")
        router.add_get(base + "/callee-heard.wav", self._callee_wav, name="callee-recording")
        router.add_get(base + "/call.wav", self._call_wav, name="call-recording")

    # --- placing ---------------------------------------------------------------------------

    async def _place(self, request: web.Request) -> web.Response:
        connector_uuid = self._rest.connector_of(request)
        wanted, sounds = await read_upload(request, "script", ScriptRequest)
        new_call = NewCall(connector_uuid, wanted.caller, wanted.callee, int(time.time()))
        try:
            script, callee = wanted.script(sounds), wanted.script_of_callee(sounds)
            simulated = self._simulation.place(new_call, script, callee)
        except ScriptError as error:
            raise invalid(str(error)) from None
        except Draining as error:
            raise Refused(503, ErrorCode.DRAINING, str(error)) from None
        except QuotaExceeded as error:
            raise Refused(429, ErrorCode.QUOTA_EXCEEDED, str(error)) from None
        return json_response({"call_id": simulated.call.identity.call_id}, 201)

    async def _register(self, request: web.Request) -> web.Response:
        connector_uuid = self._rest.connector_of(request)
        sounds: list[Sound] = []
        if request.content_type == "application/json":
            wanted = await read_json(request, "phone", PhoneRequest)
        else:
            wanted, sounds = await read_upload(request, "phone", PhoneRequest)
        try:
            wanted.check_number()
            script = wanted.script(sounds, "")
        except ScriptError as error:
            raise invalid(str(error)) from None
        self._simulation.book.register(connector_uuid, wanted.number, script)
        return json_response({"number": wanted.number}, 201)

    # --- watching --------------------------------------------------------------------------

    def _find(self, request: web.Request) -> SimulatedCall:
        connector_uuid = self._rest.connector_of(request)
        simulated = self._simulation.find(request.match_info["call_id"], connector_uuid)
        if simulated is None:
            raise Refused(404, ErrorCode.NOT_FOUND, "no simulated call with this id")
        return simulated

    async def _list(self, request: web.Request) -> web.Response:
        calls = self._simulation.calls(self._rest.connector_of(request))
        return json_response({"items": [_listed(one) for one in calls[:LISTED_CALLS]]})

    async def _report(self, request: web.Request) -> web.Response:
        simulated = self._find(request)
        known = simulated.report or self._simulation.exchange.report(simulated.call)
        report = msgspec.to_builtins(known)
        if request.query.get("timeline"):
            report["timeline"] = {
                "tick_ms": TICK_MS,
                "queued_ms": [round(level, 1) for level in simulated.timeline.queued_ms],
                "said_ms": [round(level, 1) for level in simulated.timeline.heard_ms],
                "lead_ms": [round(level, 1) for level in simulated.timeline.lead_ms],
            }
        return json_response(report)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        simulated = self._find(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        lines = 0
        while simulated.report is None:
            await response.write(msgspec.json.encode(_live_line(simulated)) + b"\n")
            lines += 1
            next_s = start_s + lines * EVENT_INTERVAL_S
            try:
                async with asyncio.timeout_at(next_s):
                    await simulated.ended.wait()
            except TimeoutError:
                continue
        await response.write(msgspec.json.encode({"report": simulated.report}) + b"\n")
        await response.write_eof()
        return response

    async def _hang_up(self, request: web.Request) -> web.Response:
        simulated = self._find(request)
        simulated.hang_up()
        return json_response({"call_id": simulated.call.identity.call_id}, 202)

    # --- recordings ------------------------------------------------------------------------

    async def _heard_wav(self, request: web.Request) -> web.StreamResponse:
        simulated = self._find(request)
        return await self._recording(simulated, simulated.heard_file)

    async def _callee_wav(self, request: web.Request) -> web.StreamResponse:
        simulated = self._find(request)
        return await self._recording(simulated, simulated.callee_heard_file)

    async def _call_wav(self, request: web.Request) -> web.StreamResponse:
        simulated = self._find(request)
        return await self._recording(simulated, simulated.call_file)

    async def _recording(self, simulated: SimulatedCall, file: Path) -> web.StreamResponse:
        if simulated.report is None:
            raise Refused(409, ErrorCode.INVALID_STATE, "the call still runs; hang up first")
        await asyncio.to_thread(self._simulation.flush)
        if not await asyncio.to_thread(file.exists):
            raise Refused(
                404,
                ErrorCode.NOT_FOUND,
                "no such recording: this phone never answered, or it could not be written",
            )
        return web.FileResponse(file, headers={"Content-Type": "audio/wav"})


def _live_line(simulated: SimulatedCall) -> LiveLine:
    call = simulated.call
    audio = call.seat.audio
    gap = audio.last_gap
    caller = simulated.caller.levels if simulated.caller else _QUIET
    callee = simulated.callee.levels if simulated.callee else None
    return LiveLine(
        state=call.state,
        mode=call.mode,
        at_ms=call.tick * TICK_MS,
        spoken_db=round(caller.spoken_db, 1),
        heard_db=round(caller.heard_db, 1),
        callee_spoken_db=round(callee.spoken_db, 1) if callee else None,
        callee_heard_db=round(callee.heard_db, 1) if callee else None,
        queued_ms=round(audio.queued_ms, 1),
        in_flight_ms=round(audio.in_flight_ms, 1),
        said_ms=round(audio.heard_ms, 1),
        lead_ms=round(audio.lead_ms, 1),
        gaps=audio.gap_count,
        last_gap=GapReport(gap.at_ms, gap.ms, gap.cause) if gap else None,
    )


def _listed(simulated: SimulatedCall) -> CallListed:
    call = simulated.call
    return CallListed(
        call.identity.call_id,
        "outbound" if call.identity.is_outbound else "inbound",
        call.identity.caller,
        call.identity.callee,
        call.state,
        call.tick * TICK_MS,
        call.end_reason,
    )
