"""What the catalogue's tests share: the starting recipe, stacks of transformations, tiny runs, hand-made slices."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from specialists.proposals import NoProposal, Proposal, Request
from specialists.proposers.catalog import CatalogProposer
from specialists.proposers.catalog.catalogue import Catalogue
from specialists.proposers.catalog.library import CATALOGUES
from specialists.proposers.catalog.transform import Refusal, Transform, Variant
from specialists.rosters import PAPER_FIVE_CIFAR, PAPER_FIVE_NANOCHAT, PAPER_TEN, Role, Roster
from trials.lineage import Entry, LineageSlice

ENVIRONMENTS = Path(__file__).resolve().parents[2] / "evaluators/environments"
TINY_RUN = Path(__file__).with_name("catalog_tiny_run.py")
LIMITS = {
    "artifact_bytes": 273_000,
    "train_units": 400_000_000_000,
    "eval_units": 120_000_000_000,
    "unit_tolerance": 0.05,
}
#: Transformations that need another one in the tree first.
PREREQUISITES = {
    "shrink-bigram": "hashed-bigram",
    "zero-projections": "live-projections",
    "adaptive-rates": "score-first-sgd",
    "adapter-momentum": "score-first-sgd",
    "two-passes": "score-first-sgd",
    "elastic-return": "score-first-sgd",
}


class Bench:
    """An environment's starting recipe, the paper's roles for it and its catalogue."""

    def __init__(self, roster: Roster) -> None:
        recipe = ENVIRONMENTS / roster.environment / "recipe"
        self.start = {path.name: path.read_text() for path in sorted(recipe.glob("*.py"))}
        self.roles: dict[str, Role] = {role.name: role for role in roster.roles}
        self.catalogue: Catalogue = CATALOGUES[roster.environment]
        self.every = [(transform, variant) for transform in self.catalogue.transforms for variant in transform.variants]

    def transform(self, name: str) -> Transform:
        return self.catalogue.by_name[name]

    def prepared(self, transform: Transform) -> dict[str, str]:
        """The starting recipe, with the transformation's prerequisite where it has one."""
        first = self.catalogue.by_name.get(PREREQUISITES.get(transform.name, ""))
        return dict(self.start) if first is None else applied(first, first.variants[-1], self.start)

    def stack(self, seed: int, size: int = 8) -> tuple[list[str], dict[str, str]]:
        """``size`` transformations of any roles in a random order, each on what the ones before left."""
        rng = random.Random(seed)
        files, names = dict(self.start), []
        for transform, variant in rng.sample(self.every, len(self.every)):
            result = apply(transform, variant, files)
            if not isinstance(result, Refusal):
                files |= result
                names.append(transform.label(variant))
            if len(names) == size:
                break
        return names, files


GOLF, NANOCHAT, AIRBENCH = (Bench(roster) for roster in (PAPER_TEN, PAPER_FIVE_NANOCHAT, PAPER_FIVE_CIFAR))
BENCHES = {"parameter_golf": GOLF, "nanochat_d12": NANOCHAT, "cifar_airbench96": AIRBENCH}
START, ROLES = GOLF.start, GOLF.roles


def apply(transform: Transform, variant: Variant, files: Mapping[str, str]) -> dict[str, str] | Refusal:
    return transform.apply(files, variant, random.Random(0))


def applied(transform: Transform, variant: Variant, files: Mapping[str, str]) -> dict[str, str]:
    """The whole source after a transformation that must apply."""
    result = apply(transform, variant, files)
    assert not isinstance(result, Refusal), f"{transform.label(variant)}: {result.why}"
    return {**files, **result}


def tiny_runs(recipes: Mapping[str, Mapping[str, str]], folder: Path) -> dict[str, str]:
    """Name -> ``ok`` or what went wrong, from one process that imports torch once."""
    source, target = folder / "recipes.json", folder / "outcomes.json"
    source.write_text(json.dumps([{"name": name, "files": dict(files)} for name, files in recipes.items()]))
    subprocess.run(
        [sys.executable, str(TINY_RUN), str(source), str(target)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    outcomes: dict[str, str] = json.loads(target.read_text())
    return outcomes


def entry(number: int, transforms: Sequence[str] = (), **fields: Any) -> Entry:
    """A trial of a hand-made slice: by default a discarded child of the start that gained nothing."""
    values: dict[str, Any] = {
        "role": "architecture",
        "parent": 0,
        "label": "discard",
        "reason": "",
        "score": 2.5 if number == 0 else None,
        "delta_vs_best": None,
        "delta_vs_parent": None,
        "artifact_bytes": 250_000,
        "hypothesis": "",
        "numbers": {},
    }
    values |= {"label": "baseline", "parent": None} if number == 0 else {}
    return Entry(number=number, proposal={"transforms": list(transforms)} if transforms else {}, **(values | fields))


def view(entries: Sequence[Entry], *, best: int = 0, policy: str = "shared", direction: str = "lower") -> LineageSlice:
    """A slice that shows these trials."""
    found = {item.number: item for item in entries}
    shown = tuple(entries) if policy != "none" else ()
    return LineageSlice(policy, "any", direction, "val_bpb", entries[0].score, found[best], None, recent=shown)


def ask(
    role: str | Role,
    shown: LineageSlice,
    *,
    seed: int = 0,
    sources: Mapping[int, Mapping[str, str]] | None = None,
    seen: Callable[[Mapping[str, str]], str | None] = lambda files: None,
    limits: Mapping[str, Any] = LIMITS,
    bench: Bench = GOLF,
) -> Proposal | NoProposal:
    """The catalogue's answer; trials without a source of their own have the starting recipe's."""
    held = sources or {}
    chosen = bench.roles[role] if isinstance(role, str) else role
    read, environment = (lambda number: held.get(number, bench.start)), bench.catalogue.environment
    return CatalogProposer().propose(Request(chosen, shown, read, seen, seed, limits, environment))
