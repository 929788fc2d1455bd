"""Attacks on the full-size tasks of NanoChat-D12, on CPU tensors: no answer is read where no answer may be read.

The evaluator's draws are fixed here: a few dozen rows are too few for a look at single tokens to be seen each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from evaluators.contract import Measurement
from evaluators.environments import nanochat_d12
from evaluators.environments.nanochat_d12 import climbmix
from evaluators.harness import continuations, training_budget
from evaluators.harness.continuations import Chunk, Request
from tests.attacks import tiny
from tests.attacks.attack import Attack, check
from tests.attacks.questions import ATTACKS
from tests.attacks.tiny import LANGUAGE_MODEL, Arena
from tests.evaluators import climbmix_files
from tests.evaluators.core import CORE
from trials.vocab import VALID

ARENA = Arena(CORE, LANGUAGE_MODEL, climbmix_files.small("gpu", artifact_bytes=None))
DRAWN = 3
BY_NAME = {attack.name: attack for attack in ATTACKS}


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Made-up shards and tasks; processes that start warm, since no device is involved."""
    place = tmp_path_factory.mktemp("nanochat")
    climbmix_files.write(place)
    chosen = pytest.MonkeyPatch()
    chosen.setenv(climbmix.FOLDER, str(place))
    chosen.setenv("DATA_DIR", str(tmp_path_factory.mktemp("data")))
    chosen.setattr(nanochat_d12, "reach", tiny.warm)
    chosen.setattr(training_budget, "secrets", SimpleNamespace(randbits=lambda _: DRAWN))
    assert CORE.prepare(ARENA.profile)["ready"] is True
    yield
    chosen.undo()


@pytest.fixture(scope="module")
def honest_answers(_folder: None) -> Measurement:
    """The tiny recipe, unchanged."""
    found, outcome = ARENA.measured({})
    assert outcome.label == VALID, (outcome.reason, found.excerpt)
    return found


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
def test_attack_on_the_questions(attack: Attack, honest_answers: Measurement) -> None:
    check(attack, honest_answers, *attack.run(ARENA))


def gets_through(name: str, honest: Measurement) -> None:
    """With a guard off the attack is believed, and better than the honest recipe."""
    found, outcome = BY_NAME[name].run(ARENA)
    assert (outcome.label, outcome.reason) == (VALID, ""), found.excerpt
    assert (outcome.score or 0.0) > (honest.score or 0.0) + 0.1


def test_without_the_comparison_a_look_at_the_target_gets_through(
    honest_answers: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuations._Trial, "_compare", lambda *_: None)
    gets_through("a target that is ahead at its own price", honest_answers)


def test_without_the_margins_a_target_that_is_ahead_gets_through(
    honest_answers: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = continuations.moved
    monkeypatch.setattr(continuations, "moved", lambda before, after: moved(before, after)[:1])
    gets_through("a target that is ahead at its own price", honest_answers)


class Keeps:
    """A generator that never lets a row be replaced as a whole."""

    def __init__(self, draw: np.random.Generator) -> None:
        self.integers = draw.integers

    def random(self, count: int | None = None) -> object:
        return 1.0 if count is None else np.zeros(count)


def test_without_other_company_answers_are_read_in_other_rows(
    honest_answers: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    among = continuations._Trial._among_others

    def in_the_same_company(trial: continuations._Trial, chunk: Chunk, donors: Mapping[str, Sequence[int]]) -> Request:
        usual, trial.draw = trial.draw, Keeps(trial.draw)  # type: ignore[assignment]
        try:
            return among(trial, chunk, donors)
        finally:
            trial.draw = usual

    monkeypatch.setattr(continuations._Trial, "_among_others", in_the_same_company)
    gets_through("answers in other prompts", honest_answers)
