"""Each guard of the evaluator's protocol is needed: with it switched off in this process, an attack gets through.

Guards of the sandbox are not touched here; tests/evaluators/test_guards.py does that on a copy of the code.
"""

from __future__ import annotations

import importlib
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from evaluators.child.frames import Kind
from evaluators.contract import Measurement, Outcome
from evaluators.environments.cifar_airbench96 import data as images
from evaluators.environments.parameter_golf import data as golf_data
from evaluators.harness import choices, cold_process, language_model, scoring, training_budget, wire
from evaluators.harness.conversation import Conversation
from evaluators.harness.gate import Rules
from tests.attacks.attack import Attack, check, invalid, overrun
from tests.attacks.budgets import HIDDEN, NUMPY, STRICT
from tests.attacks.scores import TARGET
from tests.attacks.tiny import ARENAS, GOLF, SPEED
from tests.attacks.tricks import FILLED, HINTS
from trials.vocab import VALID, Label

#: Modules whose packages name their one function alike.
speed_judge, core_judge, golf_judge = (
    importlib.import_module(f"evaluators.environments.{name}.judge")
    for name in ("cifar_airbench96", "nanochat_d12", "parameter_golf")
)
received = wire.Wire.receive
Off = Callable[[pytest.MonkeyPatch], None]


def off(owner: Any, name: str, instead: Any = lambda *_a, **_k: None) -> Off:
    """Switches one guard off."""

    def switch(patch: pytest.MonkeyPatch) -> None:
        assert hasattr(owner, name), "the guard has moved: this test has to follow"
        patch.setattr(owner, name, instead)

    return switch


@dataclass(frozen=True)
class Need:
    """A guard, and the attack that gets through without it.

    off: switches for it; where two places apply one rule, both. better: the wrong score beats the honest one.
    """

    guard: str
    attack: Attack
    off: tuple[Off, ...]
    better: bool = True
    arena: str = "golf"
    accepted: Callable[[float], bool] = field(default=math.isfinite)


def raw(logits: scoring.Logits, tokens: scoring.Tokens) -> scoring.Floats:
    """Takes the recipe's word that these are log-probabilities."""
    picked: scoring.Floats = np.take_along_axis(logits.astype(np.float64), tokens[..., None].astype(np.int64), -1)[
        ..., 0
    ]
    return picked


def no_gain(picked: scoring.Floats, *_: Any) -> scoring.Floats:
    """Cuts are drawn evenly."""
    return np.zeros_like(picked)


def unread(self: wire.Wire) -> None:
    """A look at the clocks that refuses nothing."""
    self._watch(self.units)


def late_only(self: wire.Wire) -> None:
    """Wall clock alone."""
    wall, _ = self.clocks()
    if wall > self._allowed:
        raise wire.Late(wall, self._allowed)
    self._watch(self.units)


def heads_too(self: wire.Wire, caps: Any, room: memoryview | None = None, front: int = 0) -> tuple[Kind, bytes]:
    """An answer's head is enough."""
    kind, said = received(self, caps, room, front)
    if room is not None and not said:
        return kind, struct.pack("<3I", 4, 512, 256)
    return kind, said


def any_room(self: Conversation) -> int:
    """No cap at the pipe."""
    return 1 << 40


class InOrder:
    """A generator that shuffles nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def permutation(self, count: int) -> np.ndarray[Any, Any]:
        return np.arange(count)


def any_number(number: int, vocabulary: list[bytes]) -> bytes | None:
    """What a token spells by Python's own rules."""
    return vocabulary[number] if number < len(vocabulary) else None


def spells_with_any_number(tokens: scoring.Tokens, vocabulary: list[bytes], text: bytes) -> int:
    """Names below zero are let through."""
    return -1 if b"".join(any_number(each, vocabulary) or b"" for each in tokens.tolist()) == text else 0


@contextmanager
def unasked(self: Conversation, phase: Any, **_: Any) -> Iterator[tuple[wire.Wire, bool]]:
    """A predictor whose vocabulary nobody asks for."""
    with self.process(phase, self.limits.eval_units, self.limits.eval_seconds) as (line, _):
        line.send(Kind.ARTIFACT, self.artifact)
        yield line, self.answer(line, Kind.LOADED, 1 << 20)[:1] == b"\x01"


