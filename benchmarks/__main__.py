"""Measures everything and prints tables: `make bench`, or `python -m benchmarks [PART ...]`.

Not here: the soak (`soak.py`). Parts: buffer, sdk, server, sip, stop, heard, stalls, outages; all
without an argument.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from benchmarks import tables
from benchmarks.buffers import measure_buffers
from benchmarks.numbers import machine, method_call_ns
from benchmarks.positions import measure_heard, measure_outages, measure_stalls
from benchmarks.progress import Progress, console
from benchmarks.sdk import OURS, OURS_V2, PUBLISHED, Capacity, measure_capacity
from benchmarks.server import measure_server
from benchmarks.sip import measure_sip
from benchmarks.stop import measure_stop

T = TypeVar("T")


def _shown(title: str, measure: Callable[[Progress], T]) -> T:
    progress = Progress(title)
    with progress.shown():
        return measure(progress)


def _buffer() -> Iterator[tables.Table]:
    yield tables.of_buffers(_shown("buffer, ours and the published one", measure_buffers))


def _sdk() -> Iterator[tables.Table]:
    groups: list[tuple[Capacity, Capacity, Capacity]] = []
    for loop in ("asyncio", "uvloop"):
        ours, ours_v2, published = (
            _shown(
                f"echo calls of {client.name} on {loop}", partial(measure_capacity, client, loop)
            )
            for client in (OURS, OURS_V2, PUBLISHED)
        )
        groups.append((ours, ours_v2, published))
    yield tables.of_sdk(groups)


def _server() -> Iterator[tables.Table]:
    v1, v2 = (
        _shown(f"calls on the server, agents on v{protocol}", partial(measure_server, protocol))
        for protocol in (1, 2)
    )
    yield tables.of_server(v1, v2)
    yield tables.of_profile("Server", v2.profile)


def _sip() -> Iterator[tables.Table]:
    capacity = _shown("calls of SIP phones, with an agent each", measure_sip)
    yield tables.of_sip(capacity)
    yield tables.of_profile("Phones", capacity.profile)


def _stop() -> Iterator[tables.Table]:
    times = [
        _shown(f"stop times with {calls} calls running", partial(measure_stop, calls))
        for calls in (1, 200)
    ]
    yield tables.of_stop(times)


def _heard() -> Iterator[tables.Table]:
    yield tables.of_heard(_shown("what interruptions say was heard", measure_heard))


def _stalls() -> Iterator[tables.Table]:
    yield tables.of_stalls(_shown("gaps while the agent's loop is blocked", measure_stalls))


def _outages() -> Iterator[tables.Table]:
    yield tables.of_outages(_shown("media sockets are cut", measure_outages))


PARTS = {
    "buffer": _buffer,
    "sdk": _sdk,
    "server": _server,
    "sip": _sip,
    "stop": _stop,
    "heard": _heard,
    "stalls": _stalls,
    "outages": _outages,
}


def main(names: list[str]) -> None:
    """Measure the parts named."""
    unknown = set(names) - set(PARTS)
    if unknown:
        sys.exit(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("this needs two cores: one for what is measured, one for its load")
    named = machine()
    console.print(f"{named}\nAbout a quarter of an hour. Leave the machine alone meanwhile.\n")
    found = [table for name in names or PARTS for table in PARTS[name]()]
    if console.is_terminal:
        for table in found:
            console.print("\n", table.rich())
    else:
        console.print("\n" + "\n\n".join(table.markdown() for table in found), soft_wrap=True)
    console.print(f"\n{named}; {method_call_ns():.0f} ns after the last run")


if __name__ == "__main__":
    main(sys.argv[1:])
