"""The pages on models show the examples as they are."""

from __future__ import annotations

import re

import pytest

from tests.support.pages import EXPLANATION, ROOT, Block, blocks, prose

SHOWN = [one for one in blocks("python") if one.kind.startswith("examples/")]


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: str(block.name))
def test_what_is_shown_of_an_example_is_in_it(block: Block) -> None:
    assert block.text in (ROOT / block.kind).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "example", ["adk_agent", "cascade", "deepgram_transcript", "gemini_live", "openai_realtime"]
)
def test_each_example_has_a_page_that_knows_its_variables(example: str) -> None:
    file = f"examples/{example}.py"
    pages = {one.page for one in SHOWN if one.kind == file and one.page.parent.name == "how-to"}
    assert len(pages) == 1
    text = pages.pop().read_text(encoding="utf-8")
    read = re.findall(r'environ(?:\.get\(|\[)"(\w+)"', (ROOT / file).read_text(encoding="utf-8"))

    unknown = {one for one in read if not one.startswith("TELCOFLOW_") and one not in text}
    assert unknown == set()


def test_the_table_of_models_has_every_page() -> None:
    text = prose(EXPLANATION / "models-and-interruptions.md")
    linked = set(re.findall(r"\.\./how-to/([\w-]+)\.md", text))

    assert {"openai-realtime", "gemini-live", "google-adk", "deepgram", "cascade"} <= linked
