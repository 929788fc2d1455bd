"""Preflight's look at the syntax: what no interpreter could import, whatever a trial would cost; nothing is run."""

from __future__ import annotations

import pytest

from evaluators import preflight
from evaluators.environments.parameter_golf import ParameterGolf

SPEC = ParameterGolf.spec
START = preflight.read_recipe(SPEC)
REFUSED = {
    b"x = (": "line 1: '(' was never closed",
    b"x = 1\nif x:\npass\n": "line 3: expected an indented block after 'if' statement on line 2",
    b"x = 1\ndef f(a, a):\n    pass\n": "line 2: duplicate argument 'a' in function definition",
    b"nonlocal x\n": "line 1: nonlocal declaration not allowed at module level",
    b"x = '\xff'": "is not UTF-8 at byte 5",
    b"x = 1\x00": "null bytes",
    b"(" * 500 + b")" * 500: "too many nested parentheses",
    b"-" * 100_000 + b"1": "cannot be parsed",
}
ACCEPTED = [b"", b"# coding: latin-1\n", b"raise SystemExit\n", b"match 1:\n    case _:\n        pass\n"]


def refused(text: bytes) -> str:
    return preflight.refusal(SPEC, START | {"loss.py": text}, START, ["loss.py"])


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:24]))
def test_what_cannot_be_imported_is_refused_again_and_again(text: bytes) -> None:
    said = {refused(text) for _ in range(3)}
    assert len(said) == 1
    assert said.pop().startswith("loss.py") and REFUSED[text] in refused(text)


@pytest.mark.parametrize("text", ACCEPTED, ids=repr)
def test_what_can_be_compiled_passes_and_is_not_run(text: bytes) -> None:
    assert refused(text) == "" == refused(text)


def test_one_file_is_told_from_another_of_the_same_text() -> None:
    broken = b"x = ("
    assert refused(broken).startswith("loss.py")
    said = preflight.refusal(SPEC, START | {"tokenizer.py": broken}, START, ["tokenizer.py"])
    assert said.startswith("tokenizer.py")
