"""The lineage slice: the bounded evidence that one agent sees, and the exact text of it.

Blocks follow the paper: best chain, leaderboard, recent activity, own trials, children of the best. Every block has a
fixed number of rows read through an index, so the cost of a slice does not grow with the campaign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trials.models import Campaign, Trial
from trials.querysets import TrialQuerySet
from trials.vocab import SCORED_LABELS, Direction, Label, LineagePolicy

CHAIN_ROWS = 24
LEADERBOARD_ROWS = 16
RECENT_ROWS = 24
OWN_ROWS = 32
CHILDREN_ROWS = 12
TEXT_LENGTH = 160


@dataclass(frozen=True)
class Entry:
    """One trial as evidence. ``delta_vs_parent`` is the measured gain of its edit; ``numbers`` the exact margins."""

    number: int
    role: str
    parent: int | None
    label: str
    reason: str
    score: float | None
    delta_vs_best: float | None
    delta_vs_parent: float | None
    artifact_bytes: int | None
    hypothesis: str
    numbers: Mapping[str, Any]
    proposal: Mapping[str, Any]


@dataclass(frozen=True)
class LineageSlice:
    """All that one proposal may be based on. ``up_to`` is the highest revealed trial number (None: everything)."""

    policy: str
    role: str
    direction: str
    score_name: str
    start_score: float | None
    best: Entry | None
    up_to: int | None
    chain: Sequence[Entry] = ()
    leaderboard: Sequence[Entry] = ()
    recent: Sequence[Entry] = ()
    own: Sequence[Entry] = ()
    children: Sequence[Entry] = ()

    def entries(self) -> list[Entry]:
        """Every distinct trial of the slice, by number."""
        found = {entry.number: entry for block in self._blocks() for entry in block}
        if self.best is not None:
            found[self.best.number] = self.best
        return [found[number] for number in sorted(found)]

    def _blocks(self) -> tuple[Sequence[Entry], ...]:
        return self.chain, self.leaderboard, self.recent, self.own, self.children

    def text(self) -> str:
        """The exact text that is stored with the trial and, for language models, put in the prompt."""
        return "\n".join(_render(self)) + "\n"


def _entry(trial: Trial) -> Entry:
    return Entry(
        number=trial.number,
        role=trial.role,
        parent=None if trial.parent is None else trial.parent.number,
        label=trial.label,
        reason=trial.reason,
        score=trial.score,
        delta_vs_best=trial.delta_vs_best,
        delta_vs_parent=trial.delta_vs_parent,
        artifact_bytes=trial.artifact_bytes,
        hypothesis=trial.hypothesis,
        numbers=trial.numbers,
        proposal=trial.proposal,
    )


def build_slice(campaign: Campaign, role: str, *, up_to: int | None = None) -> LineageSlice:
    """The slice for one role's next proposal, by the campaign's policy.

    ``none`` shows the best trial alone (the paper's ablation keeps best id and score), ``own-role`` other trials of the
    same role only, ``shared`` everything.
    """
    policy = LineagePolicy(campaign.lineage)
    rows = Trial.objects.of(campaign.pk).revealed(up_to).exclude(label=Label.HARNESS_ABORT).select_related("parent")
    best = _best(campaign, rows)
    base = LineageSlice(
        policy=policy,
        role=role,
        direction=campaign.direction,
        score_name=campaign.score_name,
        start_score=campaign.start_score,
        best=None if best is None else _entry(best),
        up_to=up_to,
    )
    if policy is LineagePolicy.NONE or best is None:
        return base
    if policy is LineagePolicy.OWN_ROLE:
        rows = rows.filter(role=role)
    return replace(
        base,
        chain=_chain(best) if policy is LineagePolicy.SHARED else (),
        leaderboard=_entries(_ranked(campaign, rows)[:LEADERBOARD_ROWS]),
        recent=_entries(rows.newest(RECENT_ROWS)),
        own=_entries(rows.filter(role=role).newest(OWN_ROWS)),
        children=_entries(rows.filter(parent=best).newest(CHILDREN_ROWS)),
    )


def _entries(trials: Iterable[Trial]) -> tuple[Entry, ...]:
    return tuple(_entry(trial) for trial in trials)


def _ranked(campaign: Campaign, rows: TrialQuerySet) -> TrialQuerySet:
    order = "score" if campaign.direction == Direction.LOWER else "-score"
    return rows.filter(score__isnull=False, label__in=SCORED_LABELS).order_by(order, "number")


def _best(campaign: Campaign, rows: TrialQuerySet) -> Trial | None:
    best: Trial | None = _ranked(campaign, rows.filter(label__in=[Label.BASELINE, Label.KEEP])).first()
    return best


def _chain(best: Trial) -> tuple[Entry, ...]:
    """The newest CHAIN_ROWS ancestors of the best, oldest first; older ones are cut, whatever the depth."""
    chain: list[Entry] = []
    trial: Trial | None = best
    while trial is not None and len(chain) < CHAIN_ROWS:
        chain.append(_entry(trial))
        trial = None if trial.parent_id is None else Trial.objects.select_related("parent").get(pk=trial.parent_id)
    return tuple(reversed(chain))


def _render(view: LineageSlice) -> list[str]:
    lines = [f"role: {view.role}", f"lineage: {view.policy}", f"score: {view.score_name} ({view.direction} is better)"]
    if view.up_to is not None:
        lines.append(f"outcomes revealed up to trial {view.up_to}")
    if view.start_score is not None:
        lines.append(f"start: {view.start_score:.6f}")
    if view.best is not None:
        lines.append(f"best: trial {view.best.number} at {_number(view.best.score)}")
    if view.policy == LineagePolicy.NONE:
        return [*lines, "Earlier trials are not shown in this campaign."]
    titles = ("Best chain", "Leaderboard", "Recent activity", f"Own trials ({view.role})", "Children of the best")
    for title, block in zip(titles, view._blocks(), strict=True):
        lines += ["", f"## {title}", *(_line(entry) for entry in block)]
        if not block:
            lines.append("(none yet)")
    return lines


def _line(entry: Entry) -> str:
    """One trial on one line: whatever a recipe or an agent wrote is cut and keeps no line breaks."""
    parts = [
        f"{entry.number:04d}",
        entry.role,
        f"parent {'-' if entry.parent is None else entry.parent}",
        entry.label,
        f"score {_number(entry.score)}",
        f"vs parent {_number(entry.delta_vs_parent, signed=True)}",
        f"bytes {'-' if entry.artifact_bytes is None else entry.artifact_bytes}",
        _flat(entry.reason),
        _flat(entry.hypothesis),
    ]
    transforms = entry.proposal.get("transforms")
    if transforms:
        parts.append("by " + "+".join(str(name) for name in transforms))
    return " | ".join(part for part in parts if part)


def _flat(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:TEXT_LENGTH]


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.6f}" if signed else f"{value:.6f}"
