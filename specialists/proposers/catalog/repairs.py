"""Near misses: failed trials worth another edit, and the edits that could bring them back inside the limits."""

from __future__ import annotations

from collections.abc import Sequence

from specialists.proposers.catalog.choice import Candidate
from specialists.proposers.catalog.evidence import Evidence, Step
from trials.lineage import Entry
from trials.vocab import SCORED_LABELS, Label

MAX_MISSES = 4


def excess(evidence: Evidence, entry: Entry) -> float | None:
    """How far over its limit a failed trial was, as a share of the limit; None when the record does not say."""
    resource = evidence.catalogue.broken(entry)
    if resource is None:
        return None
    limit, used = evidence.limit(resource), evidence.spent(entry, resource)
    return None if used is None or limit is None else used / limit - 1.0


def near_misses(evidence: Evidence) -> list[Entry]:
    """Failed trials just over a limit that no later trial has brought back, nearest first."""
    repaired = {e.parent for e in evidence.entries.values() if Label(e.label) in SCORED_LABELS}
    found: list[tuple[float, int, Entry]] = []
    for entry in evidence.entries.values():
        resource, share = evidence.catalogue.broken(entry), excess(evidence, entry)
        if resource and share is not None and share <= resource.near and entry.number not in repaired:
            found.append((share, -entry.number, entry))
    return [entry for _, _, entry in sorted(found, key=lambda row: row[:2])[:MAX_MISSES]]


def repair_candidates(evidence: Evidence, miss: Entry, steps: Sequence[Step]) -> list[Candidate]:
    """Edits on top of a failed trial that should lower what it used too much of.

    Either the transformation is expected to save that resource, or the trial already holds it at a dearer strength.
    """
    resource = evidence.catalogue.broken(miss)
    if resource is None or miss.parent is None:
        return []
    before = evidence.steps_of(miss) or (Step(f"trial {miss.number}", None, None),)
    found = []
    for step in steps:
        dearer = [old for old in before if old.name == step.name and old.scale > step.scale]
        saves = step.transform is not None and getattr(step.transform, resource.direction) < 0
        if dearer or saves:
            sets = step.transform is not None and step.transform.sets
            replaced = tuple(old for old in before if old.name == step.name) if sets else ()
            found.append(Candidate(miss.number, (step,), miss.parent, before, replaced, miss.number))
    return found
