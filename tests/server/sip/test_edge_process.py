"""The SIP process itself: started, watched, restarted, stopped, and gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from telcoflow_server.sip import edge as edge_module
from telcoflow_server.sip.accounts import EdgeSettings, Private
from telcoflow_server.sip.commands import Accept, Dial, HangUp, Overload, Ring
from telcoflow_server.sip.edge import EdgeError, SipEdge
from telcoflow_server.sip.events import (
    DialogId,
    DialogRestored,
    Ending,
    Failed,
    HungUp,
    IncomingCall,
    Listening,
    Registered,
    SignallingLost,
)
from tests.server.sip.conftest import EdgeInHand, Stage, Start, extension, until
from tests.support.sip_phone import ANSWER, OFFER, register

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def children() -> set[int]:
    """Return the ids of this process's children."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        found |= {int(number) for number in listing.read_text().split()}
    return found


def kill_children() -> None:
    for number in children():
        os.kill(number, signal.SIGKILL)


def dial(dialog: str, number: str = "alice") -> Dial:
    return Dial(
        dialog=DialogId(dialog),
        trunk="",
        number=Private(number),
        caller=Private(""),
        sdp=Private(OFFER),
    )


async def test_process_is_gone_after_stop(start: Start) -> None:
    before = children()
    stage = await start(EdgeSettings(port=0))
    assert len(children() - before) == 1

    await stage.edge.edge.stop()
    await stage.edge.edge.stop()

    assert children() == before
    assert not stage.edge.edge.is_alive


async def test_socket_can_be_bound_again_after_stop(start: Start) -> None:
    stage = await start(EdgeSettings(port=0))
    address = stage.edge.edge.address
    await stage.edge.edge.stop()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(address)


async def test_stop_hangs_up_what_is_connected(open_stage: Stage) -> None:
    phone = await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)

    await open_stage.edge.edge.stop()

    assert (await phone.request("BYE")).header("call-id") == call.call_id


async def test_address_that_is_taken_is_an_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        edge = SipEdge(EdgeSettings(port=taken.getsockname()[1]), lambda event: None)

        with pytest.raises(EdgeError, match=r"cannot listen on 127\.0\.0\.1 port"):
            await edge.start()

    with pytest.raises(EdgeError, match="not started"):
        _ = SipEdge(EdgeSettings(), lambda event: None).address


async def test_process_that_does_not_come_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_module, "CHILD", "telcoflow_server.sip.nothing")
    before = children()
    edge = SipEdge(EdgeSettings(port=0), lambda event: None)

    with pytest.raises(EdgeError, match="does not come up"):
        await edge.start()

    assert children() == before


async def test_process_that_cannot_be_started_is_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*arguments: object, **options: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)

    with pytest.raises(EdgeError, match="does not come up"):
        await SipEdge(EdgeSettings(port=0), lambda event: None).start()

    assert "cannot be started: Too many open files" in caplog.text


