"""The examples of the how-to pages on testing: their files as they stand, run by pytest."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, name

PAGES = {
    ROOT / "docs" / "how-to" / "test-your-agent.md": "test_agent.py",
    ROOT / "docs" / "how-to" / "test-conversations.md": "test_conversations.py",
}
CONVERSATIONS = ROOT / "docs" / "how-to" / "test-conversations.md"


def files_of(page: Path) -> dict[str, str]:
    files = {
        block.kind: block.text
        for block in blocks("python", "ini")
        if block.page == page and block.kind
    }
    assert set(files) == {"agent.py", PAGES[page], "conftest.py", "pytest.ini"}, name(page)
    return files


async def run_pytest(folder: Path, files: dict[str, str]) -> tuple[int | None, str]:
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    pytest_process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-q"),
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{folder}"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await pytest_process.communicate()
    return pytest_process.returncode, output.decode()


def pictures(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("*.png")}


@pytest.mark.parametrize("page", PAGES, ids=name)
@pytest.mark.slow
async def test_the_example_passes_its_own_tests(page: Path, tmp_path: Path) -> None:
    files = files_of(page)

    exit_code, output = await run_pytest(tmp_path, files)

    assert exit_code == 0, output
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None
    assert int(passed[1]) == files[PAGES[page]].count("async def test_")
    assert not pictures(tmp_path)


@pytest.mark.slow
async def test_a_worse_agent_fails_with_pictures(tmp_path: Path) -> None:
    files = files_of(CONVERSATIONS)
    worse = files["agent.py"]
    for good, bad in (
        ("await call.interrupt()", "pass"),
        ("THINKING_S = 500, 400, 0.3", "THINKING_S = 500, 400, 0.9"),
    ):
        assert good in worse
        worse = worse.replace(good, bad)

    exit_code, output = await run_pytest(tmp_path, {**files, "agent.py": worse})

    assert exit_code == 1
    tests = re.findall(r"async def (test_\w+)", files["test_conversations.py"])
    assert f"{len(tests)} failed" in output
    assert pictures(tmp_path) == {f"test_conversations.{test}.png" for test in tests}


@pytest.mark.slow
async def test_the_error_that_is_shown_is_the_error(tmp_path: Path) -> None:
    files = files_of(CONVERSATIONS)
    stricter = files["test_conversations.py"].replace(
        "answers_within(900)", "answers_within(500)", 1
    )
    shown = next(b.text for b in blocks("text") if b.page == CONVERSATIONS)

    _, output = await run_pytest(tmp_path, {**files, "test_conversations.py": stricter})

    said = [line.removeprefix("E").strip() for line in output.splitlines() if line[:2] == "E "]
    assert [line.replace(f"{tmp_path}", "tests") for line in said] == [
        line.strip() for line in shown.splitlines()
    ]
