"""Applications as people have written them, through whole calls and through broken ones.

Each runs in virtual time: one call as it is meant to go, and one for every moment at which the
caller may hang up. Then each once as a process of its own, over sockets.
"""

from __future__ import annotations

import asyncio
import logging
import os
import runpy
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.testing import LivePhone, PhoneState, Sandbox
from tests.apps.streaming_model import RATE_HZ, Reply
from tests.support.traces import run_without_a_trace

ROOT = Path(__file__).parents[2]

Play = Callable[[Sandbox], Awaitable[None]]

SPEECH = np.full(RATE_HZ, 1_000, np.int16)
"""A second of the caller's; no application says this."""

HANG_UP_EVERY_S = 0.2
SETTLED_S = 2.5
"""An application that has just said goodbye waits for two seconds before it looks up."""


def replies(file: str, *names: str) -> list[Reply]:
    """Return what an application says."""
    module = runpy.run_path(str(Path(__file__).with_name(f"{file}.py")), run_name="application")
    return [module[name] for name in names]


def samples_of(phone: LivePhone, reply: Reply) -> int:
    return int(np.count_nonzero(phone.heard.samples == reply.value))


def length_of(reply: Reply) -> int:
    return len(reply.pcm) // 2


# --- a call as it is meant to go -----------------------------------------------------------------


async def converse(sandbox: Sandbox) -> None:
    """Front desk: is greeted, interrupts, is answered, says something, hears a goodbye."""
    hello, answer, goodbye = replies("front_desk", "HELLO", "ANSWER", "GOODBYE")
    phone = await sandbox.dial()
    await phone.answered()
    await phone.listen(0.8)
    await phone.say(SPEECH)
    await phone.listen_until_quiet(0.5)
    assert 0 < samples_of(phone, hello) < length_of(hello), "the greeting was interrupted"
    assert samples_of(phone, answer) == length_of(answer)
    await phone.say(SPEECH)
    await phone.listen_until_quiet(0.5)
    assert samples_of(phone, goodbye) == length_of(goodbye)
    assert await phone.ended() is EndReason.AGENT_DISCONNECTED


async def be_put_through(sandbox: Sandbox) -> None:
    """The callee comes: caller and callee talk to each other, without the agent."""
    callee = sandbox.callee()
    phone = await sandbox.dial()
    await callee.answered()
    await phone.listen(0.2)
    await phone.say(SPEECH)
    assert np.count_nonzero(callee.heard.samples == SPEECH[0]) == SPEECH.size
    assert await callee.hang_up() is EndReason.CALLEE_HUNG_UP


async def reach_nobody(sandbox: Sandbox) -> None:
    """The callee does not come: the caller is told so."""
    (sorry,) = replies("put_through", "SORRY")
    sandbox.callee(answers="no-answer")
    phone = await sandbox.dial()
    assert await phone.ended() is EndReason.AGENT_CLOSED
    assert samples_of(phone, sorry) == length_of(sorry)
    sandbox.callee()


async def be_prompted(sandbox: Sandbox) -> None:
    """Caller and callee talk; after each turn of the caller's the callee alone gets a hint."""
    hints: list[Reply] = replies("prompter", "HINTS")[0]  # type: ignore[assignment]
    callee = sandbox.callee()
    phone = await sandbox.dial()
    await callee.answered()
    await phone.listen(0.2)
    for hint in hints:
        await phone.say(SPEECH)
        await phone.listen(1.5)
        assert samples_of(callee, hint) == length_of(hint)
        assert samples_of(phone, hint) == 0
    assert await phone.hang_up() is EndReason.CALLER_HUNG_UP


async def be_received(sandbox: Sandbox) -> None:
    """The welcome is heard, then it rings; the callee comes."""
    (welcome,) = replies("receptionist", "WELCOME")
    callee = sandbox.callee()
    phone = await sandbox.dial()
    await callee.answered()
    assert samples_of(phone, welcome) == length_of(welcome)
    await phone.say(SPEECH)
    assert await phone.hang_up() is EndReason.CALLER_HUNG_UP
    assert np.count_nonzero(callee.heard.samples == SPEECH[0]) == SPEECH.size


async def be_received_by_nobody(sandbox: Sandbox) -> None:
    """The callee does not come within three seconds."""
    (sorry,) = replies("receptionist", "SORRY")
    sandbox.callee(answers="no-answer")
    phone = await sandbox.dial()
    assert await phone.ended() is EndReason.AGENT_CLOSED
    assert samples_of(phone, sorry) == length_of(sorry)
    sandbox.callee()


async def hear_an_echo(sandbox: Sandbox) -> None:
    phone = await sandbox.dial()
    await phone.say(SPEECH)
    await phone.listen(0.5)
    assert np.count_nonzero(phone.heard.samples == SPEECH[0]) == SPEECH.size
    await phone.hang_up()


async def hear_a_story(sandbox: Sandbox) -> None:
    """Eight seconds through a buffer of one."""
    (story,) = replies("narrator", "STORY")
    phone = await sandbox.dial()
    assert await phone.ended() is EndReason.AGENT_CLOSED
    assert samples_of(phone, story) == length_of(story)


async def leave_a_message(sandbox: Sandbox) -> None:
    beep, thanks = replies("answering_machine", "BEEP", "THANKS")
    phone = await sandbox.dial()
    await phone.answered()
    await phone.listen(1)
    await phone.say(SPEECH)
    await phone.listen_until_quiet(0.5)
    assert samples_of(phone, beep) == length_of(beep)
    assert np.count_nonzero(phone.heard.samples == SPEECH[0]) == SPEECH.size, "read back"
    assert samples_of(phone, thanks) == length_of(thanks)
    await phone.say(SPEECH)
    assert await phone.ended() is EndReason.AGENT_DISCONNECTED


