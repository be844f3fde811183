"""What the documentation says of the published client: its names, and the codes of our server."""

from __future__ import annotations

import ast
import re

import pytest

from telcoflow_sdk.protocol.codes import ErrorCode
from tests.support.pages import REFERENCE, ROOT, quoted, table

PAGE = REFERENCE / "published-client.md"
CODE = re.compile(r"[A-Z]+(?:_[A-Z]+)+")


def names_of_the_client() -> set[str]:
    """Return every name that its modules define or take as an argument."""
    (package,) = ROOT.glob(".venv-published/lib/python3*/site-packages/telcoflow")
    names: set[str] = set()
    for file in package.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    names.add(node.name)
                case (
                    ast.AnnAssign(target=ast.Name(id=name))
                    | ast.Assign(targets=[ast.Name(id=name)])
                ):
                    names.add(name)
    return names


@pytest.mark.stranger
def test_features_are_those_of_the_client() -> None:
    features = {
        name
        for feature, _, _ in table(PAGE, "What is served")
        for text in quoted(feature)
        for name in re.findall(r"[A-Za-z_]+", text)
    }

    assert len(features) > 20
    assert features - names_of_the_client() == set()


def test_codes_are_those_of_the_server() -> None:
    named = {
        text
        for _, _, notes in table(PAGE, "What is served")
        for text in quoted(notes)
        if CODE.fullmatch(text)
    }

    assert named - {"SSL_CERT_FILE"} <= set(ErrorCode)
    assert "CHANNEL_NOT_CONFIGURED" in named
