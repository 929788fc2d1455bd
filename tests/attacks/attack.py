"""What an attack is, and what its measurement must be like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluators.contract import Measurement, Outcome
from tests.attacks.tiny import ARENAS, Arena, changed
from trials.canonical import dumps
from trials.vocab import VALID, Label

#: Both language models share processes and pipes; what their scorers or budgets answer is tried at both.
BOTH = ("golf", "core")
#: What an attacker is assumed to know: the runner's session, its pipe, and the frames that it speaks.
TOOLS = """import atexit, builtins, contextlib, ctypes, gc, itertools
import json, math, os, pickle, signal, socket, struct, sys, threading, time, weakref
import frames, meter, recipe_process
from frames import Kind
def session():
    frame = sys._getframe()
    while "session" not in frame.f_locals or not hasattr(frame.f_locals["session"], "outgoing"):
        frame = frame.f_back
    return frame.f_locals["session"]
def outgoing():
    frame = sys._getframe()
    while frame is not None:
        if "outgoing" in frame.f_locals: return frame.f_locals["outgoing"]
        if hasattr(frame.f_locals.get("session"), "outgoing"): return frame.f_locals["session"].outgoing
        frame = frame.f_back
def send(kind, payload=b""):
    frames.write_frame(outgoing(), kind, payload)
def burn(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds: pass
def worked(what): print("WORKED: " + what, flush=True)
"""


# Two fair coins all fall on the harmless side this often in a row once in a million million times.
LUCK = 20


@dataclass(frozen=True)
class Attack:
    """One way to cheat, and what must come of it.

    entry: its number in the catalogue of attacks. places: place in the tiny recipe -> code. label, reason: the verdict;
    reason is a regular expression. same: the score is that of the honest recipe, to the bit; worse: it is clearly above
    that (golf). chance: each process draws whether to attack; where none did, the result is the honest one. settings,
    limits: what is changed of the small profile.
    """

    name: str
    entry: str
    places: Mapping[str, str]
    label: str = VALID
    reason: str = ""
    same: bool = True
    worse: bool = False
    chance: bool = False
    arenas: Sequence[str] = ("golf",)
    settings: Mapping[str, object] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)

    def edits(self) -> dict[str, str]:
        """Its places with the tools in front."""
        return {**self.places, "import": f"{TOOLS}{self.places.get('import', '')}"}

    def run(self, arena: Arena, *, level: str = "L3") -> tuple[Measurement, Outcome]:
        """Its measurement and verdict."""
        return arena.measured(self.edits(), changed(arena.profile, self.settings, **self.limits), level=level)

    def without_luck(self, arena: Arena, honest: Measurement) -> tuple[Measurement, Outcome]:
        """Its measurement and verdict in a run in which some process attacked; the runs before gained nothing."""
        found, outcome = self.run(arena)
        for _ in range(LUCK if self.chance else 0):
            if outcome.label != VALID:
                break
            assert (outcome.score, found.secondary) == (honest.score, honest.secondary)
            found, outcome = self.run(arena)
        return found, outcome


def invalid(name: str, entry: str, places: Mapping[str, str], reason: str = "", **more: Any) -> Attack:
    """An attack whose result is refused."""
    return Attack(name, entry, places, Label.INVALID_RESULT, reason, same=False, **more)


def crash(name: str, entry: str, places: Mapping[str, str], reason: str = "", **more: Any) -> Attack:
    """An attack that ends as a crash of the recipe."""
    return Attack(name, entry, places, Label.CRASH, reason, same=False, **more)


def overrun(name: str, entry: str, places: Mapping[str, str], label: Label, reason: str = "", **more: Any) -> Attack:
    """An attack that ends with a budget."""
    return Attack(name, entry, places, label, reason, same=False, **more)


def check(attack: Attack, honest: Measurement, found: Measurement, outcome: Outcome) -> None:
    """The verdict is the expected one, nothing forbidden worked, and the record can be stored."""
    assert str(outcome.label) == str(attack.label), (outcome.reason, found.excerpt, found.log[-800:])
    assert re.search(attack.reason, outcome.reason), outcome.reason
    worked = re.findall(rb"WORKED: .*", found.log)
    assert worked == [], worked[:20]
    if attack.same:
        assert (outcome.score, found.secondary.get("val_bpb")) == (honest.score, honest.secondary.get("val_bpb"))
    elif outcome.label == VALID:
        assert outcome.score is not None and honest.score is not None
        assert not attack.worse or outcome.score > honest.score + 0.1
    else:
        assert outcome.score is None
    record = {name: value for name, value in vars(found).items() if name != "log"}
    stored = dumps({**record, "verdict": [str(outcome.label), outcome.reason, dict(outcome.numbers)]})
    assert "\\u0000" not in stored.replace("\\\\", ""), "text that a database refuses"
    assert stored.encode()


def cases(attacks: Sequence[Attack]) -> list[tuple[str, Attack]]:
    """Each attack in each of its environments."""
    assert all(arena in ARENAS for attack in attacks for arena in attack.arenas)
    return [(arena, attack) for attack in attacks for arena in attack.arenas]


def label_of(case: tuple[str, Attack]) -> str:
    """A test's name."""
    return f"{case[1].entry} {case[1].name} {case[0]}".replace(" ", "-")
