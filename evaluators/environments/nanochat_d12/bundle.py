"""The tasks of CORE from nanochat's evaluation bundle: which questions are asked, and with which examples in front.

``eval_bundle/`` holds ``core.yaml`` (the tasks), ``eval_meta_data.csv`` (what a blind guess gets right of each, in per
cent) and ``eval_data/``, one JSON object a line. Order, examples and prompts follow nanochat's evaluation of CORE
(<https://github.com/karpathy/nanochat>; Li et al. 2024, DataComp-LM); where they differ, docs/environments.md says so.
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from evaluators.child.frames import pack_texts
from evaluators.harness.continuations import Option, Question
from evaluators.harness.text import DataError

FOLDER = "eval_bundle"
TASKS, CHANCES, LINES = "core.yaml", "eval_meta_data.csv", "eval_data"
TASK, CHANCE = "Eval Task", "Random baseline"
CHOICE, SCHEMA, LANGUAGE = "multiple_choice", "schema", "language_modeling"
SHUFFLED_BY, EXAMPLES_BY = 1337, 1234
DELIMITER = " "
BETWEEN = b"\n\n"
FIELDS = {
    CHOICE: "query, choices (at least two), gold",
    SCHEMA: "context_options (at least two), continuation, gold",
    LANGUAGE: "context, continuation",
}
EXPECTED = {
    f"{FOLDER}/{TASKS}": "a list icl_tasks of label, icl_task_type, dataset_uri, num_fewshot, continuation_delimiter",
    f"{FOLDER}/{CHANCES}": f"a table with the columns {TASK} and {CHANCE} (per cent), a line for each label",
    f"{FOLDER}/{LINES}/*.jsonl": "one JSON object a line: " + "; ".join(f"{k}: {v}" for k, v in FIELDS.items()),
}


@dataclass(frozen=True)
class Task:
    """One task. shots: examples in front of each question; chance: share that a blind guess gets right, in [0, 1)."""

    label: str
    kind: str
    file: str
    shots: int
    delimiter: str
    chance: float


@dataclass(frozen=True)
class Bundle:
    """All tasks, each with its examples in the order of its file."""

    tasks: tuple[Task, ...]
    examples: Mapping[str, Sequence[Mapping[str, Any]]]

    def chances(self) -> dict[str, float]:
        """Task -> what a blind guess gets right."""
        return {task.label: task.chance for task in self.tasks}

    def questions(self, split: str, most: int) -> tuple[Question, ...]:
        """At most ``most`` questions of each task. Raises LookupError for an unknown split."""
        return tuple(
            question
            for task in self.tasks
            for question in questions_of(task, part_of(self.examples[task.label], split, most))
        )


def load(folder: Path, most: int) -> Bundle:
    """The bundle. Raises DataError with one argument for each fault; ``most``: questions of a task and split."""
    tasks = _tasks(folder)
    faults: list[str] = []
    examples: dict[str, Sequence[Mapping[str, Any]]] = {}
    for task in tasks:
        try:
            examples[task.label] = _examples(folder / LINES / task.file, task, most)
        except DataError as error:
            faults += error.args
    if faults:
        raise DataError(*dict.fromkeys(faults))
    return Bundle(tasks, examples)


def part_of(examples: Sequence[Mapping[str, Any]], split: str, most: int) -> list[Mapping[str, Any]]:
    """The examples of a split, shuffled as nanochat does: the first ``most`` (at most half of them), or the next ones.

    Nothing of the second part stands in the first one, word for word. Raises LookupError for an unknown split.
    """
    if split not in ("validation", "sealed"):
        raise LookupError(f"split {split!r} is unknown, expected one of validation, sealed")
    order = list(examples)
    random.Random(SHUFFLED_BY).shuffle(order)  # noqa: S311 - nanochat's order, no secret
    count = min(most, (len(order) + 1) // 2)
    if split == "validation":
        return order[:count]
    known = {json.dumps(example, sort_keys=True) for example in order[:count]}
    return [example for example in order[count:] if json.dumps(example, sort_keys=True) not in known][:most]


def questions_of(task: Task, examples: Sequence[Mapping[str, Any]]) -> list[Question]:
    """A question for each example, behind ``task.shots`` others of them, drawn for each as nanochat does."""
    found = []
    for number, example in enumerate(examples):
        others = [i for i in range(len(examples)) if i != number]
        drawn = random.Random(EXAMPLES_BY + number).sample(others, task.shots)  # noqa: S311 - see part_of
        shown = tuple(worked(task, examples[i]) for i in drawn)
        found.append(_ASKED[task.kind](task, example, shown))
    return found


def worked(task: Task, example: Mapping[str, Any]) -> bytes:
    """An example with its answer, and the empty line behind it."""
    if task.kind == CHOICE:
        before, answer = example["query"], example["choices"][example["gold"]]
    elif task.kind == SCHEMA:
        before, answer = example["context_options"][example["gold"]], example["continuation"]
    else:
        before, answer = example["context"].strip(), example["continuation"]
    return f"{before}{task.delimiter}{answer}".encode() + BETWEEN


def sha256_of(questions: Iterable[Question]) -> str:
    """Hash of all questions: task, prompts, options and answer of each."""
    whole = sha256()
    for question in questions:
        options = [pack_texts([*option.prompt, option.text]) for option in question.options]
        whole.update(pack_texts([question.task.encode(), str(question.answer).encode(), *options]))
    return whole.hexdigest()


def _cut(task: Task) -> tuple[str, str]:
    """The delimiter before its last white space, and that: it goes with the answer, as tokens of words begin so."""
    head = task.delimiter.rstrip()
    return head, task.delimiter[len(head) :]


def _choice(task: Task, example: Mapping[str, Any], shown: tuple[bytes, ...]) -> Question:
    """What all choices begin with belongs to the question, whole words of it."""
    head, space = _cut(task)
    texts = [f"{space}{choice}" for choice in example["choices"]]
    at = _shared(texts)
    asked = f"{example['query']}{head}{texts[0][:at]}".encode()
    options = tuple(Option((*shown, asked), text[at:].encode()) for text in texts)
    return Question(task.label, options, example["gold"])


def _shared(texts: Sequence[str]) -> int:
    """Characters that all texts begin with, up to white space behind which each of them goes on; 0 for none."""
    ends = zip(min(texts), max(texts), strict=False)  # what these two share, all between them share
    common = "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], ends))
    seams = (at for at in range(len(common) - 1, 0, -1) if common[at].isspace() and not common[at - 1].isspace())
    return next((at for at in seams if all(text[at:].strip() for text in texts)), 0)


def _schema(task: Task, example: Mapping[str, Any], shown: tuple[bytes, ...]) -> Question:
    head, space = _cut(task)
    text = f"{space}{example['continuation']}".encode()
    options = tuple(Option((*shown, f"{context}{head}".encode()), text) for context in example["context_options"])
    return Question(task.label, options, example["gold"])


def _language(task: Task, example: Mapping[str, Any], shown: tuple[bytes, ...]) -> Question:
    head, space = _cut(task)
    asked = f"{example['context'].strip()}{head}".encode()
    return Question(task.label, (Option((*shown, asked), f"{space}{example['continuation']}".encode()),), 0)


_ASKED: Mapping[str, Callable[[Task, Mapping[str, Any], tuple[bytes, ...]], Question]] = {
    CHOICE: _choice,
    SCHEMA: _schema,
    LANGUAGE: _language,
}


def _tasks(folder: Path) -> tuple[Task, ...]:
    """Raises DataError with one argument for each fault of the two tables."""
    faults: list[str] = []
    chances: dict[str, float] = {}
    said: list[Any] = []
    path = folder / TASKS
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        said = list(told["icl_tasks"])
        if not said:
            raise ValueError("no task")
    except FileNotFoundError:
        faults.append(f"{path} is missing, expected {EXPECTED[f'{FOLDER}/{TASKS}']}")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        faults.append(f"{path} cannot be read ({_line(error)}), expected {EXPECTED[f'{FOLDER}/{TASKS}']}")
    path = folder / CHANCES
    try:
        with path.open(encoding="utf-8", newline="") as file:
            chances = {row[TASK]: float(row[CHANCE]) / 100 for row in csv.DictReader(file)}
    except FileNotFoundError:
        faults.append(f"{path} is missing, expected {EXPECTED[f'{FOLDER}/{CHANCES}']}")
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        faults.append(f"{path} cannot be read ({_line(error)}), expected {EXPECTED[f'{FOLDER}/{CHANCES}']}")
    if faults:
        raise DataError(*faults)
    tasks: dict[str, Task] = {}
    for number, entry in enumerate(said, start=1):
        try:
            task = _task(entry, chances)
            if task.label in tasks:
                raise ValueError(f"{task.label} is there twice")
            tasks[task.label] = task
        except (ValueError, KeyError, TypeError, IndexError) as error:
            faults.append(f"{folder / TASKS}: task {number}: {_line(error)}")
    if faults:
        raise DataError(*faults)
    return tuple(tasks.values())


def _task(entry: Mapping[str, Any], chances: Mapping[str, float]) -> Task:
    """Raises ValueError, KeyError, TypeError, IndexError."""
    label, kind, shots = str(entry["label"]), str(entry["icl_task_type"]), entry["num_fewshot"]
    if kind not in FIELDS:
        raise ValueError(f"icl_task_type {kind!r} of {label}, expected one of {', '.join(FIELDS)}")
    if label not in chances:
        raise ValueError(f"{label} has no line in {CHANCES}")
    if not 0 <= chances[label] < 1:
        raise ValueError(f"{CHANCE} of {label} is {100 * chances[label]:g}, expected 0 to less than 100")
    file = Path(str(entry["dataset_uri"]))
    if file.is_absolute() or ".." in file.parts:
        raise ValueError(f"dataset_uri {str(file)!r} of {label}, expected a path below {LINES}")
    first = shots[0] if isinstance(shots, list) else shots
    if type(first) is not int or first < 0:
        raise ValueError(f"num_fewshot of {label} is {first!r}, expected a number of examples")
    return Task(label, kind, str(file), first, str(entry.get("continuation_delimiter", DELIMITER)), chances[label])


def _examples(path: Path, task: Task, most: int) -> Sequence[Mapping[str, Any]]:
    """Raises DataError: what is wrong with the file, in one line."""
    try:
        found = _lines(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise DataError(f"{path} is missing, expected the examples of {task.label}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}), expected the examples of {task.label}") from None
    wrong = [number for number, example in enumerate(found, start=1) if not _fits(task.kind, example)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DataError(f"{path}: line {wrong[0]}{more}: expected a JSON object with {FIELDS[task.kind]}")
    for split in ("validation", "sealed"):
        count = len(part_of(found, split, most))
        if count < task.shots + 1:
            reason = f"{count} are left for {split}, expected at least {task.shots + 1} for {task.shots} worked ones"
            raise DataError(f"{path}: of {len(found)} examples {reason}")
    return found


@functools.lru_cache(maxsize=64)
def _lines(path: Path, _changed: int) -> tuple[Any, ...]:
    """The JSON of each line; None for one that is none. Raises OSError."""
    return tuple(map(_parsed, path.read_bytes().splitlines()))


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _fits(kind: str, example: Any) -> bool:
    """Whether an example has the fields of its kind."""
    if not isinstance(example, dict):
        return False
    if kind == LANGUAGE:
        return _is_text(example.get("context")) and _is_text(example.get("continuation"), empty=False)
    several, gold = example.get("choices" if kind == CHOICE else "context_options"), example.get("gold")
    if not isinstance(several, list) or type(gold) is not int or not 0 <= gold < len(several) or len(several) < 2:
        return False
    rest = example.get("query") if kind == CHOICE else example.get("continuation")
    return _is_text(rest, empty=kind == CHOICE) and all(_is_text(one, empty=kind == SCHEMA) for one in several)


def _is_text(value: object, *, empty: bool = True) -> bool:
    return isinstance(value, str) and (empty or bool(value.strip()))


def _line(error: BaseException) -> str:
    said = f"{error} is missing" if isinstance(error, KeyError) else f"{error}"
    return " ".join(said.split())[:200]