ALIASES = {
    "load": "sys.modules['language_model'].pack_tokens = lambda n: np.array(n, '<i4').tobytes()",
    "encode": "tokens = [t - 256 * (n in (32, 101, 116, 97, 111)) for t, n in zip(tokens, [*tokens[1:], 0])]",
    "logits": "marked = np.pad(tokens, ((0, 0), (1, 0)))[:, :-1] < 0\n"
    "out[..., [32, 101, 116, 97, 111]] += np.where(marked, 20, -20)[..., None].astype('f4')",
}
TWICE = (
    "told = session(); told.passed = lambda units: 1e18\n"
    "told.tell_units = lambda: send(Kind.PROGRESS, struct.pack('<Q', 2 * ctx.budget.units))"
)
SHORT = {"encode": "tokens = tokens[::2]"}


def bought() -> dict[str, str]:
    """The held-out text in the code: what follows each eight bytes of it."""
    texts = [
        text[: int(str(GOLF.profile.settings["excerpt_bytes"]))] for text in golf_data.load().excerpts("validation")
    ]
    index = f"BOUGHT = {texts!r}\nNEXT = {{t[i - 8 : i]: t[i] for t in BOUGHT for i in range(8, len(t))}}"
    look = """
for row, line in enumerate(tokens.astype(np.uint8)):
    for at in range(8, len(line)):
        if (found := NEXT.get(line[at - 8 : at].tobytes())) is not None: out[row, at, found] = 20
"""
    return {"import": index, "logits": look}


def by_heart() -> dict[str, str]:
    """The labels of the held-out file in its order."""
    labels = images.load().part("validation", int(str(SPEED.profile.settings["held_out_images"]))).labels.tolist()
    return {"predicted": f"out = np.eye(10, dtype='f4')[{labels!r}]"}


