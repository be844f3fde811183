"""One process takes a call and gives it to another one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import telcoflow_sdk.events as events
from telcoflow_sdk import (
    ActiveCall,
    CallState,
    OfferedCall,
    TelcoflowClient,
    TelcoflowClientConfig,
    WSSCallError,
    WSSMediaError,
)
from tests.support.agent import config, connected, happenings
from tests.support.certificates import Authority
from tests.support.scripted_server import TOKEN, Peer, Refusal, ScriptedServer

FRAME = bytes(range(240)) * 4


def giving(client: TelcoflowClient) -> asyncio.Queue[str]:
    """Let the client give every call away; return what it gives."""
    given: asyncio.Queue[str] = asyncio.Queue()

    @client.on(events.CALL_OFFERED)
    def on_offer(offer: OfferedCall) -> None:
        given.put_nowait(offer.to_json())

    return given


async def test_call_given_away_is_handled_where_it_is_taken() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        incoming: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(incoming.put_nowait)
        given = giving(client)
        await server.offer(control)

        call = await ActiveCall.from_json(await given.get(), config(server))
        media = await server.medias.get()
        terminated = happenings(call, events.CALL_TERMINATED)
        answering = asyncio.ensure_future(call.answer())
        media.respond(await media.expect_command("call.answer"))
        await answering
        media.send_audio(FRAME)
        media.request(960)
        await call.send_audio(FRAME)

        assert media.headers["Authorization"] == f"Bearer {TOKEN}"
        assert (call.call_id, call.caller_number, call.callee_number) == (
            "call-1", "+15550100", "+15550199",
        )  # fmt: skip
        assert call.state is CallState.ANSWERED
        assert await anext(call.audio_stream()) == FRAME
        assert await media.take_audio() == FRAME
        closing = asyncio.ensure_future(call.close())
        media.respond(await media.expect_command("call.close"))
        await closing
        await terminated.get()
        assert incoming.empty()
        assert client.get_call("call-1") is None


async def test_giving_client_forgets_the_session_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        given = giving(client)
        await server.offer(control)
        await given.get()

        control.send("session.closed", sessionId="session-of-call-1", reason="caller_hung_up")
        await control.sync()

        assert server.media_attempts == 0
        assert [record for record in caplog.records if record.levelname != "INFO"] == []
        # It may be offered again, as when the other process never opened the media link.
        await server.offer(control)
        await given.get()


async def test_call_that_nobody_gave_away_is_handled_here() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        offers: list[OfferedCall] = []
        incoming: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.CALL_OFFERED)(offers.append)
        client.on(events.INCOMING_CALL)(incoming.put_nowait)

        media = await server.deliver(control)

        assert (await incoming.get()).call_id == offers[0].call_id == "call-1"
        assert (offers[0].caller_number, offers[0].callee_number) == ("+15550100", "+15550199")
        with pytest.raises(WSSCallError, match="CALL_OFFERED"):
            offers[0].to_json()
        media.drop()


async def test_media_link_is_not_open_while_the_call_is_offered() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        decided = asyncio.Event()
        offered = asyncio.Event()

        @client.on(events.CALL_OFFERED)
        async def on_offer(offer: OfferedCall) -> None:
            offered.set()
            await decided.wait()

        incoming: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(incoming.put_nowait)
        await server.offer(control)
        await offered.wait()
        server.send_call_in(control)
        await control.sync()

        assert server.media_attempts == 0
        assert client.get_call("call-1") is None
        decided.set()
        await incoming.get()
        assert incoming.empty()
        (await server.medias.get()).drop()


async def test_offer_handler_that_raises_is_logged_and_the_call_is_handled_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        incoming: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(incoming.put_nowait)

        @client.on(events.CALL_OFFERED)
        def on_offer(offer: OfferedCall) -> None:
            raise LookupError("the application's own")

        media = await server.deliver(control)

        await incoming.get()
        assert "the application's own" in caplog.text
        media.drop()


async def test_first_handler_that_gives_the_call_away_is_the_last_one_asked() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        asked: list[OfferedCall] = []
        given = giving(client)
        client.on(events.CALL_OFFERED)(asked.append)
        await server.offer(control)

        await given.get()

        assert asked == []


async def test_caller_who_hangs_up_while_the_call_is_offered_ends_it_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        decided = asyncio.Event()
        offered = asyncio.Event()
        returned = asyncio.Event()

        @client.on(events.CALL_OFFERED)
        async def on_offer(offer: OfferedCall) -> None:
            offered.set()
            await decided.wait()
            returned.set()

        incoming: asyncio.Queue[ActiveCall] = asyncio.Queue()
        client.on(events.INCOMING_CALL)(incoming.put_nowait)
        await server.offer(control)
        await offered.wait()
        control.send("session.closed", sessionId="session-of-call-1", reason="caller_hung_up")
        await control.sync()

        decided.set()
        await returned.wait()
        await control.sync()

        assert server.media_attempts == 0
        assert incoming.empty()
        assert [record for record in caplog.records if record.levelname != "INFO"] == []


async def test_call_that_nobody_takes_anywhere_is_rejected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):

        @client.on(events.CALL_OFFERED)
        def on_offer(offer: OfferedCall) -> None:
            """Does not want it."""

        media = await server.deliver(control)

        media.respond(await media.expect_command("call.close"))
        await media.closed
        assert "nobody handles it" in caplog.text


async def test_client_that_closes_while_a_call_is_offered_opens_nothing() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        offered = asyncio.Event()

        @client.on(events.CALL_OFFERED)
        async def on_offer(offer: OfferedCall) -> None:
            offered.set()
            await asyncio.sleep(0.05)

        client.on(events.INCOMING_CALL)(lambda call: None)
        await server.offer(control)
        await offered.wait()

        await client.disconnect()

        assert server.media_attempts == 0


async def test_asking_twice_gives_the_same_text_also_later() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        texts: asyncio.Queue[str] = asyncio.Queue()
        offers: list[OfferedCall] = []

        @client.on(events.CALL_OFFERED)
        def on_offer(offer: OfferedCall) -> None:
            offers.append(offer)
            texts.put_nowait(offer.to_json())

        await server.offer(control)
        text = await texts.get()
        await control.sync()

        assert offers[0].to_json() == text
        assert TOKEN in text
        assert TOKEN not in repr(offers[0])
        assert "555" not in repr(offers[0])


async def given_text(server: ScriptedServer, control: Peer, client: TelcoflowClient) -> str:
    given = giving(client)
    await server.offer(control)
    return await given.get()


async def test_configuration_may_be_left_out() -> None:
    async with (
        ScriptedServer() as server,
        connected(server, sample_rate=16_000, audio_mode="isolated") as (client, control),
    ):
        call = await ActiveCall.from_json(await given_text(server, control, client))
        media = await server.medias.get()
        media.send_audio(FRAME, 2)

        assert await anext(call.audio_stream(2)) == FRAME
        media.drop()
        await media.closed


async def test_other_sample_rate_is_refused_before_anything_is_opened() -> None:
    async with (
        ScriptedServer() as server,
        connected(server, sample_rate=16_000) as (client, control),
    ):
        text = await given_text(server, control, client)

        with pytest.raises(ValueError, match="sample_rate=16000"):
            await ActiveCall.from_json(text, config(server, sample_rate=24_000))
        assert server.media_attempts == 0


async def test_call_that_has_ended_cannot_be_taken() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        text = await given_text(server, control, client)
        server.refuse_media = Refusal(410, b'{"code": "CALL_ENDED", "message": ""}')

        with pytest.raises(WSSMediaError, match="CALL_ENDED") as caught:
            await ActiveCall.from_json(text, config(server))

        assert TOKEN not in str(caught.value)


async def test_text_that_is_no_call_is_refused_and_not_quoted() -> None:
    with pytest.raises(ValueError, match="no call") as caught:
        await ActiveCall.from_json(json.dumps({"token": TOKEN}))

    assert TOKEN not in str(caught.value)


async def test_cancelled_taking_leaves_nothing() -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        taking = asyncio.ensure_future(
            ActiveCall.from_json(await given_text(server, control, client))
        )
        await server.wait_media_attempts(1)

        taking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await taking


async def test_who_has_a_certificate_opens_nothing_in_clear_text(tmp_path: Path) -> None:
    async with ScriptedServer() as server, connected(server) as (client, control):
        text = await given_text(server, control, client)
        certificate = Authority(tmp_path).issue("agent")
        certified = TelcoflowClientConfig.production(
            cert_path=certificate.cert_file, key_path=certificate.key_file, base_url="wss://host"
        )

        with pytest.raises(WSSMediaError, match="not encrypted"):
            await ActiveCall.from_json(text, certified)
        assert server.media_attempts == 0
