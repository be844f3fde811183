"""The example of docs/how-to/test-your-agent.md: its files as they stand, run by pytest."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, name

PAGE = ROOT / "docs" / "how-to" / "test-your-agent.md"


@pytest.mark.slow
async def test_the_example_passes_its_own_tests(tmp_path: Path) -> None:
    files = {
        block.kind: block.text
        for block in blocks("python", "ini")
        if block.page == PAGE and block.kind
    }
    assert set(files) == {"agent.py", "test_agent.py", "conftest.py", "pytest.ini"}, name(PAGE)
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")

    pytest_process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-q"),
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await pytest_process.communicate()

    assert pytest_process.returncode == 0, output.decode()
    passed = re.search(rb"(\d+) passed", output)
    assert passed is not None
    assert int(passed[1]) == files["test_agent.py"].count("async def test_")
