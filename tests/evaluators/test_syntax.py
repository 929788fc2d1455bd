"""A text that is read in pieces is refused exactly where the whole would be, with the same words."""

from __future__ import annotations

import random
import symtable
from pathlib import Path

import pytest

from evaluators import syntax

FOLDER = Path(syntax.__file__).parent
SOURCES = [text for path in sorted(FOLDER.glob("*.py")) if (text := path.read_text(encoding="utf-8"))]
INSERTED = (
    '"""', "'", "(", "]", "{", "\\\n", "\n", "\n\n", "    ", "\t", "#", ":", ";", "\x00", "\n\ndef ", "\n\n@",
    "\n\nclass A:\n", "async def g(): pass\n", "else:\n", "return\n", "yield", "await x", "nonlocal y\n", "global x\n",
    "x = 1\n", "break\n", "from __future__ import annotations\n", "lambda", "f'{",
)  # fmt: skip
ACROSS_PIECES = {
    "a string that holds a definition": 'x = """\n\ndef f(:\n\n"""\n\ndef g():\n    pass\n',
    "a feature behind the beginning": "x = 1\n\ndef f():\n    pass\n\nfrom __future__ import annotations\n",
    "a name used before it is global": "x = 1\n\ndef f():\n    pass\n\nif x:\n    global x\n",
    "an annotation under a feature": "from __future__ import annotations\n\ndef f():\n    x: (yield) = 1\n",
    "a block without a body": "if x:\n\ndef f():\n    pass\n",
    "a decorator of nothing": "@x\n\ndef f():\n    pass\n",
    "an open bracket": "x = (\n\ndef f():\n    pass\n",
}


def said(text: str, *, whole: bool) -> tuple[object, ...] | None:
    try:
        symtable.symtable(text, "m.py", "exec") if whole else syntax.read(text, "m.py")
    except syntax.UNREADABLE as error:
        return type(error), str(error), getattr(error, "lineno", None), getattr(error, "filename", None)
    return None


@pytest.mark.parametrize("text", ACROSS_PIECES.values(), ids=ACROSS_PIECES)
def test_what_pieces_do_to_each_other_is_seen(text: str) -> None:
    assert said(text, whole=False) == said(text, whole=True)


def test_edits_of_real_files_are_judged_as_the_whole_file_is() -> None:
    draw, outcomes = random.Random(11), set()
    for _ in range(250):
        text = draw.choice(SOURCES)
        for _ in range(draw.randrange(3)):
            at = draw.randrange(len(text) + 1)
            text = text[:at] + (
                draw.choice(INSERTED) + text[at:] if draw.random() < 0.7 else text[at + draw.randrange(60) :]
            )
        expected = said(text, whole=True)
        assert said(text, whole=False) == expected, text
        outcomes.add(expected is None)
    assert outcomes == {True, False}


def test_only_pieces_that_are_new_are_compiled() -> None:
    source = "".join(f"def f{at}(x):\n    return x + {at}\n\n\n" for at in range(40))
    syntax.read(source, "m.py")
    before = syntax._remembered.cache_info().misses
    syntax.read(source.replace("x + 7\n", "x + 70\n"), "m.py")
    assert syntax._remembered.cache_info().misses == before + 1
