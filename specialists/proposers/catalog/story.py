"""Why a candidate was chosen, in words and numbers for the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specialists.proposers.catalog.choice import Model, Scored
from specialists.proposers.catalog.evidence import Evidence, Use

TABLE_ROWS = 8
PASSED_ROWS = 8


def related(model: Model, row: Scored) -> list[Use]:
    """Earlier uses of the candidate's transformations, newest first."""
    names = {step.name for step in row.candidate.steps}
    found = [use for use in model.evidence.uses if names & {step.name for step in use.steps}]
    return sorted(found, key=lambda use: -use.entry.number)


def evidence_of(evidence: Evidence, model: Model, row: Scored) -> list[int]:
    """Numbers of the trials that the choice rests on: the miss that it repairs, uses of the same idea, the parent."""
    numbers = {row.candidate.parent, row.candidate.base}
    numbers |= {use.entry.number for use in related(model, row)[:6]}
    if row.candidate.repairs is not None:
        numbers.add(row.candidate.repairs)
    ideas = {step.transform.idea for step in row.candidate.steps if step.transform is not None}
    for use in model.observed:
        if ideas & {step.transform.idea for step in use.steps if step.transform is not None}:
            numbers.add(use.entry.number)
    return sorted(numbers & set(evidence.entries))[-12:]


def kind(evidence: Evidence, model: Model, row: Scored) -> str:
    """explore, transfer, again, combine or repair."""
    if row.candidate.repairs is not None:
        return "repair"
    if len(row.candidate.steps) > 1:
        return "combine"
    gains = [use.gain for use in related(model, row) if use.gain is not None]
    if not gains:
        return "explore"
    return "transfer" if max(gains) > 0 else "again"


def sentence(evidence: Evidence, model: Model, row: Scored) -> str:
    """The hypothesis: what the idea does, and why now."""
    ideas = " and ".join(
        step.transform.hypothesis[0].lower() + step.transform.hypothesis[1:]
        for step in row.candidate.steps
        if step.transform is not None
    )
    return f"{row.candidate.label}: {ideas}; {_reason(evidence, model, row)}."[:600]


def _reason(evidence: Evidence, model: Model, row: Scored) -> str:
    what = kind(evidence, model, row)
    uses, unit = related(model, row), evidence.catalogue.unit
    if what == "repair":
        miss = evidence.entries[row.candidate.repairs or 0]
        resource = evidence.catalogue.broken(miss)
        carried = "+".join(step.label for step in row.candidate.carried)
        told = "a miss" if resource is None else resource.miss(miss, evidence.limits)
        return f"trial {miss.number} ({carried}) was {told}"
    measured = [use for use in uses if use.gain is not None]
    if what == "combine":
        told = ", ".join(f"trial {use.entry.number} ({use.gain:+.4f}{unit})" for use in measured[:3])
        return f"each has been measured alone, {told}, and they touch different parts"
    if what == "transfer":
        top = max(measured, key=lambda use: (use.gain or 0.0, -use.entry.number))
        held = row.candidate.steps[0].name in evidence.context(row.candidate.parent)
        here = f"trial {row.candidate.parent} {'has it at another strength' if held else 'lacks it'}"
        return f"it improved trial {top.entry.parent} by {top.gain:.4f}{unit} as trial {top.entry.number}, and {here}"
    if what == "again":
        last, unsettled = measured[0], "on another parent, which does not settle it here"
        return f"it gave {last.gain:+.4f}{unit} as trial {last.entry.number} {unsettled}"
    if uses:
        return f"its last use, trial {uses[0].entry.number}, ended as {uses[0].entry.label} and says nothing about gain"
    return "it has not been measured in this search"


def decision_table(
    evidence: Evidence, row: Scored, ranked: Sequence[Scored], tried: Mapping[str, str]
) -> dict[str, Any]:
    """The decision as bounded JSON: the top of the ranking with mean, sd and chance, and what was passed over."""
    return {
        "proposer": "catalog",
        "noise": _short(evidence.noise),
        "observations": len([use for use in evidence.uses if use.gain is not None]),
        "chosen": _line(row),
        "repairs": row.candidate.repairs,
        "table": [_line(other) for other in ranked[:TABLE_ROWS]],
        "passed": dict(list(tried.items())[:PASSED_ROWS]),
    }


def _line(row: Scored) -> dict[str, Any]:
    return {
        "transforms": row.candidate.label,
        "parent": row.candidate.parent,
        "gain": _short(row.mean),
        "sd": _short(row.sd),
        "valid": _short(row.chance),
        "drawn": _short(row.drawn),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
