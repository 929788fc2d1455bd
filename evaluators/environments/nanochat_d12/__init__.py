"""NanoChat-D12: the best centred accuracy over several tasks from a fixed depth and a budget of training time."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping

from evaluators.contract import EnvironmentSpec, HarnessFault, Measurement, Outcome, Profile, Progress
from evaluators.environments.nanochat_d12 import bundle, climbmix, tasks
from evaluators.environments.nanochat_d12.judge import judge
from evaluators.environments.nanochat_d12.spec import SPEC
from evaluators.harness import choices, continuations, text
from evaluators.harness.identity import code_sha256
from evaluators.harness.order import Order
from evaluators.harness.shelf import Shelf
from evaluators.sandbox import Isolation, SandboxUnavailable, reach


class NanochatD12:
    """The environment as the registry knows it; see evaluators.contract.Environment."""

    spec: EnvironmentSpec = SPEC

    def measure(
        self,
        source: Mapping[str, bytes],
        *,
        profile: Profile,
        seed: int,
        split: str,
        level: str,
        report: Callable[[Progress], None],
    ) -> Measurement:
        """CORE on ``validation`` or ``sealed``. Raises HarnessFault (missing data or walls), Cancelled."""
        try:
            isolation = _walls(profile, level)
            if is_climbmix(profile):
                full = climbmix.load(profile, split)
            else:
                corpus = _corpus()
        except (text.DataError, SandboxUnavailable) as error:
            raise HarnessFault(str(error)) from error

        def order(train: tuple[bytes, ...] | Shelf, data_sha256: Mapping[str, str]) -> Order:
            return Order(
                profile=profile,
                source=source,
                seed=seed,
                split=split,
                isolation=isolation,
                report=report,
                train=train,
                data_sha256=data_sha256,
                evaluator_sha256=code_sha256(SPEC.name),
            )

        if is_climbmix(profile):
            questions = full.bundle.questions(split, int(str(profile.settings["items"])))
            known = {"train": full.train.sha256(), split: full.sha256(), f"{split} items": bundle.sha256_of(questions)}
            return continuations.measure(order(full.train, known), questions, full.bundle.chances(), full.texts)
        items = items_of(split, profile)
        known = {**corpus.sha256, f"{split} items": tasks.sha256_of(items)}
        train = tuple(body for _name, body in sorted(corpus.train.items()))
        return choices.measure(order(train, known), items, _excerpt(corpus, split, profile))

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        """Pure; see judge.py."""
        return judge(measurement, profile)

    def prepare(self, profile: Profile) -> dict[str, object]:
        """Make or check the text and the items. Never raises for missing data: it is what the answer is about."""
        found: dict[str, object] = {"environment": SPEC.name, "profile": profile.name}
        return found | (climbmix.prepare(profile) if is_climbmix(profile) else _packaged_items(profile))


def is_climbmix(profile: Profile) -> bool:
    """Whether the profile reads an operator's folder, and not the packaged text."""
    return profile.settings.get("text") == "climbmix"


def _walls(profile: Profile, level: str) -> Isolation:
    """Forked from a warm server on a processor; a driver does not survive a fork. Raises SandboxUnavailable."""
    start = "cold" if profile.limits.wallclock else "warm"
    return reach(level, start=start, loopback=bool(profile.settings.get("loopback")))


def _packaged_items(profile: Profile) -> dict[str, object]:
    """What there is of the small profiles' text and items."""
    found: dict[str, object] = {
        "looked_for": f"{text.PLAYS}, {text.BIBLE} (installed packages)",
        "kept_in": str(text.data_directory() / SPEC.name),
        "expected": "the texts whose hashes are recorded, and items of all tasks in validation and sealed",
    }
    try:
        corpus = _corpus()
    except text.DataError as error:
        return found | {"ready": False, "there": {}, "missing": [str(error)]}
    there = {
        split: text.describe(list(corpus.documents(split).values())) | {"sha256": corpus.sha256[split]}
        for split in text.SPLITS
    }
    asked = {split: items_of(split, profile) for split in ("validation", "sealed")}
    counted = {
        split: {**Counter(item.task for item in items), "sha256": tasks.sha256_of(items)}
        for split, items in asked.items()
    }
    return found | {"ready": True, "there": there, "items": counted, "missing": []}


def items_of(split: str, profile: Profile) -> tuple[choices.Item, ...]:
    """The items of a held-out split at the profile's size. Raises DataError."""
    return _items(split, int(str(profile.settings["excerpt_bytes"])), int(str(profile.settings["items"])))


def _corpus() -> text.Corpus:
    return _packaged(str(text.data_directory()))


@functools.lru_cache(maxsize=2)
def _packaged(directory: str) -> text.Corpus:
    return text.packaged(text.data_directory() / SPEC.name)


@functools.lru_cache(maxsize=8)
def _items(split: str, excerpt_bytes: int, most: int) -> tuple[choices.Item, ...]:
    corpus = _corpus()
    train = [body for _name, body in sorted(corpus.train.items())]
    return tasks.build(train, corpus.documents(split), excerpt_bytes, most)


def _excerpt(corpus: text.Corpus, split: str, profile: Profile) -> list[bytes]:
    """The middle of each held-out document, which no item is made of."""
    size = int(str(profile.settings["excerpt_bytes"]))
    return [tasks.middle(body, size) for _name, body in sorted(corpus.documents(split).items())]
