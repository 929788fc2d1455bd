"""The task of ``benchmarks/swarm``: a program of 40 kB with one number that matters, and the model that changes it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.specialists.llm_server import Asked, Reply, Use

NAME = "swarm_line"
RECIPE_BYTES = 40_000
WAIT_SECONDS = 5
_RATE = re.compile(r"RATE = (0\.\d+)")
#: Before the program that is to be changed, in the prompts of the rivals.
_CURRENT = ("# Current Program", "# Current program")

DEFINITION = f"""
name = "{NAME}"
title = "One number of a long program"
score_name = "loss"
score_unit = "of 1"
direction = "lower"
folder = "{NAME}"
files = ["model.py"]
joins = ["train.py"]

[patterns]
score = '^loss: (?P<value>\\S+)'

[profiles.cpu]
command = ["{{python}}", "train.py"]
wall_seconds = 60
cpu_seconds = 30
memory_bytes = 536_870_912
scratch_bytes = 1_048_576

[profiles.wait]
command = ["{{python}}", "train.py", "--wait", "{WAIT_SECONDS}"]
wall_seconds = 60
cpu_seconds = 30
memory_bytes = 536_870_912
scratch_bytes = 1_048_576
"""
TRAIN = '''"""Reads one number of the program and prints what it is worth."""

import re
import sys
import time

if "--wait" in sys.argv:
    time.sleep(float(sys.argv[sys.argv.index("--wait") + 1]))
with open("model.py", encoding="utf-8") as file:
    rate = re.search(r"^RATE = (\\S+)$", file.read(), re.M)[1]
print(f"loss: {float('0.' + rate[::-1].replace('.', ''))}")
'''


def program() -> str:
    """The 40 kB: the number between the marks that the rivals want, then functions of plain arithmetic."""
    parts = ['"""A long program."""\n\n# EVOLVE-BLOCK-START\nRATE = 0.5\n']
    size, at = len(parts[0]), 0
    while size < RECIPE_BYTES:
        at += 1
        parts.append(
            f"\n\ndef layer_{at}(x, width={at % 7 + 1}, scale=0.{at % 9 + 1}):\n"
            f'    """Layer {at}: a weighted mean of x over {at % 7 + 1} places."""\n'
            "    kept = [value * scale for value in x]\n"
            "    return [sum(kept[place : place + width]) / width for place in range(len(kept))]\n"
        )
        size += len(parts[-1])
    return "".join(parts) + "\n\n# EVOLVE-BLOCK-END\n"


def write(folder: Path) -> None:
    """The definition and the recipe, for AUTORESEARCH_ENVIRONMENTS."""
    recipe = folder / NAME
    recipe.mkdir(parents=True)
    (folder / f"{NAME}.toml").write_text(DEFINITION, encoding="utf-8")
    (recipe / "model.py").write_text(program(), encoding="utf-8")
    (recipe / "train.py").write_text(TRAIN, encoding="utf-8")


class Tally(list[Any]):
    """As much of a list of requests as a long run can afford: how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def append(self, _: Any) -> None:
        self.count += 1

    def __len__(self) -> int:
        return self.count


def model() -> Callable[[Asked], Reply]:
    """A model that draws the number anew, in the way of whoever asks: by tools, or by a block to search and replace."""
    draw = random.Random(0)

    def answer(asked: Asked) -> Reply:
        return _by_tools(asked, draw) if asked.tools else _by_blocks(asked, draw)

    return answer


def _fresh(draw: random.Random) -> str:
    return f"RATE = 0.{draw.randrange(10**11, 10**12)}"


def _by_tools(asked: Asked, draw: random.Random) -> Reply:
    """The edit and the submission in one turn, as models do it: the program is in the opening."""
    submit = Use("submit", {"hypothesis": _hypothesis(draw), "evidence": [0]})
    if asked.turns:  # it was told that something like this was tried
        return Reply("", [submit])
    old = _RATE.search(asked.opening, asked.opening.rfind("<<data "))
    assert old is not None
    return Reply("", [Use("replace", {"name": "model.py", "old": old[0], "new": _fresh(draw)}), submit])


def _hypothesis(draw: random.Random) -> str:
    """Words that hardly meet twice: what a model says of its ideas differs from trial to trial."""
    return " ".join("".join(draw.choices("abcdefghijklmnoprstuvw", k=7)) for _ in range(12))


def _by_blocks(asked: Asked, draw: random.Random) -> Reply:
    text = asked.opening
    start = max(text.rfind(mark) for mark in _CURRENT)
    found = _RATE.search(text, max(0, start)) or _RATE.search(text)
    old = "RATE = 0.5" if found is None else found[0]
    block = f"<<<<<<< SEARCH\n{old}\n=======\n{_fresh(draw)}\n>>>>>>> REPLACE\n"
    return Reply(f"<NAME>\ndraw\n</NAME>\n<DESCRIPTION>\nAnother rate.\n</DESCRIPTION>\n<DIFF>\n{block}\n</DIFF>\n")