@pytest.fixture
def fake_child(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(edge_module, "CHILD", "tests.server.sip.fake_child")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return monkeypatch


async def test_fault_in_the_process_is_an_error_in_the_log(
    fake_child: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_child.setenv("FAKE_CHILD", "fault")
    edge = SipEdge(EdgeSettings(port=0), lambda event: None)

    await edge.start()
    await edge.stop()

    assert "a fault in the SIP process: KeyError at ('somewhere:7 there',)" in caplog.text


async def test_process_that_talks_nonsense_is_ended(
    fake_child: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_child.setenv("FAKE_CHILD", "garbage")
    before = children()

    with pytest.raises(EdgeError, match="does not come up"):
        await SipEdge(EdgeSettings(port=0), lambda event: None).start()

    assert "cannot be understood: a message of " in caplog.text
    assert children() == before


FAULTY = """
import socket
from telcoflow_server.sip.child import Child
from telcoflow_server.sip.pipe import EventReader

server, control = socket.socketpair()
child = Child(control, socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
for number in ("+493012345", "+493067890"):
    child.guarded(lambda: {}[number])
control.close()
print(*EventReader().read(server.recv(65536)))
"""


async def test_fault_tells_its_place_and_no_value_and_is_told_once_a_second() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-W", "ignore", "-c", FAULTY), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()

    told = output.decode()
    assert told.count("Fault(error='KeyError'") == 1
    assert "child.py:" in told
    assert "+4930" not in told


async def test_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(EdgeError, match=r"telcoflow-sdk\[sip\]"):
        await SipEdge(EdgeSettings(port=0), lambda event: None).start()


async def test_start_that_is_cancelled_leaves_nothing() -> None:
    before = children()
    edge = SipEdge(EdgeSettings(port=0), lambda event: None)
    task = asyncio.create_task(edge.start())
    await until(lambda: children() != before)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == before


async def test_answered_call_outlives_the_process_and_can_still_be_hung_up(
    open_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)

    kill_children()
    lost = await edge.hears(SignallingLost)
    restored = await edge.hears(DialogRestored)
    edge.send(HangUp(dialog=incoming.dialog))

    bye = await phone.request("BYE")
    phone.respond(bye, 200)
    assert lost.dialog == restored.dialog == incoming.dialog
    assert bye.header("call-id") == call.call_id
    assert bye.to_tag == call.from_tag
    assert edge.edge.restarts == 1
    assert edge.count(HungUp) == 0
    assert [one.getMessage() for one in caplog.records] == [
        "the SIP process died; restarted in 0.1 s"
    ]


async def test_far_end_can_hang_up_after_a_restart(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)
    kill_children()
    await edge.hears(DialogRestored)

    call.send("BYE")

    assert (await phone.response("BYE")).status == 200
    ended = await edge.hears(HungUp)
    assert (ended.dialog, ended.ending) == (incoming.dialog, Ending.FAR_END)


async def test_bye_that_comes_while_there_is_no_process_is_answered_by_the_next(
    open_stage: Stage,
) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, _, _ = await open_stage.answered_call(phone)
    kill_children()
    await edge.hears(SignallingLost)

    call.send("BYE")

    assert (await phone.response("BYE")).status == 200
    assert (await edge.hears(HungUp)).ending is Ending.FAR_END


async def test_hanging_up_while_there_is_no_process_is_made_good(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    call, incoming, _ = await open_stage.answered_call(phone)
    kill_children()
    await edge.hears(SignallingLost)

    edge.send(HangUp(dialog=incoming.dialog))

    assert (await phone.request("BYE")).header("call-id") == call.call_id
    assert await edge.says_nothing() or edge.count(DialogRestored) == 0


async def test_calls_that_were_not_answered_end_with_the_process(guarded_stage: Stage) -> None:
    edge, phone = guarded_stage.edge, await guarded_stage.phone()
    await register(phone)
    edge.send(dial("out"))
    phone.respond(await phone.request("INVITE"), 180)

    kill_children()

    failed = await edge.hears(Failed)
    assert (failed.dialog, failed.status) == ("out", 500)


async def test_caller_who_waits_is_lost_with_the_process(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    phone.call().invite()
    incoming = await edge.hears(IncomingCall)
    edge.send(Ring(dialog=incoming.dialog))
    await phone.response()

    kill_children()

    assert (await edge.hears(HungUp)).ending is Ending.SIGNALLING_LOST


async def test_dialling_without_a_process_fails_with_503(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    await open_stage.answered_call(phone)
    kill_children()
    await edge.hears(SignallingLost)

    edge.send(dial("out"))

    assert (await edge.hears(Failed)).status == 503


async def test_registrations_overload_and_port_outlive_the_process(start: Start) -> None:
    stage = await start(EdgeSettings(port=0, extensions=(extension("alice"),)))
    edge, phone = stage.edge, await stage.phone()
    address = edge.edge.address
    await register(phone)
    await edge.hears(Registered)
    kill_children()
    await edge.hears(Listening)

    edge.send(dial("out"))
    invite = await phone.request("INVITE")
    edge.send(HangUp(dialog=DialogId("out")))

    assert invite.uri == phone.contact.strip("<>")
    assert edge.edge.address == address


async def test_overload_outlives_the_process(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    edge.send(Overload(is_overloaded=True))
    kill_children()
    await edge.hears(Listening)

    phone.call().invite()

    assert (await phone.response()).status == 503


async def test_process_that_hangs_is_killed_and_restarted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_module, "SILENCE_S", 1.5)
    stage = await start(EdgeSettings(port=0))
    (number,) = children()

    os.kill(number, signal.SIGSTOP)

    await until(lambda: stage.edge.edge.restarts > 0)
    assert number not in children()


async def test_process_that_does_not_stop_is_killed(
    open_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_module, "STOP_TIMEOUT_S", 0.1)
    (number,) = children()
    os.kill(number, signal.SIGSTOP)

    await open_stage.edge.edge.stop()

    assert number not in children()


async def test_process_ends_when_its_server_is_gone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        numbers = (theirs.fileno(), udp.fileno())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", edge_module.CHILD, *map(str, numbers)),
            pass_fds=numbers,
        )
        theirs.close()

        ours.close()

        async with asyncio.timeout(5):
            assert await process.wait() == 0


async def test_commands_that_do_not_fit_any_more_are_counted(open_stage: Stage) -> None:
    edge, phone = open_stage.edge, await open_stage.phone()
    _, incoming, _ = await open_stage.answered_call(phone)

    edge.send(Ring(dialog=incoming.dialog))
    edge.send(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))

    await until(lambda: edge.edge.statistics().commands_dropped == 2)
    assert edge.edge.statistics().dialogs == 1


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6_is_served_like_ipv4() -> None:
    edge = EdgeInHand(EdgeSettings(host="::1", port=0, unauthenticated_calls=True))
    try:
        await edge.edge.start()
    except EdgeError as error:
        pytest.skip(str(error))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(edge.edge.stop)
        stage = Stage(edge, stack)
        phone = await stage.phone(host="::1")
        call, incoming, answered = await stage.answered_call(phone)
        call.send("BYE")

        assert (await phone.response("BYE")).status == 200
        assert incoming.source == ("::1", phone.port)
        assert answered.header("contact") == f"<sip:[::1]:{edge.edge.address[1]}>"
        assert f"[::1]:{phone.port}" in answered.header("via")
