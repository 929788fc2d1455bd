"""The tasks of CORE: which questions come of a bundle, and what they are worth, by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators.environments.nanochat_d12 import bundle
from evaluators.environments.nanochat_d12.bundle import Task
from evaluators.harness import scoring
from evaluators.harness.choices import Row, centred
from evaluators.harness.continuations import Answer, Option, Question, chunks_of, credit_by_byte, credit_by_token
from evaluators.harness.text import DataError
from tests.evaluators import climbmix_files

CHOICE = Task("c", bundle.CHOICE, "c.jsonl", 1, "\nAnswer: ", 0.25)
SCHEMA = Task("s", bundle.SCHEMA, "s.jsonl", 1, " ", 0.5)
LANGUAGE = Task("l", bundle.LANGUAGE, "l.jsonl", 2, " ", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    climbmix_files.write_bundle(tmp_path, climbmix_files.examples())
    return tmp_path


def whole(option: Option) -> str:
    return b"".join((*option.prompt, option.text)).decode()


def test_a_choice_stands_behind_worked_examples_and_takes_the_space_with_it() -> None:
    first = {"query": "Which is red?", "choices": ["the sky", "a rose"], "gold": 1}
    second = {"query": "Which is wet?", "choices": ["fire", "water", "air"], "gold": 1}
    (asked, _) = bundle.questions_of(CHOICE, [second, first])
    assert [whole(option) for option in asked.options] == [
        f"Which is red?\nAnswer: a rose\n\nWhich is wet?\nAnswer: {each}" for each in ("fire", "water", "air")
    ]
    assert [option.text for option in asked.options] == [b" fire", b" water", b" air"]
    assert asked.options[0].prompt == (b"Which is red?\nAnswer: a rose\n\n", b"Which is wet?\nAnswer:")
    assert (asked.task, asked.answer) == ("c", 1)


@pytest.mark.parametrize(
    ("choices", "shared", "rest"),
    [
        (["the cat sat", "the cat ran"], b"?\nAnswer: the cat", [b" sat", b" ran"]),
        (["the cat", "the car"], b"?\nAnswer: the", [b" cat", b" car"]),
        (["the cat", "the cat sat"], b"?\nAnswer: the", [b" cat", b" cat sat"]),
        (["cat", "car"], b"?\nAnswer:", [b" cat", b" car"]),
        (["same", "same"], b"?\nAnswer:", [b" same", b" same"]),
    ],
)
def test_whole_words_that_all_choices_begin_with_belong_to_the_question(
    choices: list[str], shared: bytes, rest: list[bytes]
) -> None:
    (asked, _) = bundle.questions_of(CHOICE, [{"query": "?", "choices": choices, "gold": 0}] * 2)
    assert {option.prompt[-1] for option in asked.options} == {shared}
    assert [option.text for option in asked.options] == rest


def test_in_a_schema_the_contexts_differ_and_the_same_text_is_judged() -> None:
    one = {"context_options": ["Ann met Bea, and Ann", "Ann met Bea, and Bea"], "continuation": "left", "gold": 1}
    (asked, _) = bundle.questions_of(SCHEMA, [one, {**one, "gold": 0, "continuation": "stayed"}])
    assert [option.text for option in asked.options] == [b" left", b" left"]
    assert whole(asked.options[0]) == "Ann met Bea, and Ann stayed\n\nAnn met Bea, and Ann left"


def test_language_modelling_has_one_option_behind_trimmed_contexts() -> None:
    told = [{"context": f" {word} \n", "continuation": word} for word in ("one", "two", "three")]
    (asked, *_) = bundle.questions_of(LANGUAGE, told)
    drawn = random.Random(1234).sample([1, 2], 2)
    before = "".join(f"{told[i]['continuation']} {told[i]['continuation']}\n\n" for i in drawn)
    assert [whole(option) for option in asked.options] == [f"{before}one one"]
    assert (asked.options[0].text, asked.answer) == (b" one", 0)


def test_examples_in_front_are_drawn_as_nanochat_draws_them() -> None:
    told = [{"query": f"q{i}", "choices": ["a", "b"], "gold": 0} for i in range(9)]
    for number, asked in enumerate(bundle.questions_of(CHOICE, told)):
        (drawn,) = random.Random(1234 + number).sample([i for i in range(9) if i != number], 1)
        assert asked.options[0].prompt[0] == f"q{drawn}\nAnswer: a\n\n".encode()


def test_the_sealed_part_has_nothing_of_the_other_one() -> None:
    told: list[dict[str, Any]] = [{"context": str(i // 2), "continuation": "x"} for i in range(100)]
    shuffled = list(told)
    random.Random(1337).shuffle(shuffled)
    parts = [bundle.part_of(told, split, 30) for split in ("validation", "sealed")]
    assert parts[0] == shuffled[:30]
    assert len(parts[1]) > 10
    assert {example["context"] for example in parts[0]} & {example["context"] for example in parts[1]} == set()
    assert len(bundle.part_of(told, "validation", 500)) == 50
    with pytest.raises(LookupError, match="split 'test' is unknown"):
        bundle.part_of(told, "test", 30)


def test_a_bundle_gives_tasks_chances_and_questions(folder: Path) -> None:
    found = bundle.load(folder, 8)
    assert found.chances() == {"colours": 0.25, "who": 0.5, "again": 0.0}
    questions = found.questions("validation", 8)
    assert [(name, sum(one.task == name for one in questions)) for name in found.chances()] == [
        ("colours", 8),
        ("who", 8),
        ("again", 8),
    ]
    assert {len(one.options) for one in questions if one.task == "colours"} == {4}
    assert bundle.sha256_of(questions) != bundle.sha256_of(found.questions("sealed", 8))


def remove(place: Path) -> None:
    place.unlink()


def say(text: str) -> Callable[[Path], None]:
    return lambda place: place.write_text(text) and None


def swap(old: str, new: str) -> Callable[[Path], None]:
    return lambda place: place.write_text(place.read_text().replace(old, new)) and None


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("core.yaml", remove, "core.yaml is missing, expected a list icl_tasks"),
        ("core.yaml", say("icl_tasks: []"), "core.yaml cannot be read (no task)"),
        ("core.yaml", say("a: [1"), "core.yaml cannot be read (while parsing a flow sequence"),
        (
            "core.yaml",
            swap("schema", "riddle"),
            "task 2: icl_task_type 'riddle' of who, expected one",
        ),
        (
            "core.yaml",
            swap("made_up/who", "../who"),
            "task 2: dataset_uri '../who.jsonl' of who, expected a",
        ),
        ("core.yaml", swap("[3]", "[many]"), "task 3: num_fewshot of again is 'many'"),
        ("core.yaml", swap("label: who", "label: again"), "task 3: again is there twice"),
        ("eval_meta_data.csv", remove, "eval_meta_data.csv is missing, expected a table with the columns Eval Task"),
        (
            "eval_meta_data.csv",
            swap("Random", "Lucky"),
            "eval_meta_data.csv cannot be read ('Random baseline' is missing)",
        ),
        ("eval_meta_data.csv", swap("who,", "whom,"), "task 2: who has no line in eval_meta_data.csv"),
        ("eval_meta_data.csv", swap(",50", ",100"), "Random baseline of who is 100, expected 0 to less than 100"),
        ("eval_data/made_up/who.jsonl", remove, "who.jsonl is missing, expected the examples of who"),
        (
            "eval_data/made_up/who.jsonl",
            say('{"gold": 1}\n{'),
            "who.jsonl: line 1 and 1 more: expected a JSON",
        ),
        ("eval_data/made_up/who.jsonl", swap('"gold": 1', '"gold": 2'), "expected a JSON object with context_options"),
        ("eval_data/made_up/again.jsonl", swap('"continuation"', '"answer"'), "again.jsonl: line 1 and 19 more: expec"),
        (
            "eval_data/made_up/again.jsonl",
            say('{"context": "a", "continuation": "b"}\n' * 6),
            "of 6 examples 3 are left for validation, expected at least 4 for 3 worked ones",
        ),
    ],
)
def test_each_fault_of_a_bundle_is_one_line(folder: Path, name: str, change: Callable[[Path], None], told: str) -> None:
    change(folder / name)
    with pytest.raises(DataError) as caught:
        bundle.load(folder, 8)
    (fault,) = caught.value.args
    assert told in fault
    assert str(folder) in fault
    assert "\n" not in fault


def test_faults_of_several_files_are_all_told(folder: Path) -> None:
    for name in ("who", "again"):
        (folder / "eval_data/made_up" / f"{name}.jsonl").write_text("[]\n")
    with pytest.raises(DataError) as caught:
        bundle.load(folder, 8)
    assert [fault.partition(":")[0].rpartition("/")[2] for fault in caught.value.args] == ["who.jsonl", "again.jsonl"]
    with pytest.raises(DataError) as caught:
        bundle.load(folder / "nowhere", 8)
    assert len(caught.value.args) == 2


def said(*nats: float, margins: float = 1.0) -> Answer:
    return Answer(np.array(nats), np.full(len(nats), margins))


TWO = Question("c", (Option((), b" ab"), Option((), b" abcdefg")), 1)
ONE = Question("l", (Option((), b" one"),), 0)


def test_the_best_mean_per_byte_counts_not_per_token() -> None:
    """Per byte -1 against -0.875; per token -1 against -7: a tokenizer with longer tokens would turn it round."""
    long, short = said(-7.0), said(-1.0, -1.0, -1.0)
    assert credit_by_byte(TWO, [short, long]) == 1.0
    assert credit_by_token(TWO, [short, long]) == 0.0
    assert credit_by_byte(TWO, [said(-2.0), long]) == 0.0


def test_choices_within_the_tie_share_and_the_first_of_equals_is_taken_per_token() -> None:
    alike = [said(-3.0), said(-8.001)]
    assert credit_by_byte(TWO, alike) == 0.5
    equal = Question("s", (Option((), b" x"), Option((), b" x")), 0)
    assert (credit_by_byte(equal, [said(-1.0)] * 2), credit_by_token(equal, [said(-1.0)] * 2)) == (0.5, 1.0)


@pytest.mark.parametrize(("margins", "right"), [([1.0, 0.1], 1.0), ([1.0, -0.1], 0.0), ([1.0, 1e-4], 0.0)])
def test_one_option_is_right_when_every_token_is_ahead(margins: list[float], right: float) -> None:
    found = Answer(np.array([-1.0, -1.0]), np.array(margins))
    assert (credit_by_byte(ONE, [found]), credit_by_token(ONE, [found])) == (right, right)


def test_core_is_the_mean_of_centred_accuracies() -> None:
    assert centred({"a": 0.5, "b": 0.4, "c": 0.1}, {"a": 0.25, "b": 0.5, "c": 0.0}) == pytest.approx(
        (1 / 3 - 0.2 + 0.1) / 3
    )


def test_margins_are_the_lead_over_the_best_of_the_others() -> None:
    logits = np.array([[[1.0, 3.0, 2.5], [0.0, 0.0, -1.0]]], dtype=np.float32)
    assert scoring.margins(logits, np.array([[1, 2]], dtype=np.int32)).tolist() == [[0.5, -1.0]]


def test_chunks_hold_each_row_once_within_their_bounds() -> None:
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 90, size=200)
    rows = [Row(np.zeros(size, np.int32), int(draw.integers(0, size))) for size in sizes.tolist()]
    chunks = chunks_of(rows, draw, most_tokens=300, most_wanted=100)
    assert sorted(number for chunk in chunks for number in chunk.rows) == list(range(200))
    for chunk in chunks:
        assert chunk.length % 8 == 0
        assert all(chunk.length - 8 < len(rows[number].tokens) <= chunk.length for number in chunk.rows)
        assert chunk.first == min(rows[number].first for number in chunk.rows)
        wanted = len(chunk.rows) * (chunk.length - chunk.first)
        assert len(chunk.rows) == 1 or (len(chunk.rows) * chunk.length <= 300 and wanted <= 100)


def test_questions_are_hashed_whole() -> None:
    changed = [
        Question("l", (Option((b"a",), b" one"),), 0),
        Question("k", ONE.options, 0),
        Question("l", (Option((), b" two"),), 0),
        Question("c", TWO.options, 0),
    ]
    assert len({bundle.sha256_of([one]) for one in (ONE, TWO, *changed)}) == 6
