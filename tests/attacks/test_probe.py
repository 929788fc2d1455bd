"""How surely the causality probe sees a predictor that looks at few tokens only: cuts fall where most was gained."""

from __future__ import annotations

import numpy as np

from evaluators.environments.parameter_golf import data
from evaluators.harness import scoring
from tests.attacks.tiny import GOLF
from trials.vocab import VALID

ROWS, LENGTH = 4, 512
REPEATS = 20


def predicted(text: bytes) -> tuple[scoring.Tokens, scoring.Floats]:
    """Tokens (bytes) of held-out text, and log-probabilities of an honest table of pairs."""
    train = np.frombuffer(b"".join(body for _, body in sorted(data.load().train.items())), np.uint8).astype(np.int64)
    pairs = np.bincount(256 * train[:-1] + train[1:], minlength=65536).reshape(256, 256) + 0.05
    tokens = np.frombuffer(text, np.uint8).astype(np.int32)
    before = np.concatenate(([32], tokens[:-1]))
    picked: scoring.Floats = np.log(pairs / pairs.sum(1, keepdims=True))[before, tokens]
    return tokens, picked


def seen(share: float, *, drawn_by_gain: bool) -> tuple[float, float]:
    """(share of the bits that a look at this share of the tokens saves, how often the probe sees it)."""
    tokens, picked = predicted(data.load().excerpts("validation")[0])
    looked = picked < np.quantile(picked, share)
    after = np.where(looked, -0.3, picked)
    caught = 0
    for repeat in range(REPEATS):
        draw = np.random.default_rng(repeat)
        hits = 0
        for at in range(0, len(tokens) // (ROWS * LENGTH) * ROWS * LENGTH, ROWS * LENGTH):
            place = (slice(at, at + ROWS * LENGTH),)
            shape = (ROWS, LENGTH)
            chunk = scoring.Chunk(tokens[place].reshape(shape), np.ones(shape, dtype=np.bool_))
            gain = scoring.gains(after[place].reshape(shape), chunk.tokens, tokens)
            cuts = scoring.scramble(chunk, tokens, draw, gain if drawn_by_gain else None).cuts
            hits += int(looked[place].reshape(shape)[np.arange(ROWS), cuts].sum())
        caught += hits > 0
    return 1 - float(after.sum() / picked.sum()), caught / REPEATS


def test_a_look_at_one_token_in_fifty_is_seen_nearly_always() -> None:
    saved, often = seen(0.02, drawn_by_gain=True)
    assert saved > 0.04
    assert often >= 0.9
    assert often >= seen(0.02, drawn_by_gain=False)[1]


def test_a_predictor_may_learn_until_a_share_of_its_budget_is_spent() -> None:
    """What is asked aside is no part of the budget, so both processes stop learning at the same chunk."""
    found, outcome = GOLF.measured(
        {
            "loaded": "predictor.budget, predictor.learnt = ctx.budget, 0",
            "predictor": "def adapt(self, tokens):\n"
            "    torch.ones(900, 900) @ torch.ones(900, 900)\n"
            "    self.learnt += self.budget.spent() < self.budget.units / 40",
            "logits": "torch.ones(900, 900) @ torch.ones(900, 900)\nout[..., 101] += np.float32(self.learnt / 50)",
        }
    )
    assert (outcome.label, found.numbers["largest_move"]) == (VALID, 0.0), outcome.reason
    budget = GOLF.profile.limits.eval_units or 0
    assert (found.eval_units or 0) > budget / 40  # it did stop


def test_a_gain_is_what_was_predicted_better_than_by_frequency() -> None:
    pool = np.array([0, 0, 0, 1], dtype=np.int32)
    tokens = np.array([[0, 1, 1]], dtype=np.int32)
    picked = np.log(np.array([[0.5, 0.5, 0.1]]))
    assert np.allclose(scoring.gains(picked, tokens, pool), [[0.0, np.log(2.0), 0.0]])
