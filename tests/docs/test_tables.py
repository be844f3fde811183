"""Numbers and codes of the documentation are those of the code."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from telcoflow_sdk.audio.format import SAMPLE_RATES_HZ, AudioFormat
from telcoflow_sdk.protocol import codes, states
from telcoflow_sdk.protocol.codes import NORMAL_END_REASONS, CloseCode, EndReason, ErrorCode
from telcoflow_sdk.protocol.commands import (
    POSITIONED_COMMANDS,
    V2_COMMANDS,
    CommandName,
    GapCause,
)
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server import simulation, udp
from telcoflow_server.codec.table import offered
from telcoflow_server.legs import rtp
from telcoflow_server.loading import CLIENT_VARIABLES, load
from telcoflow_server.media import credit, lead, playout, routing
from telcoflow_server.media.routing import Audience, Listener, Slot, Stage
from telcoflow_server.rtp import dtmf, latch
from telcoflow_server.settings import GROUPS, KEYS
from telcoflow_server.sip import digest, guard, negotiation, refresh, registrar
from telcoflow_server.sip_settings import CODECS, ExtensionSettings, TrunkSettings
from telcoflow_server.tables import TABLES
from telcoflow_server.telephony import service
from tests.support.pages import EXPLANATION, REFERENCE, ROOT, quoted, table

WIRE = REFERENCE / "wire.md"
WIRE_V2 = REFERENCE / "wire-v2.md"


def first_quoted(rows: list[list[str]]) -> list[str]:
    return [quoted(row[0])[0] for row in rows]


# --- codes ---------------------------------------------------------------------------------------


def test_error_codes_are_all_listed() -> None:
    assert first_quoted(table(WIRE, "Error codes")) == list(ErrorCode)


def test_close_codes_are_all_listed() -> None:
    rows = table(WIRE, "WebSocket close codes")

    assert {int(row[0]): quoted(row[1])[0] for row in rows} == {
        code.value: code.name for code in CloseCode
    }


def test_end_reasons_are_all_listed() -> None:
    rows = table(WIRE, "End reasons")

    assert first_quoted(rows) == list(EndReason)
    assert {quoted(row[0])[0] for row in rows if row[1] == "yes"} == NORMAL_END_REASONS


def test_http_statuses_are_those_the_codes_name() -> None:
    listed = {
        (int(row[0]), code) for row in table(WIRE, "HTTP status codes") for code in quoted(row[1])
    }
    source = Path(codes.__file__).read_text(encoding="utf-8")
    named = {
        (int(status), code) for code, status in re.findall(r'= "([A-Z_]+)"  # HTTP (\d{3})', source)
    }

    assert named - listed == set()
    assert {code for _, code in listed} <= set(ErrorCode)


def test_every_end_of_a_call_is_explained() -> None:
    explained = {
        reason
        for row in table(EXPLANATION / "calls.md", "Who ends a call")
        for reason in quoted(row[2])
    }

    assert explained == set(EndReason)


# --- limits --------------------------------------------------------------------------------------


def constant(dotted: str) -> Any:
    module, _, attribute = dotted.rpartition(".")
    if module in GROUPS:
        return getattr(GROUPS[module](), attribute)
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize(
    "row",
    table(WIRE, "Limits")
    + table(WIRE, "Limits", 1)
    + [row for row in table(WIRE_V2, "Limits") if row[3]],
    ids=lambda row: row[0],
)
def test_limit_is_the_constant_it_names(row: list[str]) -> None:
    value = re.match(r"[\d.]+", row[1])

    assert value is not None
    assert float(value[0]) == constant(quoted(row[3])[0])


def test_close_codes_of_limits_exist() -> None:
    named = {
        int(code)
        for row in table(WIRE, "Limits") + table(WIRE_V2, "Limits")
        for code in re.findall(r"close (\d{4})", row[2])
    }

    assert named <= {code.value for code in CloseCode}


def test_playout_numbers_are_those_of_the_engine() -> None:
    rows = table(EXPLANATION / "flow-control.md", "Credit")
    ticks_ms = 20

    assert {row[0]: int(row[1]) for row in rows} == {
        "lead at the start": lead.START_LEAD_MS,
        "least lead": lead.MIN_LEAD_MS,
        "most lead": lead.MAX_LEAD_MS,
        "least prefill": lead.MIN_PREFILL_MS,
        "most prefill": lead.MAX_PREFILL_MS,
        "step": lead.STEP_MS,
        "steady time": lead.STEADY_TICKS * ticks_ms,
        "pause": playout.UTTERANCE_PAUSE_TICKS * ticks_ms,
        "tail": lead.TAIL_TICKS * ticks_ms,
        "queue": credit.MAX_QUEUED_MS,
    }


def test_sizes_of_frames_are_those_of_the_format() -> None:
    rows = table(EXPLANATION / "audio-format.md", "Audio format")
    listed = [[int(re.findall(r"\d+", cell)[0]) for cell in row] for row in rows]

    assert listed == [
        [rate, audio.frame_samples, audio.frame_bytes, audio.bytes_per_second]
        for rate in sorted(SAMPLE_RATES_HZ, reverse=True)
        for audio in [AudioFormat(rate)]
    ]


# --- states and mixes ----------------------------------------------------------------------------


def words(
    transitions: Mapping[tuple[CallState, CommandName], CallState],
) -> set[tuple[str, str, str]]:
    return {(state.value, name.value, to.value) for (state, name), to in transitions.items()}


def test_call_states_are_the_table_that_both_ends_share() -> None:
    rows = table(EXPLANATION / "calls.md", "Call states", 1)
    listed = {
        (quoted(state)[0], command, quoted(to)[0])
        for state, commands, to in rows
        for command in quoted(commands)
    }

    assert listed == words(states.TRANSITIONS)


def test_commands_are_all_explained() -> None:
    in_v1 = set(first_quoted(table(WIRE, "Commands")))
    in_v2 = {name for row in table(WIRE_V2, "Commands") for name in quoted(row[0])}

    assert in_v1 == set(CommandName) - V2_COMMANDS
    assert in_v2 == POSITIONED_COMMANDS | V2_COMMANDS


def test_causes_of_gaps_are_all_explained() -> None:
    assert first_quoted(table(WIRE_V2, "Gaps")) == list(GapCause)


def test_gain_matrix_is_that_of_an_answered_call() -> None:
    rows = table(EXPLANATION / "media-plane.md", "Gain matrices")
    matrix = routing.gains(Stage.ANSWERED, Audience.CALLER)

    assert [[float(cell) for cell in row[1:]] for row in rows] == matrix.tolist()
    assert matrix.shape == (len(Listener), len(Slot))


# --- settings ------------------------------------------------------------------------------------


def test_settings_are_all_listed_with_their_defaults() -> None:
    listed = {
        quoted(key)[0]: None
        if default == "none"
        else tomllib.loads(f"x = {quoted(default)[0]}")["x"]
        for key, _, default, _ in table(REFERENCE / "settings.md", "Settings")
    }
    defaults = {
        key: getattr(GROUPS[key.partition(".")[0]](), key.partition(".")[2]) for key in KEYS
    }

    assert listed == defaults


SIP_EXAMPLES = {
    "sip.port": "5061",
    "sip.host": "192.0.2.7",
    "sip.advertised_host": "192.0.2.7",
    "sip.default_trunk": "carrier",
    "sip.rtp_last_port": "20000",
    "sip.min_expires_s": "120",
}
"""Values that are neither any word nor any number."""

NEEDED_BY_OTHERS = {
    "TELCOFLOW_TLS_CERT_FILE": "a",
    "TELCOFLOW_TLS_KEY_FILE": "a",
    "TELCOFLOW_TLS_CLIENT_CA_FILE": "a",
    "TELCOFLOW_CALLS_RECORD_DIR": "a",
}


def test_environment_variables_set_the_settings_they_are_listed_with(tmp_path: Path) -> None:
    examples: dict[Any, str] = {int: "1234", float: "12.5", bool: "true"}
    for key, variable, default, _ in table(REFERENCE / "settings.md", "Settings"):
        value = examples.get(
            type(tomllib.loads(f"x = {default.strip('`')}")["x"]) if "`" in default else str
        )
        wanted = (
            SIP_EXAMPLES.get(quoted(key)[0])
            or value
            or {
                "log.level": "debug",
                "media.public_url": "wss://media",
                "server.media_port": "1",
                "admin.key": "sixteen-letters!",
            }.get(quoted(key)[0], "here")
        )
        group, _, field = quoted(key)[0].partition(".")

        file = tmp_path / "trunks.toml"
        file.write_text('[[trunks]]\nname = "carrier"\nhost = "carrier.example"\n')
        settings = load(file, {**NEEDED_BY_OTHERS, quoted(variable)[0]: wanted})

        default_value = getattr(GROUPS[group](), field)
        assert getattr(getattr(settings, group), field) != default_value, variable


def test_client_variables_are_all_listed() -> None:
    rows = table(REFERENCE / "settings.md", "What clients read")

    assert set(first_quoted(rows)) == CLIENT_VARIABLES


def test_sample_configuration_and_reference_name_the_same_settings() -> None:
    sample = (ROOT / "config.sample.toml").read_text(encoding="utf-8")
    group, named = "", set()
    for line in sample.splitlines():
        if match := re.match(r"#?\[+(\w+)\]+$", line):
            group = match[1]
        elif (match := re.match(r"#(\w+) = ", line)) and group not in TABLES:
            named.add(f"{group}.{match[1]}")

    assert named == set(first_quoted(table(REFERENCE / "settings.md", "Settings")))


def test_as_many_ended_calls_are_kept_as_is_said() -> None:
    page = (REFERENCE / "rest.md").read_text()
    said = re.findall(r"last (\d+) ended calls are kept", page)

    assert {int(number) for number in said} == {simulation.FINISHED_CALLS_KEPT}


@pytest.mark.parametrize(
    ("heading", "settings"),
    [("Trunks", TrunkSettings), ("Extensions", ExtensionSettings)],
)
def test_keys_of_tables_are_all_listed_with_their_defaults(heading: str, settings: type) -> None:
    rows = table(REFERENCE / "settings.md", heading)

    assert first_quoted(rows) == [field.name for field in fields(settings)]
    if heading == "Trunks":
        listed = {quoted(row[0])[0]: row[1] for row in rows if re.fullmatch(r"\d+|false", row[1])}
        assert listed == {
            field.name: str(field.default).lower()
            for field in fields(settings)
            if isinstance(field.default, int | float)
        } | {"keep_alive_s": "30"}


# --- phones --------------------------------------------------------------------------------------

PHONES = EXPLANATION / "phones.md"


def test_codecs_of_phones_are_those_offered() -> None:
    listed = [
        (row[0], rate_hz, row[2] if row[2].isdigit() else str(rate_hz))
        for row in table(PHONES, "Offers and answers")
        for rate_hz in map(int, re.findall(r"\d+", row[1]))
    ]

    assert listed == [
        (codec.encoding, codec.sample_rate_hz, str(codec.clock_rate_hz)) for codec in offered()
    ]
    assert {name for name, _, _ in listed} == set(CODECS)


def test_statuses_of_who_is_called_come_to_the_codes_listed() -> None:
    said = {
        int(status): quoted(row[1])[0]
        for row in table(PHONES, "Calling a phone")
        for status in re.findall(r"\b\d{3}\b", row[0])
    }

    assert said == {
        status: f"CALL_{progress.name}" for status, progress in service.PROGRESS_OF_STATUS.items()
    }
    assert set(said.values()) <= set(ErrorCode)


def test_numbers_of_the_page_on_phones_are_those_of_the_code() -> None:
    page = PHONES.read_text(encoding="utf-8")

    for text in (
        f"sends nothing for {rtp.DEAD_AFTER_S:.0f} s",
        f"rests for {udp.REST_S:.0f} s",
        f"{udp.READ_AT_ONCE} packets each at most",
        f"For {latch.LEARNING_PACKETS} packets",
        f"for {dtmf.END_TIMEOUT_S * 1000:.0f} ms, once each",
        f"Ours are {dtmf.DIGIT_MS} ms long with {dtmf.GAP_MS} ms between",
        f"a session timer below {refresh.MIN_SESSION_S} s",
        f"good for {digest.NONCE_LIFE_S:.0f} s",
        f"up to {negotiation.MAX_PTIME_MS} ms",
    ):
        assert text in page
    assert (guard.FREE_FAILURES, guard.MAX_FAILURES, guard.FORGET_S) == (3, 10, 300)
    assert registrar.MAX_BINDINGS == 8
