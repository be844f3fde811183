"""Every link of the documentation leads somewhere, and every file it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import ROOT, anchors, name, pages, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|md|toml|wav|png)|(?:[\w.-]+/)+)`")

MADE = {"demo-out/call.wav", "demo-out/call.png", "call.wav", "call.png", "heard.wav"}
"""Files that commands leave behind."""


def resolves(file: str, page: Path) -> bool:
    bases = (ROOT, ROOT / "src", ROOT / "src/telcoflow_sdk", ROOT / "src/telcoflow_server")
    below = (ROOT / "src/telcoflow_sdk/protocol", ROOT / "src/telcoflow_sdk/audio")
    return any((base / file).exists() for base in (page.parent, *bases, *below))


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    missing = [
        file for file in FILE.findall(prose(page)) if file not in MADE and not resolves(file, page)
    ]

    assert missing == []


def test_files_in_the_picture_of_the_architecture_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"telcoflow_(?:sdk|server)/[\w/]+(?:\.py)?", text)

    assert named
    assert [file for file in named if not (ROOT / "src" / file).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in LINK.findall(prose(page)):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.is_file():
                waiting.append(file)

    assert set(pages()) - reached == set()


def test_every_picture_is_shown_somewhere() -> None:
    shown = {
        (page.parent / target).resolve() for page in pages() for target in LINK.findall(prose(page))
    }

    assert {file.resolve() for file in (ROOT / "docs/images").iterdir()} - shown == set()
