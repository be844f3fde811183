"""Every command and flag of `telcoflow`, with its help.

Not here: those for real phones (`sip_commands.py`), what the commands do; each has a module of its
own, loaded when it is used.
Implements docs/reference/cli.md.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from telcoflow_server.cli import sip_commands
from telcoflow_server.legs.behaviour import Behaviour

app = typer.Typer(
    name="telcoflow",
    help="Put a Python voice agent on a phone call, and try it without a telephone.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    # A traceback with local variables would show keys.
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    app()


DAY_S = 86_400


def seconds(text: str) -> float:
    """Return an option as seconds of a call, 0 to a day. Raises `typer.BadParameter`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= DAY_S:  # not a number is in no range
        raise typer.BadParameter(f"{text!r} is not 0 to {DAY_S} seconds")
    return value


@app.command()
def sandbox(
    host: Annotated[
        str | None,
        typer.Option(help="Where to listen.", show_default="127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Control port; 0 takes a free one.", show_default="8080"),
    ] = None,
    media_port: Annotated[
        int | None,
        typer.Option(help="Media port.", show_default="the port above, or a free one with 0"),
    ] = None,
    record_dir: Annotated[
        Path | None,
        typer.Option(help="Keep a stereo recording of every call here: left the caller."),
    ] = None,
    record_split: Annotated[
        bool | None,
        typer.Option(
            "--record-split",
            help="Keep what caller, callee and agent said there, too, in one file each.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file; config.sample.toml names everything that can be set."),
    ] = None,
    sip: Annotated[
        bool,
        typer.Option(
            "--sip",
            help="Serve real phones, too; prints what a softphone is to be told.",
            show_default=False,
        ),
    ] = False,
    sip_port: Annotated[
        int | None,
        typer.Option(help="Likewise, at this UDP port.", show_default="5060 with --sip"),
    ] = None,
    sip_host: Annotated[
        str | None,
        typer.Option(
            help="Address that phones reach; this machine's in your network, for phones elsewhere.",
            show_default="127.0.0.1",
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="debug, info, warning or error.", show_default="info"),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json", help="Log one JSON object per line.", show_default=False),
    ] = None,
) -> None:
    """Run a telephone network on this machine, with no account.

    Prints `ready ws://HOST:PORT api_key=sandbox connector_uuid=sandbox` once agents can connect and
    calls can be placed. Those keys exist only while no configuration names others, and only on a
    loopback host. The log goes to stderr.

    Ctrl-C (or SIGTERM) refuses new calls and lets the running ones end, for 30 seconds at most;
    a second one stops at once.

    Then, in two more terminals: start an agent, for example `python examples/parrot.py`, and call
    it with `telcoflow call --play FILE.wav`. Or register a softphone with what `--sip` prints, and
    dial any number.
    """
    from telcoflow_server.cli.sandbox import sandbox as run_sandbox

    overrides = {
        "server.host": host,
        "server.port": port,
        "server.media_port": media_port,
        "calls.record_dir": record_dir,
        "calls.record_split": record_split,
        "sip.port": sip_port,
        "sip.host": sip_host,
        "log.level": log_level,
        "log.json": log_json,
    }
    raise typer.Exit(run_sandbox(config, overrides, has_phones=sip or sip_host is not None))


