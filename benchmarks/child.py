"""The processes under test, each on a core of its own, and what they use.

Not here: what they do (`lines.py` and its users). Linux only: reads /proc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent
PUBLISHED_PYTHON = ROOT / ".venv-published" / "bin" / "python"

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


_ENVIRONMENT = {**os.environ, "PYTHONPATH": "src", "OPENBLAS_NUM_THREADS": "1"}


def _pin(core: int) -> Callable[[], None]:
    cores = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {cores[core % len(cores)]})


def run_once(module: str, *, python: Path) -> str:
    """Run a module to its end on the first core; return what it printed."""
    command = [str(python), "-m", module]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=_ENVIRONMENT,
        preexec_fn=_pin(0),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


class Child:
    """A Python process on one core.

    Args:
        module: What it runs.
        arguments: Of the module.
        core: Index into the cores this process may use, from 0.
        python: Its interpreter.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        core: int,
        python: Path = Path(sys.executable),
    ) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_ENVIRONMENT,
            preexec_fn=_pin(core),
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Let it do something; wait for the answer.

        Raises:
            RuntimeError: it has died.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None, "piped"
        assert stdout is not None, "piped"
        stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended; its words are above")
        return json.loads(line)

    def cpu_s(self) -> float:
        """Return the processor time it has used."""
        fields = (Path("/proc") / str(self._process.pid) / "stat").read_text().rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / _TICKS_PER_S

    def waited_s(self) -> float:
        """Return how long it was ready to run and something else had its core."""
        schedstat = (Path("/proc") / str(self._process.pid) / "schedstat").read_text()
        return int(schedstat.split()[1]) / 1e9

    def memory_bytes(self) -> int:
        """Return its resident memory."""
        statm = (Path("/proc") / str(self._process.pid) / "statm").read_text()
        return int(statm.split()[1]) * _PAGE_BYTES

    def open_files(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list((Path("/proc") / str(self._process.pid) / "fd").iterdir()))
