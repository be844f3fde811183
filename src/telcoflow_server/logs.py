"""How the server logs: one line per record on stderr, as text or JSON, with nobody's number in it.

Not here: what is logged; each module has its own logger and binds its own ids.
Implements the logging rules of CONTRIBUTING.md.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from telcoflow_server.keys import KEY_PREFIX
from telcoflow_server.settings import LogSettings

HIDDEN = "<hidden>"

OUR_LOGGERS = ("telcoflow_sdk", "telcoflow_server")

_SECRETS = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*"  # a token: RFC 7519, three base64url parts
    r"|(?<=[Bb]earer )\S+"
    rf"|\b{KEY_PREFIX}_\w+_[\w-]+"  # an API key of ours
    r"|(?<![\w.:-])\+\d{5,15}\b"  # a number dialled: ITU-T E.164
)

_PLAIN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Pii:
    """Something about a person that must be passed on and never be seen.

    Shows itself as `<hidden>`, however it is printed; `value` is the only way to what it holds.
    """

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)


def redact(text: str) -> str:
    """Hide what looks like a token, an API key or a dialled number.

    The last net under `Pii`, for texts that are not ours: a library's error, a traceback.
    """
    return _SECRETS.sub(HIDDEN, text)


class TextFormatter(logging.Formatter):
    """`2026-03-04T05:06:07.089Z INFO telcoflow_server.call.call call 7f3a ended`."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time of the record, UTC, to the millisecond."""
        return _time_of(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, redacted, its traceback included."""
        return redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object per record; what was bound with `extra` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON, redacted, its traceback included."""
        line: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _PLAIN_ATTRIBUTES:
                line[name] = value if isinstance(value, int | float | None) else str(value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        hidden = {k: redact(v) if isinstance(v, str) else v for k, v in line.items()}
        return msgspec.json.encode(hidden).decode()


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send this process's log to a stream; a second call replaces the first.

    Args:
        settings: `level` holds for our own loggers; libraries are heard from warning on.
        stream: stderr if None.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(
        JsonFormatter()
        if settings.json
        else TextFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(settings.level.upper())


def _time_of(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