@app.command()
def call(
    url: Annotated[str, typer.Option(help="The sandbox.")] = "ws://127.0.0.1:8080",
    caller: Annotated[str, typer.Option("--from", help="Who calls.")] = "+15550100",
    to: Annotated[str, typer.Option("--to", help="Who is called.")] = "+15550199",
    play: Annotated[
        list[Path] | None,
        typer.Option(
            help="A 16-bit WAV file that the caller plays, of any rate; several play in turn.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    play_at: Annotated[
        list[float] | None,
        typer.Option(
            help="Seconds from the answer at which the file plays; the n-th belongs to the n-th "
            "--play. A file without one follows the file before it.",
            parser=seconds,
            metavar="<float>",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Write what the caller heard to this WAV file.", dir_okay=False),
    ] = None,
    hang_up_after: Annotated[
        float | None,
        typer.Option(
            help="Seconds from the answer at which the caller hangs up. Without it: when "
            "everything was played and nothing was heard for 3 seconds.",
            parser=seconds,
            metavar="<float>",
            show_default=False,
        ),
    ] = None,
    callee: Annotated[
        Behaviour | None,
        typer.Option(
            help="What the person called does when the agent connects them.",
            show_default="what the sandbox knows of the number, or to answer and say nothing",
        ),
    ] = None,
    callee_play: Annotated[
        list[Path] | None,
        typer.Option(
            help="A WAV file that the callee plays from its answer on; several play in turn.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    callee_record: Annotated[
        Path | None,
        typer.Option(help="Write what the callee heard to this WAV file.", dir_okay=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")
    ] = False,
) -> None:
    """Place one simulated call to a sandbox.

    Shows the call while it runs, if there is a terminal, and sums it up. Ctrl-C hangs up.
    The exit code is 0 if the call was answered and ended normally; else it is 1, and the reason is
    on stderr.

    The keys are taken from TELCOFLOW_API_KEY and TELCOFLOW_CONNECTOR_UUID; without them, the
    sandbox's own are used.

    For example, to talk over an agent after four seconds and hang up after ten:

    telcoflow call --play question.wav --play stop.wav --play-at 0.5 --play-at 4 --hang-up-after 10
    """
    from telcoflow_server.api.script import ScriptRequest
    from telcoflow_server.cli.call import CallOrder, callee_of, plays_of
    from telcoflow_server.cli.call import call as run_call
    from telcoflow_server.cli.client import Access

    files, starts, callee_files = play or [], play_at or [], callee_play or []
    if len(starts) > len(files):
        raise typer.BadParameter(
            f"given more often ({len(starts)}) than --play ({len(files)})", param_hint="'--play-at'"
        )
    for option, file in (("--record", record), ("--callee-record", callee_record)):
        if file is not None and not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"no directory {file.parent}", param_hint=f"'{option}'")
    for option, given in (("--callee-play", callee_play), ("--callee-record", callee_record)):
        if given and callee not in (None, Behaviour.ANSWER):
            raise typer.BadParameter(
                "only a callee that answers says and hears something", param_hint=f"'{option}'"
            )
    script = ScriptRequest(
        caller=caller,
        callee=to,
        plays=plays_of(len(files), starts),
        hang_up_after_ms=None if hang_up_after is None else round(hang_up_after * 1000),
        callee_script=callee_of(callee, len(files), len(callee_files)),
    )
    order = CallOrder(
        access=Access.from_environment(url, os.environ),
        script=script,
        sounds=(*files, *callee_files),
        record=record,
        callee_record=callee_record,
        as_json=as_json,
    )
    raise typer.Exit(run_call(order))


@app.command()
def drain(
    url: Annotated[str, typer.Option(help="The server.")] = "ws://127.0.0.1:8080",
) -> None:
    """Let a server finish its calls and end.

    From now on it refuses new calls and /readyz says 503. It ends by itself, with exit code 0, when
    its last call has ended or after server.drain_timeout_s.

    The key is taken from TELCOFLOW_ADMIN_KEY; without it, the sandbox's own is used.
    """
    from telcoflow_server.cli.drain import drain as run_drain

    raise typer.Exit(run_drain(url, os.environ))


app.command("sip-check")(sip_commands.sip_check)
app.command("sip-password")(sip_commands.sip_password)

keys = typer.Typer(
    name="keys",
    help="Create, list and revoke API keys. Only their digests are kept, in the key file.",
    no_args_is_help=True,
)
app.add_typer(keys)

KeyFile = Annotated[
    Path,
    typer.Option(
        "--file",
        help="The key file, the setting server.keys_file.",
        envvar="TELCOFLOW_SERVER_KEYS_FILE",
        dir_okay=False,
    ),
]


@keys.command("create")
def create_key(
    connector: Annotated[str, typer.Option(help="The connector whose calls the key is for.")],
    file: KeyFile = Path("keys.json"),
) -> None:
    """Print a new API key, once, on stdout.

    The file is made if there is none. A running server reads it on SIGHUP.
    """
    from telcoflow_server.cli.keys import create

    if not connector:
        raise typer.BadParameter("must not be empty", param_hint="'--connector'")
    raise typer.Exit(create(file, connector))


@keys.command("list")
def list_keys(file: KeyFile = Path("keys.json")) -> None:
    """Print id, time of creation and connector of every key."""
    from telcoflow_server.cli.keys import list_all

    raise typer.Exit(list_all(file))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="As printed by `telcoflow keys list`.")],
    file: KeyFile = Path("keys.json"),
) -> None:
    """Remove a key.

    A running server refuses it after SIGHUP. Links that are open stay open.
    """
    from telcoflow_server.cli.keys import revoke

    raise typer.Exit(revoke(file, key_id))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to leave the recording and the picture.")] = Path(
        "demo-out"
    ),
) -> None:
    """Show a whole call: an agent talks, is interrupted mid-sentence, and stops.

    Starts a sandbox and the example agents as processes of their own, calls them with recorded
    speech, and measures. Leaves `call.wav` (left the caller, right the agent) and `call.png` (both
    voices on one time axis, the interruption, the agent's buffer level), and prints a table.
    """
    from telcoflow_server.cli.demo import demo as run_demo

    raise typer.Exit(run_demo(out))


@app.command()
def top(
    url: Annotated[str, typer.Option(help="The server.")] = "ws://127.0.0.1:8080",
    interval: Annotated[
        float, typer.Option(help="Seconds from one look to the next.", min=0.1, max=60)
    ] = 1.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Look once, and print one JSON object on stdout.")
    ] = False,
) -> None:
    """Show the calls of a running server, as they go.

    Without a terminal it looks once. Ctrl-C ends it. The admin key, which a server on another
    machine wants, is taken from TELCOFLOW_ADMIN_KEY.
    """
    from telcoflow_server.cli.top import TopOrder
    from telcoflow_server.cli.top import top as run_top

    order = TopOrder(
        url=url,
        admin_key=os.environ.get("TELCOFLOW_ADMIN_KEY") or None,
        interval_s=interval,
        as_json=as_json,
    )
    raise typer.Exit(run_top(order))


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Option(help="The settings to examine.", show_default="the defaults")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="A server that should be running.", show_default="none is expected"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")
    ] = False,
) -> None:
    """Tell what a server needs, whether it is there, and how to get it.

    Examines this machine and the settings. The exit code is 1 if something is missing or broken.
    """
    from telcoflow_server.cli.doctor import doctor as run_doctor

    raise typer.Exit(run_doctor(config, url, as_json=as_json))