@dataclass(frozen=True)
class Application:
    """A program, how its calls go, and how long they take."""

    file: str
    plays: tuple[Play, ...]
    seconds: float

    @property
    def path(self) -> Path:
        return Path(__file__).with_name(f"{self.file}.py")


APPLICATIONS = [
    Application("front_desk", (converse,), 10),
    Application("put_through", (be_put_through, reach_nobody), 3),
    Application("prompter", (be_prompted,), 9),
    Application("receptionist", (be_received, be_received_by_nobody), 5),
    Application("service", (hear_an_echo,), 3),
    Application("narrator", (hear_a_story,), 10),
    Application("answering_machine", (leave_a_message,), 7),
]

CONNECTING = {"put_through", "prompter", "receptionist"}
"""To the others it makes no difference whether the callee comes."""

each_application = pytest.mark.parametrize("app", APPLICATIONS, ids=lambda app: app.file)


@asynccontextmanager
async def running(app: Application) -> AsyncIterator[Sandbox]:
    """Run the application at the sandbox where it looks by itself; then cancel it."""
    async with Sandbox() as sandbox:
        main = runpy.run_path(str(app.path), run_name="application")["main"]
        task = asyncio.create_task(main())
        await asyncio.sleep(0.1)
        yield sandbox
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()


def assert_nothing_went_wrong(caplog: pytest.LogCaptureFixture) -> None:
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


@pytest.fixture(autouse=True)
def _finds_the_sandbox_where_it_looks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELCOFLOW_BASE_URL", raising=False)


@each_application
def test_a_call_goes_as_it_is_meant_to(app: Application, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(app) as sandbox:
            for play in app.plays:
                await play(sandbox)

    run_without_a_trace(main())
    assert_nothing_went_wrong(caplog)


@pytest.mark.parametrize(
    ("app", "comes"),
    [(app, "answer") for app in APPLICATIONS]
    + [(app, "no-answer") for app in APPLICATIONS if app.file in CONNECTING],
    ids=lambda one: getattr(one, "file", one),
)
def test_the_caller_may_hang_up_at_any_moment(
    app: Application, comes: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(app) as sandbox:
            idle = len(asyncio.all_tasks())
            moments = np.arange(0, app.seconds, HANG_UP_EVERY_S)
            for moment_s in (0.001, 0.015, *moments):
                sandbox.callee(answers=comes)
                phone = await sandbox.dial()
                talking = asyncio.create_task(chatter(phone))
                await asyncio.sleep(moment_s)
                if phone.state is not PhoneState.ENDED:
                    await phone.hang_up()
                await talking
                await asyncio.sleep(SETTLED_S)
                assert len(asyncio.all_tasks()) == idle, f"hung up after {moment_s:g} s"
                assert len(sandbox.links) == 1, f"hung up after {moment_s:g} s"
            for play in app.plays:
                await play(sandbox)

    run_without_a_trace(main())
    assert_nothing_went_wrong(caplog)


async def chatter(phone: LivePhone) -> None:
    """Talk in turns until the call is over."""
    while phone.state is not PhoneState.ENDED:
        await phone.listen(1.5)
        await phone.say(SPEECH)


@each_application
def test_it_may_be_shut_down_at_any_moment(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(moment_s: float) -> None:
        async with running(app) as sandbox:
            sandbox.callee()
            phone = await sandbox.dial()
            talking = asyncio.create_task(chatter(phone))
            await asyncio.sleep(moment_s)
        await talking

    for moment_s in (0.001, 0.02, 0.3, 1.2, 2.1, 3.3, 4.5, 7.0):
        run_without_a_trace(main(moment_s))
    assert_nothing_went_wrong(caplog)


# --- processes -----------------------------------------------------------------------------------


@asynccontextmanager
async def process(app: Application, sandbox: Sandbox) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the application by its own interpreter, which complains of everything it can."""
    variables = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "TELCOFLOW_BASE_URL": sandbox.base_url}
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-X", "dev", "-W", "error::ResourceWarning"),
        app.path,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()


@pytest.mark.slow
@each_application
async def test_as_a_process_it_takes_a_call_and_leaves_nothing_unclosed(app: Application) -> None:
    async with Sandbox() as sandbox, process(app, sandbox) as program:
        sandbox.callee(after_s=0.1)
        phone = await sandbox.dial()
        await phone.answered(10)
        await phone.say(SPEECH[: RATE_HZ // 2])
        await phone.hang_up()
        program.send_signal(signal.SIGINT)
        _, complaints = await program.communicate()

    is_handled = app.file == "service"
    assert program.returncode == (0 if is_handled else -signal.SIGINT)
    text = complaints.decode()
    for trouble in ("ResourceWarning", "never retrieved", "destroyed", "never awaited"):
        assert trouble not in text, text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_are_the_applications(number: signal.Signals) -> None:
    (app,) = (one for one in APPLICATIONS if one.file == "service")
    async with Sandbox() as sandbox, process(app, sandbox) as program:
        phone = await sandbox.dial()
        await phone.answered(10)
        program.send_signal(number)
        reason = await phone.ended(10)
        said, complaints = await program.communicate()

    assert program.returncode == 0, complaints
    assert said == b"shut down\n"
    assert reason is EndReason.AGENT_CLOSED
