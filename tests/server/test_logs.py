from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from telcoflow_server.logs import Pii, configure
from telcoflow_server.settings import LogSettings

logger = logging.getLogger("telcoflow_server.test")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("telcoflow_sdk", "telcoflow_server"))]
    before = [(one, one.level, one.handlers[:]) for one in loggers]
    yield
    for one, level, handlers in before:
        one.setLevel(level)
        one.handlers[:] = handlers


def test_text_line_has_time_level_logger_and_message() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)

    logger.info("call %s ended", "7f3a")

    time, level, name, message = stream.getvalue().rstrip("\n").split(" ", 3)
    assert time.endswith("Z")
    assert (level, name, message) == ("INFO", "telcoflow_server.test", "call 7f3a ended")


def test_json_line_carries_bound_values_and_the_traceback() -> None:
    stream = io.StringIO()
    configure(LogSettings(json=True), stream)

    try:
        raise OSError("no route")
    except OSError:
        logger.exception("two\nlines", extra={"call_id": "7f3a", "gaps": 2})

    line = json.loads(stream.getvalue())
    assert (line["level"], line["message"]) == ("error", "two\nlines")
    assert (line["call_id"], line["gaps"]) == ("7f3a", 2)
    assert "OSError: no route" in line["exception"]


def test_level_holds_for_our_loggers_and_libraries_are_heard_from_warning_on() -> None:
    stream = io.StringIO()
    configure(LogSettings(level="debug"), stream)

    logger.debug("ours")
    logging.getLogger("aiohttp").info("chatter")
    logging.getLogger("aiohttp").warning("trouble")

    assert "ours" in stream.getvalue()
    assert "chatter" not in stream.getvalue()
    assert "trouble" in stream.getvalue()


def test_configuring_twice_logs_once() -> None:
    stream = io.StringIO()
    configure(LogSettings(), io.StringIO())
    configure(LogSettings(), stream)

    logger.warning("once")

    assert stream.getvalue().count("once") == 1


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "secret",
    [
        "+15550100",
        "eyJhbGciOiJIUzI1NiJ9.eyJjYWxsIjoiYSJ9.c2lnbmF0dXJl",
        "Bearer s3cr3t",
        "tfk_0badcafe_c2lnbmF0dXJl-_x",
    ],
)
def test_numbers_and_tokens_are_hidden_wherever_they_slip_in(secret: str, as_json: bool) -> None:
    stream = io.StringIO()
    configure(LogSettings(json=as_json), stream)

    try:
        raise ValueError(f"cannot reach {secret}")
    except ValueError:
        logger.exception("lost %s", secret, extra={"who": f"<{secret}>"})

    assert secret not in stream.getvalue()
    assert "<hidden>" in stream.getvalue()


def test_times_ids_and_ports_are_not_taken_for_numbers() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)
    text = "call 0b7c-1234567 on 127.0.0.1:54321, 48000+960 bytes"

    logger.info("%s", text)

    assert text in stream.getvalue()


def test_pii_shows_itself_as_hidden_however_it_is_printed() -> None:
    number = Pii("+15550100")

    assert (
        f"{number} {number!r} {number:>12} {number}"
        == f"<hidden> <hidden> {'<hidden>':>12} <hidden>"
    )
    assert number.value == "+15550100"
