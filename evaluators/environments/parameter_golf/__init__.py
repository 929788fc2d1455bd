"""Parameter Golf: the fewest bits per byte of held-out text under a cap on code plus weights, and two budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evaluators.contract import EnvironmentSpec, HarnessFault, Measurement, Outcome, Profile, Progress
from evaluators.environments.parameter_golf import data, fineweb
from evaluators.environments.parameter_golf.judge import judge
from evaluators.environments.parameter_golf.spec import SPEC
from evaluators.harness import language_model
from evaluators.harness.identity import code_sha256
from evaluators.harness.order import Order, untold
from evaluators.harness.shelf import Shelf
from evaluators.sandbox import Isolation, SandboxUnavailable, reach


class ParameterGolf:
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
        """val_bpb on ``validation`` or ``sealed``. Raises HarnessFault (missing data or walls), Cancelled."""
        order, held_out = _order(source, profile, seed, split, level, report)
        return language_model.measure(order, held_out)

    def project_size(self, source: Mapping[str, bytes], *, profile: Profile, seed: int, level: str) -> Measurement:
        """See evaluators.sizing.Projecting."""
        order, _ = _order(source, profile, seed, "validation", level, untold)
        return language_model.project_size(order)

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        """Pure; see judge.py."""
        return judge(measurement, profile)

    def prepare(self, profile: Profile) -> dict[str, object]:
        """Make or check the text. Never raises for missing data: it is what the answer is about."""
        found: dict[str, object] = {"environment": SPEC.name, "profile": profile.name}
        return found | (fineweb.prepare() if _is_fineweb(profile) else _packaged())


def _order(
    source: Mapping[str, bytes],
    profile: Profile,
    seed: int,
    split: str,
    level: str,
    report: Callable[[Progress], None],
) -> tuple[Order, tuple[bytes, ...]]:
    """What a measurement is given, and the held-out texts. Raises HarnessFault."""
    try:
        text, isolation = _text(profile, split), _walls(profile, level)
    except (data.DataError, SandboxUnavailable) as error:
        raise HarnessFault(str(error)) from error
    order = Order(
        profile=profile,
        source=source,
        seed=seed,
        split=split,
        isolation=isolation,
        report=report,
        train=text.train,
        data_sha256=text.sha256,
        evaluator_sha256=code_sha256(SPEC.name),
    )
    return order, text.held_out


@dataclass(frozen=True)
class _Text:
    """What a measurement reads. sha256: split -> hash."""

    train: tuple[bytes, ...] | Shelf
    held_out: tuple[bytes, ...]
    sha256: Mapping[str, str]


def _is_fineweb(profile: Profile) -> bool:
    return profile.settings.get("text") == "fineweb"


def _text(profile: Profile, split: str) -> _Text:
    """Raises DataError."""
    if _is_fineweb(profile):
        shards = fineweb.load()
        held_out = shards.texts(split, int(str(profile.settings["scored_bytes"])))
        return _Text(shards.train, held_out, shards.sha256(split))
    corpus = data.load()
    train = tuple(text for _name, text in sorted(corpus.train.items()))
    return _Text(train, tuple(_head(text, profile) for text in corpus.excerpts(split)), corpus.sha256)


def _walls(profile: Profile, level: str) -> Isolation:
    """Forked from a warm server on a processor; a driver does not survive a fork. Raises SandboxUnavailable."""
    start = "cold" if profile.limits.wallclock else "warm"
    return reach(level, start=start, loopback=bool(profile.settings.get("loopback")))


def _packaged() -> dict[str, object]:
    """What there is of the small profiles' text."""
    folder = data.text_directory()
    found: dict[str, object] = {
        "looked_for": str(folder) if folder else f"{data.PLAYS}, {data.BIBLE} (installed packages)",
        "kept_in": str(data.data_directory() / SPEC.name),
        "expected": "whole documents: at least 200,000 bytes to train on, 4,096 each for validation and sealed",
    }
    try:
        corpus = data.load()
    except data.DataError as error:
        return found | {"ready": False, "there": {}, "missing": [str(error)]}
    there = {
        split: data.describe(list(corpus.documents(split).values())) | {"sha256": corpus.sha256[split]}
        for split in data.SPLITS
    }
    scored = {split: data.describe(corpus.excerpts(split)) for split in ("validation", "sealed")}
    shared = {split: round(data.overlap(corpus, split), 6) for split in ("validation", "sealed")}
    return found | {"ready": True, "there": there, "scored": scored, "overlap_with_train": shared, "missing": []}


def _head(text: bytes, profile: Profile) -> bytes:
    return text[: int(str(profile.settings.get("excerpt_bytes", data.EXCERPT_BYTES)))]
