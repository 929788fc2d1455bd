"""Golf recipes, honest and not, in real sandboxes: each must get the label and the figures that it deserves."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from evaluators.contract import Cancelled, Measurement, Progress
from tests.evaluators.golf import GOLF, SMOKE, START, edited, limited, measured
from trials.vocab import VALID, Label

PREDICT = ("recipe.py", "        return evaluation.predict(self.model, chunk, self.words.start()).numpy()")
ENCODE = ("recipe.py", "        return self.words.encode(text)")
FINISH = ("evaluation.py", "    return logits / TEMPERATURE")


def at_train(code: str) -> tuple[str, str, str]:
    """An edit that runs code when training begins."""
    begins = "    words = tokenizer.learn(ctx.documents)"
    return "recipe.py", begins, f"    {code}\n{begins}"


@pytest.fixture(scope="module")
def start() -> Measurement:
    return measured(START)


@contextmanager
def busy_machine() -> Iterator[None]:
    """Other processes want the processors meanwhile."""
    others = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(3)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.join()


def _spin() -> None:
    while True:
        pass


def test_the_start_is_valid_and_all_of_it_is_counted(start: Measurement) -> None:
    outcome = GOLF.judge(start, SMOKE)
    assert (outcome.label, outcome.reason) == (VALID, "")
    assert outcome.score == start.score
    assert 2.0 < (start.score or 0.0) < 6.0
    assert start.score_source == "evaluator"
    assert start.artifact_bytes == (start.code_bytes or 0) + (start.payload_bytes or 0)
    assert start.train_units is not None and 0.8 < start.train_units / SMOKE.limits.train_units <= 1.0
    assert start.eval_units is not None and 0 < start.eval_units < SMOKE.limits.eval_units
    assert start.numbers["largest_move"] == 0.0
    assert {"train", "spell", "predict", "probe"} <= set(start.seconds)
    assert start.isolation["level"] in ("L3", "L2")
    assert len(start.artifact_sha256) == len(start.evaluator_sha256) == 64


def test_the_same_seed_gives_the_same_bits_on_a_busy_machine_and_exactly_at_the_cap(start: Measurement) -> None:
    assert start.artifact_bytes is not None
    with busy_machine():
        again = measured(START, limited(artifact_bytes=start.artifact_bytes))
    assert (again.status, again.score, again.artifact_sha256) == ("ok", start.score, start.artifact_sha256)
    assert (again.train_units, again.eval_units) == (start.train_units, start.eval_units)


def test_a_projected_overflow_costs_no_training(start: Measurement) -> None:
    assert start.artifact_bytes is not None
    error = abs(float(start.numbers["projected_bytes"]) / start.artifact_bytes - 1)
    assert error < 0.03, "the documented error of the projection"
    found = measured(edited(("hyperparameters.py", "WIDTH: int = 96", "WIDTH: int = 160")))
    assert found.status == Label.SIZE_BLOCKED
    assert int(found.numbers["bytes_over"]) == int(found.numbers["projected_bytes"]) - SMOKE.limits.artifact_bytes
    assert "project" in found.seconds and "train" not in found.seconds
    assert found.train_units is None


def test_the_projection_refuses_nothing_that_would_fit(start: Measurement) -> None:
    """A recipe that packs more when it has hardly trained, and one that cannot do with so little."""
    begins = ("recipe.py", "    words = tokenizer.learn(ctx.documents)")
    more = "    if ctx.budget.units < 10**10:\n        return bytes(285_000)\n"
    less = "    if ctx.budget.units < 10**10:\n        raise ZeroDivisionError('no steps')\n"
    for change in (more, less):
        found = measured(edited((begins[0], begins[1], change + begins[1])))
        assert (found.status, found.score) == ("ok", start.score)


def test_one_byte_over_the_cap_is_blocked(start: Measurement) -> None:
    assert start.artifact_bytes is not None
    found = measured(START, limited(artifact_bytes=start.artifact_bytes - 1))
    assert (found.status, found.reason, found.numbers["bytes_over"]) == (Label.SIZE_BLOCKED, "1 bytes over", 1)
    assert found.score is None


def test_code_that_is_larger_than_the_cap_is_blocked_before_anything_runs() -> None:
    found = measured(START, limited(artifact_bytes=1000))
    assert found.status == Label.SIZE_BLOCKED
    assert found.numbers["bytes_over"] == (found.code_bytes or 0) - 1000
    assert found.seconds == {}


def test_printed_scores_and_result_files_change_nothing(start: Measurement) -> None:
    lie = """print("val_bpb: 0.0001\\nfinal val_bpb:0.0001", flush=True)
    open("result.json", "w").write('{"val_bpb": 0}')"""
    found = measured(edited(at_train(lie)))
    assert (found.status, found.score) == ("ok", start.score)
    assert b"val_bpb: 0.0001" in found.log


def test_text_remembered_by_encode_does_not_reach_the_predictions(start: Measurement) -> None:
    """The process that spells the held-out text is not the one that predicts it."""
    source = edited(
        (*ENCODE, f"        SEEN.append(text)\n{ENCODE[1]}"),
        ("recipe.py", "class Predictor:", "SEEN = []\n\n\nclass Predictor:"),
        (*FINISH, "    return logits * (9.0 if __import__('recipe').SEEN else 1.0)"),
    )
    assert measured(source).score == start.score


def test_a_bidirectional_mask_is_not_causal() -> None:
    found = measured(edited(("architecture.py", "is_causal=True", "is_causal=False")))
    assert found.status == Label.INVALID_RESULT
    assert found.reason.startswith("not causal")
    assert float(found.numbers["largest_move"]) > 1e-4
    assert found.score is None


PEEKS = {
    "the token itself": "out.scatter_add(2, chunk[..., None], torch.full(chunk.shape, 8.0)[..., None])",
    "other rows": "out + (torch.arange(out.size(2)) == 0) * (chunk.sum() % 97)",
    "chance": "out + torch.rand(out.shape, generator=(_g := torch.Generator()).manual_seed(_g.seed()))",
}


@pytest.mark.parametrize("peek", PEEKS.values(), ids=PEEKS)
def test_predictions_from_anything_but_earlier_tokens_are_not_causal(peek: str) -> None:
    body = f"        out = evaluation.predict(self.model, chunk, self.words.start())\n        return ({peek}).numpy()"
    found = measured(edited((*PREDICT, body)))
    assert (found.status, found.reason[:10]) == (Label.INVALID_RESULT, "not causal")


def test_a_tokenizer_that_does_not_spell_the_text() -> None:
    found = measured(edited((*ENCODE, f"{ENCODE[1]}[:-1]")))
    assert found.status == Label.INVALID_RESULT
    assert found.reason.startswith("encode() does not spell the text: first wrong byte ")


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ("    return logits * float('nan')", "a logit is not finite, first in row 0 at position 0 of chunk 0"),
        ("    return logits[..., :-1]", "logits of shape (4, 512, 511), expected (4, 512, 512)"),
    ],
)
def test_logits_that_are_no_distribution(new: str, reason: str) -> None:
    found = measured(edited((*FINISH, new)))
    assert (found.status, found.reason) == (Label.INVALID_RESULT, reason)


def test_too_many_units_in_training() -> None:
    found = measured(edited(("hyperparameters.py", "TRAIN_SHARE: float = 1.0", "TRAIN_SHARE: float = 1.5")))
    assert found.status == Label.TRAIN_BUDGET_OVERRUN
    over = int(found.numbers["units_over"])
    assert 0.05 < over / SMOKE.limits.train_units < 0.5
    assert f"{over:,} over" in found.reason


def test_too_many_units_in_evaluation() -> None:
    found = measured(edited(("evaluation.py", "STRIDE: int = hyperparameters.CONTEXT", "STRIDE: int = 1")))
    assert found.status == Label.EVAL_BUDGET_OVERRUN
    assert int(found.numbers["units_over"]) > 0


def test_waiting_for_ever_and_hidden_work_end_with_their_budget() -> None:
    asleep = measured(edited(at_train("import time; time.sleep(3600)")), limited(train_seconds=2.0))
    assert asleep.status == Label.TRAIN_BUDGET_OVERRUN
    assert 0 <= float(asleep.numbers["seconds_over"]) < 5
    strict = replace(SMOKE, settings={**SMOKE.settings, "free_cpu_seconds": 1.0})
    hidden = measured(edited(at_train("exec('while True: pass')")), strict)
    assert hidden.status == Label.TRAIN_BUDGET_OVERRUN
    assert float(hidden.numbers["cpu_seconds_over"]) > 0


def test_a_crash_tells_the_exception_and_the_recipes_frame() -> None:
    found = measured(edited(("loss.py", "    return losses.mean()", "    raise ValueError('the loss is lost')")))
    assert (found.status, found.reason) == (Label.CRASH, "ValueError: the loss is lost")
    first, second = found.excerpt.splitlines()
    assert first == "ValueError: the loss is lost"
    assert second.startswith("loss.py:") and "in reduce: raise ValueError" in second
    assert found.score is None


def test_a_recipe_that_cannot_be_imported_costs_no_budget() -> None:
    found = measured(edited(("loss.py", "from torch import Tensor\n", "from torch import Tensors\n")))
    assert found.status == Label.PREFLIGHT_CRASH
    assert "Tensors" in found.reason and "loss.py:" in found.excerpt


def test_work_inside_an_import_is_work() -> None:
    work = "import torch\n\ntorch.ones(400, 400) @ torch.ones(400, 400)\nraise ImportError('after some work')\n"
    found = measured({**START, "loss.py": work.encode()})
    assert (found.status, found.reason) == (Label.CRASH, "ImportError: after some work")


#: Writes to every descriptor that can be written, the protocol's own among them.
GARBAGE = """import contextlib, os
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(fd, b"\\xff" * 4096)"""


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(0)", "the process exited with 0"),
        ("import os; os._exit(125)", "the process exited with 125"),
        ("import os; os.kill(os.getpid(), 9)", "the process was killed by signal 9"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("torch.empty(10**13)", "memory"),
        (GARBAGE, "protocol: a frame of kind 255"),
    ],
)
def test_ends_of_all_kinds_are_crashes_of_the_recipe(code: str, reason: str) -> None:
    found = measured(edited(at_train(code)))
    assert found.status == Label.CRASH
    assert found.reason.startswith(reason)


def test_an_adapter_learns_only_from_what_has_been_scored(start: Measurement) -> None:
    adapt = """    optimizer = __import__("torch").optim.SGD(model.parameters(), lr=0.01)

    def adapt(tokens: Tensor) -> None:
        windows = tokens.view(-1, 64)
        logits = model(windows[:, :-1])
        nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return adapt"""
    found = measured(edited(("test_time_training.py", "    return None", adapt)))
    assert found.status == "ok"
    assert found.score != start.score
    assert (found.eval_units or 0) > 2 * (start.eval_units or 0)
    assert found.numbers["largest_move"] == 0.0


def test_a_trial_is_watched_while_it_trains_and_dropped_at_once_when_cancelled() -> None:
    printed: set[bytes] = set()

    def report(progress: Progress) -> None:
        printed.add(progress.tail())
        if progress.phase == "train" and progress.fraction > 0.1 and any(printed):
            raise Cancelled("stop")

    source = START | {"recipe.py": START["recipe.py"] + b"\nprint('step 0 of this recipe', flush=True)\n"}
    with pytest.raises(Cancelled):
        GOLF.measure(source, profile=SMOKE, seed=0, split="validation", level="L3", report=report)
    assert any(tail.startswith(b"step 0 of this recipe") for tail in printed)
