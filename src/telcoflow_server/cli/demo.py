"""`telcoflow demo`: a sandbox, example agents and two calls; a recording, a picture and a table.

Not here: the call itself (`call.py`), the measuring (`measure.py`), the drawing (`picture.py`).
What it shows is explained in docs/tutorial/first-agent.md.
"""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from telcoflow_server import speech
from telcoflow_server.api.script import PlayRequest, ScriptRequest
from telcoflow_server.call.report import CallReport
from telcoflow_server.cli.call import CallOrder, conduct
from telcoflow_server.cli.client import Access, Phones, SandboxError
from telcoflow_server.cli.live import failure, gaps_in_words, lateness_in_words
from telcoflow_server.cli.measure import (
    Interruption,
    Recording,
    echo_delays_ms,
    interruption,
    probe,
    read_recording,
)
from telcoflow_server.cli.picture import CallPicture, draw
from telcoflow_server.cli.processes import DemoError, Process, agent, sandbox
from telcoflow_server.cli.run import run

PULSES = 5

SENTENCE_AT_MS = 500
INTERRUPT_AT_MS = 11_220
"""The parrot starts 8.4 s after the answer (sentence, then a pause of 0.6 s): mid-word."""
HANG_UP_AFTER_MS = 19_500
"""The parrot has said back the interruption, too."""


def demo(out: Path) -> int:
    """Run the demonstration; return the exit code."""
    console = Console()
    try:
        if importlib.util.find_spec("webrtcvad") is None:
            raise DemoError("the parrot needs a voice detector: pip install webrtcvad-wheels")
        out.mkdir(parents=True, exist_ok=True)
        run(_demonstrate(out, console))
    except (DemoError, SandboxError) as error:
        console.print(f"[bold red]The demo failed:[/] {error}", highlight=False)
        return 1
    except OSError as error:
        console.print(f"[bold red]The demo failed:[/] {out}: {error.strerror}", highlight=False)
        return 1
    return 0


async def _demonstrate(out: Path, console: Console) -> None:
    console.print("[bold]1[/] starting a sandbox")
    async with sandbox() as url:
        access = Access.from_environment(url, {})
        console.print(f"  it listens at {url}", highlight=False)
        async with Phones(access) as phones:
            console.print("[bold]2[/] calling examples/echo.py, to measure the delay")
            delays_ms, echo_report = await _measure_delay(phones, access, console)
            console.print(
                "[bold]3[/] calling examples/parrot.py: it says back what it hears, "
                "until the caller talks over it (20 s)"
            )
            picture, data = await _interrupt(phones, access, console, median(delays_ms))
    console.print("[bold]4[/] drawing")
    await asyncio.to_thread((out / "call.wav").write_bytes, data)
    await asyncio.to_thread(draw, picture, out / "call.png")
    console.print(_summary(picture, delays_ms, echo_report))
    console.print(
        f"Listen to [bold]{out / 'call.wav'}[/] (left the caller, right the agent) and look at "
        f"[bold]{out / 'call.png'}[/]: where both voices meet, the agent falls silent.",
        highlight=False,
    )


async def _measure_delay(
    phones: Phones, access: Access, console: Console
) -> tuple[list[float], CallReport]:
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "probe.wav"
        sound.write_bytes(probe(PULSES))
        script = ScriptRequest(plays=[PlayRequest(0, 200)], hang_up_after_ms=200 + PULSES * 600)
        async with agent("echo.py", access.url) as echo:
            call_id, report = await _call(phones, access, console, script, (sound,), echo)
    said = read_recording(await phones.recording(call_id, "call"))
    heard = read_recording(await phones.recording(call_id, "heard"))
    delays_ms = echo_delays_ms(said.channels[0], heard.channels[0], said.sample_rate_hz)
    if not delays_ms:
        raise DemoError("no echo was heard")
    return delays_ms, report


async def _interrupt(
    phones: Phones, access: Access, console: Console, added_delay_ms: float
) -> tuple[CallPicture, bytes]:
    script = ScriptRequest(
        plays=[PlayRequest(0, SENTENCE_AT_MS), PlayRequest(1, INTERRUPT_AT_MS)],
        hang_up_after_ms=HANG_UP_AFTER_MS,
    )
    sounds = (speech.SENTENCE, speech.INTERRUPTION)
    async with agent("parrot.py", access.url) as parrot:
        call_id, report = await _call(phones, access, console, script, sounds, parrot)
    data = await phones.recording(call_id, "call")
    recording = read_recording(data)
    heard = read_recording(await phones.recording(call_id, "heard"))
    picture = CallPicture(
        recording=recording,
        report=report,
        timeline=await phones.timeline(call_id),
        interruption=_find_interruption(recording, heard, report),
        added_delay_ms=added_delay_ms,
    )
    return picture, data


async def _call(
    phones: Phones,
    access: Access,
    console: Console,
    script: ScriptRequest,
    sounds: tuple[Path, ...],
    agent_process: Process,
) -> tuple[str, CallReport]:
    """Conduct one call; fail at once, not after the ring time, when the agent's process ends."""
    order = CallOrder(access=access, script=script, sounds=sounds, record=None, as_json=False)
    call = asyncio.create_task(conduct(phones, order, console, asyncio.Event()), name="call")
    gone = asyncio.create_task(agent_process.ended(), name="agent's end")
    try:
        await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            raise DemoError(f"the agent ended early:\n{agent_process.output()}")
        call_id, report = call.result()
    finally:
        call.cancel()
        gone.cancel()
        await asyncio.wait({call, gone})
    reason = failure(report)
    if reason is not None:
        raise DemoError(f"{reason}\n{agent_process.output()}")
    return call_id, report


def _find_interruption(recording: Recording, heard: Recording, report: CallReport) -> Interruption:
    answered_ms = next(state.at_ms for state in report.states if state.name == "ANSWERED")
    found = interruption(
        recording.channels[0],
        heard.channels[0],
        recording.sample_rate_hz,
        answered_ms + INTERRUPT_AT_MS,
        report.clears,
    )
    if found is None:
        raise DemoError("the agent did not notice that it was talked over")
    return found


def _summary(picture: CallPicture, delays_ms: list[float], echo_report: CallReport) -> Table:
    found = picture.interruption
    table = Table(title="What was measured", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row(
        "added delay",
        f"{picture.added_delay_ms:.1f} ms",
        f"caller to agent and back, {len(delays_ms)} pulses, "
        f"{min(delays_ms):.1f} to {max(delays_ms):.1f} ms; "
        f"{echo_report.prefill_ms:.0f} ms of it prefill",
    )
    table.add_row(
        "stop time",
        f"{found.stop_ms:.1f} ms",
        "from the clear to the agent's last sound at the phone",
    )
    table.add_row(
        "detector",
        f"{found.detector_ms:.0f} ms",
        "from the interruption's first sound to the clear: the agent's own time to notice",
    )
    heard_ms = next(c.heard_ms for c in picture.report.clears if c.at_ms == found.clear_ms)
    table.add_row(
        "heard",
        f"{heard_ms / 1000:.2f} s",
        "of the interrupted utterance: what the agent is told, and its model with it",
    )
    table.add_row("gaps", gaps_in_words(picture.report), "silence inside what the agent said")
    table.add_row("lateness", lateness_in_words(picture.report), "of the server's 20 ms tick")
    return table
