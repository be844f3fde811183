"""The commands of `telcoflow` for real phones, with their help.

Not here: the other commands (`commands.py`), what these do (`sip_check.py`, `sip_password.py`).
Implements docs/reference/cli.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sip_check(
    config: Annotated[
        Path | None,
        typer.Option(help="The settings to check.", show_default="an account made for this"),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on.", show_default="this machine's own in its network"
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="UDP port.", show_default="5060")] = None,
    wait: Annotated[
        float,
        typer.Option(
            help="Seconds that a registration is waited for, and then a call.", min=1, max=3600
        ),
    ] = 120.0,
    listen: Annotated[
        float, typer.Option(help="Seconds that the call lasts.", min=1, max=600)
    ] = 12.0,
    record: Annotated[
        Path,
        typer.Option(help="Write both voices to this WAV file: left the phone's.", dir_okay=False),
    ] = Path("sip-check.wav"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")
    ] = False,
) -> None:
    """Tell whether a softphone can register here, call, hear and be heard.

    Prints what to set in Linphone and in baresip, waits for a registration and a call, plays a
    sentence, records what comes, and says what went which way, and if not, why not: which
    address, which port. The exit code is 1 if something is missing or broken.

    It takes the server's place: stop a server that uses the port.
    """
    from telcoflow_server.cli.sip_check import CheckOrder
    from telcoflow_server.cli.sip_check import sip_check as run_check

    if not record.absolute().parent.is_dir():
        raise typer.BadParameter(f"no directory {record.parent}", param_hint="'--record'")
    order = CheckOrder(
        config=config,
        host=host,
        port=port,
        wait_s=wait,
        listen_s=listen,
        record=record,
        as_json=as_json,
    )
    raise typer.Exit(run_check(order))


def sip_password(
    user: Annotated[str, typer.Argument(help="The extension: its name, and its number.")],
    realm: Annotated[
        str, typer.Option(help="The setting sip.realm, which is part of the hash.")
    ] = "telcoflow",
) -> None:
    """Print the settings of a softphone's account.

    Asks for the password, or reads it from stdin where that is no terminal; an empty one is
    replaced by a new one, which is shown once, on stderr. The settings hold hashes only. A running
    server reads them on SIGHUP.
    """
    from telcoflow_server.cli.sip_password import sip_password as run_password

    raise typer.Exit(run_password(user, realm))
