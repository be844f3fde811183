"""The reference lists the public names of the SDK and every option of the command line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest
import typer.core
import typer.main

import telcoflow_sdk
from telcoflow_sdk import (
    ActiveCall,
    AudioStream,
    CallStatistics,
    Interruption,
    Mark,
    Playback,
    Resumption,
    TelcoflowClient,
    TelcoflowClientConfig,
    events,
    exceptions,
)
from telcoflow_sdk.audio.outbox import OutboxStatistics
from telcoflow_server.cli.commands import app
from tests.support.pages import REFERENCE, headings, quoted, table

SDK = REFERENCE / "sdk.md"

FOR_THE_CLIENT = {"session_id", "media", "open", "leave"}
"""Members of a call that the client uses and applications do not."""

FOR_THE_CALL = {"deliver", "end"}
"""Members of a stream that the call uses."""


def members(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def listed_members(heading: str) -> set[str]:
    names: set[str] = set()
    for row in table(SDK, heading):
        for code in quoted(row[0]):
            names.add(re.sub(r"^await ", "", code).partition("(")[0])
    return names


def test_call_members_are_all_listed() -> None:
    assert listed_members("ActiveCall") == members(ActiveCall) - FOR_THE_CLIENT


def test_client_members_are_all_listed() -> None:
    assert listed_members("TelcoflowClient") - {"TelcoflowClient"} == members(TelcoflowClient)


def test_awaitables_are_shown_with_await() -> None:
    for heading, kind in (("ActiveCall", ActiveCall), ("TelcoflowClient", TelcoflowClient)):
        for row in table(SDK, heading):
            for code in quoted(row[0]):
                member = inspect.getattr_static(
                    kind, re.sub(r"^await ", "", code).partition("(")[0], None
                )
                member = getattr(member, "__func__", member)  # of the class
                assert code.startswith("await ") == inspect.iscoroutinefunction(member), code


@pytest.mark.parametrize("factory", ["sandbox", "production"])
def test_arguments_of_configurations_are_all_listed(factory: str) -> None:
    rows = {
        quoted(row[0])[0].partition("(")[0]: quoted(row[1])
        for row in table(SDK, "TelcoflowClientConfig")
    }
    arguments = inspect.signature(getattr(TelcoflowClientConfig, factory)).parameters

    assert set(rows[factory]) - {"wss://"} == set(arguments)


def test_defaults_of_configurations_are_those_listed() -> None:
    rows = {quoted(row[0])[0]: row[1] for row in table(SDK, "TelcoflowClientConfig", 1)}
    arguments = inspect.signature(TelcoflowClientConfig.sandbox).parameters

    assert set(rows) == set(arguments) - {"api_key", "connector_uuid"}
    for name in ("sample_rate", "buffer_size"):
        assert int(rows[name]) == arguments[name].default


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("Interruptions", Interruption),
        ("Marks", Mark),
        ("Playback", Playback),
        ("If the media link is lost", Resumption),
        ("Statistics", CallStatistics),
    ],
)
def test_fields_of_what_a_call_tells_are_all_listed(heading: str, kind: type) -> None:
    listed = [quoted(row[0])[0] for row in table(SDK, heading)]

    assert listed == list(inspect.signature(kind).parameters)


def test_counters_of_outgoing_audio_are_all_listed() -> None:
    (row,) = (row for row in table(SDK, "Statistics") if quoted(row[0]) == ["outgoing"])

    assert quoted(row[1]) == list(inspect.signature(OutboxStatistics).parameters)


def test_members_of_a_stream_are_all_listed() -> None:
    listed = {
        code.removeprefix("await ").removesuffix("()")
        for row in table(SDK, "Audio in")
        for code in quoted(row[0])
    }

    assert listed == members(AudioStream) - FOR_THE_CALL


def test_events_are_all_listed() -> None:
    constants = {
        name for name, value in vars(events).items() if isinstance(value, str) and name.isupper()
    }

    assert {quoted(row[0])[0] for row in table(SDK, "Events")} == constants


def test_exceptions_are_all_listed() -> None:
    ours = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, exceptions.WSSError)
    }

    assert {quoted(row[0])[0] for row in table(REFERENCE / "errors.md", "Errors")} == ours
    assert ours <= set(telcoflow_sdk.__all__)


def options_of(group: typer.core.TyperGroup) -> Iterator[tuple[str, set[str]]]:
    """Yield the full name of every command, those of groups too, and its options."""
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from ((f"{name} {inner}", options) for inner, options in options_of(command))
            continue
        yield (
            name,
            {
                option
                for parameter in command.params
                for option in parameter.opts
                if option.startswith("--") and option != "--help"
            },
        )


def test_options_of_every_command_are_listed() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)

    listed = {
        heading.removeprefix("telcoflow "): {
            quoted(row[0])[0] for row in table(REFERENCE / "cli.md", heading)
        }
        for heading in headings(REFERENCE / "cli.md")
        if heading.startswith("telcoflow ")
    }

    assert listed == dict(options_of(group))