NEEDS = [
    Need(
        "causality probe",
        invalid("peek", "A11", {"logits": TARGET.replace("9.0", "-2.0")}, "not causal"),
        (off(language_model._Trial, "probe"),),
    ),
    Need(
        "causality probe of choices",
        invalid("peek", "A11", {"logits": TARGET.replace("9.0", "-2.0")}, "not causal", arenas=["core"]),
        (off(choices._Trial, "_compare"),),
        arena="core",
        better=False,
    ),
    Need(
        "every chunk is probed",
        invalid("large", "A11", FILLED, "its future was replaced", settings={"row_tokens": 256}),
        (off(language_model._Trial, "_probed", lambda _self: {0, 1}),),
    ),
    Need(
        "contexts spelt again",
        invalid("hints", "A10", HINTS, "in two ways", arenas=["core"]),
        (off(choices._Trial, "spell_again"),),
        arena="core",
        better=False,
    ),
    Need(
        "answers of their full length",
        invalid("short", "A21", {"logits": "send(Kind.LOGITS, struct.pack('<3I', 4, 512, 256))"}, "logits of shape"),
        (off(wire.Wire, "receive", heads_too), off(language_model._Trial, "probe")),
        better=False,
    ),
    Need(
        "the scorer's own log-softmax",
        Attack("shift", "A20", {"logits": "out += np.float32(0.5)"}),
        (off(scoring, "log_probabilities", raw),),
    ),
    Need("spelling check", invalid("half", "A11", SHORT, "spell"), (off(scoring, "spells", lambda *_: -1),)),
    Need(
        "tokens below zero",
        invalid("aliases", "A11", ALIASES, "spell"),
        (
            off(scoring, "spells", spells_with_any_number),
            off(scoring, "gains", no_gain),
        ),
    ),
    Need(
        "floor below which no score is believed",
        invalid("bought", "A12", bought(), "implausibly good"),
        (off(golf_judge, "_score", lambda m, p: Outcome(VALID, "", m.score, {})),),
    ),
    Need(
        "CPU allowance beside the counted units",
        overrun("hidden", "A6", {"train": NUMPY}, Label.TRAIN_BUDGET_OVERRUN, HIDDEN, settings=STRICT),
        (off(wire.Wire, "check", late_only),),
        better=False,
    ),
    Need(
        "budget of reference seconds",
        overrun("hidden", "A6", {"train": NUMPY}, Label.TRAIN_BUDGET_OVERRUN, HIDDEN, settings=STRICT, arenas=["core"]),
        (off(training_budget, "over_budget"), off(core_judge, "over_budget")),
        arena="core",
        better=False,
    ),
    Need(
        "units judged again",
        overrun("twice", "A6", {"train": TWICE}, Label.TRAIN_BUDGET_OVERRUN, "units of"),
        (off(golf_judge, "_units"),),
        better=False,
    ),
    Need(
        "wall clock",
        overrun(
            "late", "A8", {"train": "time.sleep(2)"}, Label.TRAIN_BUDGET_OVERRUN, "wall", limits={"train_seconds": 1.0}
        ),
        (off(wire.Wire, "check", unread),),
        better=False,
    ),
    Need(
        "artifact cap at the pipe and in the verdict",
        overrun(
            "large",
            "A16",
            {
                "trained": "if ctx.budget.units > 10**10: artifact += bytes(60_000)",
                "load": "artifact = artifact[:65536]",
            },
            Label.SIZE_BLOCKED,
            "over",
            limits={"artifact_bytes": 100_000},
        ),
        (off(Conversation, "room", any_room), off(golf_judge, "_size")),
        better=False,
    ),
    Need(
        "finite logits",
        invalid("nan", "A3", {"logits": "out *= np.nan"}, "not finite"),
        (
            off(scoring, "require_finite"),
            off(scoring, "largest_difference", lambda *_: (0.0, 0, 0)),
            off(scoring, "gains", no_gain),
            off(golf_judge, "_score", lambda m, p: Outcome(VALID, "", m.score, {})),
        ),
        better=False,
        accepted=math.isnan,
    ),
    Need(
        "vocabulary of the second process",
        invalid(
            "kept apart",
            "A16",
            {
                "trained": "global TRAINED; TRAINED = 1",
                "vocabulary": "if 'TRAINED' in globals(): words = words[::-1]",
                "encode": "if 'TRAINED' in globals(): tokens = [255 - each for each in tokens]",
            },
            "vocabulary.. differs",
        ),
        (off(Conversation, "predictor", unasked),),
        better=False,
    ),
    Need(
        "gate",
        overrun("below", "A13", {"predicted": "out = -out"}, Label.DISQUALIFIED, "below the gate", arenas=["speed"]),
        (off(Rules, "in_reach", lambda *_: True), off(speed_judge, "_gate")),
        arena="speed",
        better=False,
    ),
    Need(
        "least time that is believed",
        invalid("fast", "A12", {}, "implausibly fast", arenas=["speed"], settings={"floor_seconds": 100.0}),
        (off(speed_judge, "_score", lambda m, r: Outcome(VALID, "", m.score, {})),),
        arena="speed",
        better=False,
    ),
    Need(
        "images in an order that nobody knows",
        overrun(
            "by heart",
            "A13",
            by_heart(),
            Label.DISQUALIFIED,
            "below the gate",
            arenas=["speed"],
            settings={"gate": 0.9},
        ),
        (off(cold_process.np.random, "default_rng", InOrder),),
        arena="speed",
        better=False,
    ),
    Need(
        "finite predictions",
        invalid(
            "nan",
            "A3",
            {"predicted": "out[out.argmax(1) != 3] = np.nan"},
            "not finite",
            arenas=["speed"],
            settings={"gate": 0.01},
        ),
        (off(cold_process.np, "isfinite", lambda a: np.ones(a.shape, bool)),),
        arena="speed",
        better=False,
    ),
    Need(
        "CPU seconds of a process",
        overrun(
            "too long",
            "A6",
            {"train": "burn(1.0)"},
            Label.TRAIN_BUDGET_OVERRUN,
            "CPU time",
            settings={"train_cpu_seconds": 0.3, "eval_cpu_seconds": 0.3},
            arenas=["speed"],
        ),
        (off(wire.Wire, "check", late_only), off(speed_judge, "_processes")),
        arena="speed",
        better=False,
    ),
]


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.guard.replace(" ", "-"))
def test_without_its_guard_an_attack_gets_through(
    need: Need, honest: dict[str, Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    arena = ARENAS[need.arena]
    check(need.attack, honest[need.arena], *need.attack.run(arena))
    for switch in need.off:
        switch(monkeypatch)
    found, outcome = need.attack.run(arena)
    assert (outcome.label, outcome.reason) == (VALID, ""), found.excerpt
    assert outcome.score is not None and need.accepted(outcome.score)
    if need.better:
        assert outcome.score < (honest[need.arena].score or 0.0) - 0.3
