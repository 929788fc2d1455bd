"""docs/operating.md names every environment variable that the settings read, and none that they do not; its links lead
somewhere, and so do those of docs/security.md."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

READERS = {"text", "boolean", "integer", "words", "choice", "networks"}
MANUAL = (ROOT / "docs" / "operating.md").read_text()


def variables_read() -> dict[str, str | None]:
    """Name -> default where that is written as a constant, of every reader's call in the settings."""
    tree = ast.parse((ROOT / "autoresearch_site" / "settings.py").read_text())
    inside = {node for each in tree.body if isinstance(each, ast.FunctionDef) for node in ast.walk(each)}
    found: dict[str, str | None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READERS:
            name = node.args[0]
            if isinstance(name, ast.Constant):
                default = node.args[1] if len(node.args) > 1 else None
                found[str(name.value)] = str(default.value) if isinstance(default, ast.Constant) else None
            else:
                assert node in inside, ast.unparse(node)
    found["DATABASE_URL"] = None  # read in a function of the settings
    return found


def rows() -> dict[str, str]:
    """Variable -> default as the manual tells it."""
    section = MANUAL.partition("## Environment variables")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", section, flags=re.M))


def test_the_table_of_variables_is_complete_and_has_nothing_else() -> None:
    read, told = variables_read(), rows()
    assert len(read) > 20 and read.keys() == told.keys()
    words = {"True": "1", "False": "0", "": ""}
    for name, default in read.items():
        if default is not None and told[name].startswith("`"):
            assert told[name] == f"`{words.get(default, default)}`", name


@pytest.mark.parametrize("name", ["operating", "security"])
def test_links_and_files_exist(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text()
    for target, anchor in re.findall(r"\]\(([\w./-]*)#?([\w-]*)\)", text):
        page = ROOT / "docs" / (target or f"{name}.md")
        assert page.exists(), target
        headings = [line.lstrip("# ").lower() for line in page.read_text().splitlines() if line.startswith("#")]
        slugs = [re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, f"{target}#{anchor}"
    for path in re.findall(r"`((?:trials|evaluators|specialists|autoresearch_site|tests|scripts)/[\w./*-]+)`", text):
        assert list(ROOT.glob(path)), path
