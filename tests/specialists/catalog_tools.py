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
from specialists.proposers.catalog.library import BY_NAME, TRANSFORMS
from specialists.proposers.catalog.transform import Refusal, Transform, Variant
from specialists.rosters import PAPER_TEN, Role
from trials.lineage import Entry, LineageSlice

RECIPE = Path(__file__).resolve().parents[2] / "evaluators/environments/parameter_golf/recipe"
TINY_RUN = Path(__file__).with_name("catalog_tiny_run.py")
START = {path.name: path.read_text() for path in sorted(RECIPE.glob("*.py"))}
ROLES = {role.name: role for role in PAPER_TEN.roles}
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
EVERY = [(transform, variant) for transform in TRANSFORMS for variant in transform.variants]


def apply(transform: Transform, variant: Variant, files: Mapping[str, str]) -> dict[str, str] | Refusal:
    return transform.apply(files, variant, random.Random(0))


def applied(transform: Transform, variant: Variant, files: Mapping[str, str]) -> dict[str, str]:
    """The whole source after a transformation that must apply."""
    result = apply(transform, variant, files)
    assert not isinstance(result, Refusal), f"{transform.label(variant)}: {result.why}"
    return {**files, **result}


def prepared(transform: Transform) -> dict[str, str]:
    """The starting recipe, with the transformation's prerequisite where it has one."""
    first = BY_NAME.get(PREREQUISITES.get(transform.name, ""))
    return dict(START) if first is None else applied(first, first.variants[-1], START)


def stack(seed: int, size: int = 8) -> tuple[list[str], dict[str, str]]:
    """``size`` transformations of any roles in a random order, each on what the ones before left."""
    rng = random.Random(seed)
    files, names = dict(START), []
    for transform, variant in rng.sample(EVERY, len(EVERY)):
        result = apply(transform, variant, files)
        if not isinstance(result, Refusal):
            files |= result
            names.append(transform.label(variant))
        if len(names) == size:
            break
    return names, files


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
    seen: Callable[[Mapping[str, str]], int | None] = lambda files: None,
    limits: Mapping[str, Any] = LIMITS,
) -> Proposal | NoProposal:
    """The catalogue's answer; trials without a source of their own have the starting recipe's."""
    held = sources or {}
    chosen = ROLES[role] if isinstance(role, str) else role
    return CatalogProposer().propose(Request(chosen, shown, lambda number: held.get(number, START), seen, seed, limits))
