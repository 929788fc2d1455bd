"""Reading a slice: every block is a fixed number of rows found through an index, whatever the campaign's length.

First the numbers of the trials of every block, in one query; then the trials themselves, each once. A query here may
order and stop, or look at a fixed number of rows and choose among them; it may not filter until it finds enough.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Case, OuterRef, Subquery, Value, When
from django.db.models.fields.json import KeyTransform
from django.db.models.functions import Coalesce, Concat, Left

from trials import sketch
from trials.lineage import render
from trials.lineage.entries import Entry, Foretold, Headroom
from trials.lineage.likeness import alike_trials
from trials.lineage.policy import best_trial, visible_trials
from trials.lineage.slices import LineageSlice
from trials.models import Approval, Campaign, Confirmation, Measurement, Trial
from trials.querysets import HELD, TrialQuerySet
from trials.standing import ANSWERED
from trials.vocab import HELD_LABELS, SCORED_LABELS, Direction, Label, LineagePolicy, Purpose

CHAIN_FIRST, CHAIN_LAST = render.CHAIN_HEAD, 20
LEADERBOARD_ROWS = 16
RECENT_ROWS = 24
HELD_ROWS, FAILED_ROWS = 8, 30
CHILDREN_ROWS = 12
SURFACE_ROWS = 8
SIMILAR_ROWS = 6
ALIKE_ROWS, REPAIRS_OF_EACH = 6, 4
MISTAKEN_ROWS, PREDICTIONS = 6, 64
#: Rows among which a block chooses where no index can; roles of which the gains are compared.
WINDOW, MAX_ROLES = 48, 16
#: A change of less than this share of the starting score hardly moves it (the paper: 0.0005 of 1.081).
QUIET = 0.0005
HYPOTHESIS_CHARACTERS = 400


@dataclass(frozen=True)
class _Asked:
    """One slice in the making: for whom, and which rows count."""

    campaign: Campaign
    role: str
    up_to: int | None
    best: Trial
    rows: TrialQuerySet

    @property
    def shared(self) -> bool:
        return self.campaign.lineage == LineagePolicy.SHARED

    @property
    def revealed(self) -> TrialQuerySet:
        """Every trial with an outcome, whoever may see it."""
        rows: TrialQuerySet = Trial.objects.of(self.campaign.pk).evidence(self.up_to)
        return rows


def build_slice(campaign: Campaign, role: str, *, up_to: int | None = None) -> LineageSlice:
    """The slice for one role's next proposal, by the campaign's policy (trials.lineage.policy).

    ``up_to``: only trials up to this number count, as in a reproducible campaign. Its blocks hold what its text shows.
    Behind it stands what was known where the campaign started from, by the same policy.
    """
    return replace(_build(campaign, role, up_to), origin=_origin(campaign, role))


def _origin(campaign: Campaign, role: str) -> str:
    """Text of another campaign's slice; its trials are no parents and no evidence here, so no block holds them."""
    if not campaign.origin or campaign.lineage == LineagePolicy.NONE:
        return ""
    there = Campaign.objects.get(slug=campaign.origin["campaign"])
    there.lineage = campaign.lineage  # what may be read is this campaign's rule
    view = _build(there, role, campaign.origin["up_to"])
    return (
        f"\nThis campaign started from trial {campaign.origin['trial']} of another one, {there.slug}. What was known "
        f"there follows. Its numbers name its own trials, not yours.\n\n{view.text()}"
    )


def _build(campaign: Campaign, role: str, up_to: int | None) -> LineageSlice:
    best = best_trial(campaign, up_to)
    base = LineageSlice(
        policy=LineagePolicy(campaign.lineage),
        role=role,
        direction=campaign.direction,
        score_name=campaign.score_name,
        start_score=campaign.start_score,
        best=None,
        up_to=up_to,
        asks=campaign.approves_keeps,
    )
    if best is None:
        return base
    asked = _Asked(campaign, role, up_to, best, visible_trials(campaign, role, up_to))
    base = replace(base, headroom=_headroom(campaign, best))
    if campaign.lineage == LineagePolicy.NONE:
        return replace(base, best=_entries(asked.revealed, [best.number])[best.number].anonymous())
    return _filled(base, asked).fitted()


def _filled(base: LineageSlice, asked: _Asked) -> LineageSlice:
    """Every block, not yet cut to its budget."""
    campaign, best = asked.campaign, asked.best
    numbers = _numbers(asked)
    chain = asked.revealed.chain(best, CHAIN_FIRST, CHAIN_LAST) if asked.shared else []
    mistaken, foretold = _foretold(asked)
    wanted = {best.number, *chain, *mistaken, *(number for block in numbers.values() for number in block)}
    found = _entries(asked.revealed, wanted)
    blocks = {name: [found[number] for number in block if number in found] for name, block in numbers.items()}
    own = sorted(blocks["held"] + blocks["failed"], key=lambda entry: -entry.number)
    alike, similar = _alike(asked, own), _similar(asked, found[best.number], own)
    found |= _entries(asked.revealed, {*alike, *similar} - set(found))
    shown = found[best.number] if asked.shared or best.role == asked.role else found[best.number].anonymous()
    sign = 1.0 if campaign.direction == Direction.LOWER else -1.0
    newest = asked.up_to if asked.up_to is not None else max(numbers["recent"], default=best.number)
    newest_first: dict[str, Any] = {
        name: _sorted(blocks[name], lambda entry: -entry.number) for name in ("recent", "held", "failed", "children")
    }
    return replace(
        base,
        best=shown,
        chain=tuple(found[number] for number in chain if number in found),
        chain_gap=best.depth + 1 - len(chain) if asked.shared else 0,
        leaderboard=_sorted(blocks["leaderboard"], lambda entry: (sign * (entry.score or 0.0), entry.number)),
        surface=_gains(blocks["surface"], sign),
        mistaken=tuple(found[number] for number in mistaken),
        alike=tuple(found[number] for number in alike if number in found),
        similar=tuple(found[number] for number in similar if number in found),
        quiet=_quiet(own[:HELD_ROWS], campaign.start_score),
        since_best=max(0, newest - best.number) if asked.shared else None,
        foretold=foretold,
        **newest_first,
    )


def _numbers(asked: _Asked) -> dict[str, list[int]]:
    """Trial numbers of the blocks that an index can name, in one query."""
    campaign, own = asked.campaign, asked.rows.filter(role=asked.role)
    children = asked.revealed.filter(parent=asked.best)
    if not asked.shared:
        children = asked.rows.filter(pk__in=children.newest(WINDOW).values("pk"))
    parts = {
        "leaderboard": [asked.rows.leading(campaign.direction, LEADERBOARD_ROWS)],
        "recent": [asked.rows.newest(RECENT_ROWS)],
        "held": [own.filter(HELD).newest(HELD_ROWS)],
        "failed": [own.exclude(standing__in=HELD_LABELS).newest(FAILED_ROWS)],
        "children": [children.newest(CHILDREN_ROWS)],
        "surface": [
            asked.rows.filter(role=role).gaining(campaign.direction, SURFACE_ROWS)
            for role in (_neighbours(campaign, asked.role) if asked.shared else [asked.role])
        ],
    }
    tagged = [
        part.annotate(block=Value(name)).values_list("block", "number") for name, many in parts.items() for part in many
    ]
    found: dict[str, list[int]] = {name: [] for name in parts}
    for name, number in tagged[0].union(*tagged[1:], all=True):
        found[name].append(number)
    return found


def _neighbours(campaign: Campaign, role: str) -> list[str]:
    """Roles that own some of the files of ``role``, itself first."""
    surfaces = {str(other["name"]): set(other["surface"]) for other in campaign.roles}
    mine = surfaces.get(role, set())
    return [role, *(name for name, files in surfaces.items() if name != role and files & mine)][:MAX_ROLES]


def _entries(rows: TrialQuerySet, numbers: Iterable[int]) -> dict[int, Entry]:
    """Trials by number, each read once; only what a slice may tell of them."""
    wanted = sorted(numbers)
    if not wanted:
        return {}
    found = (
        rows.filter(number__in=wanted)
        .annotate(
            idea=Left("hypothesis", HYPOTHESIS_CHARACTERS),
            transforms=KeyTransform("transforms", "proposal"),
            told=_reason(),
        )
        .values_list(
            "number", "role", "parent__number", "standing", "told", "score", "delta_vs_best", "delta_vs_parent",
            "artifact_bytes", "idea", "numbers", "transforms", "expected_delta",
        )
    )  # fmt: skip
    entries = (Entry(*[*plain, {} if by is None else {"transforms": by}, foretold]) for *plain, by, foretold in found)
    return {entry.number: entry for entry in entries}


def _reason() -> Coalesce:
    """The reason of the outcome and, of a provisional trial, what its confirmation and a person say."""
    newest = Confirmation.objects.filter(trial=OuterRef("pk")).order_by("-round")
    words = Case(
        When(ruling="", then=Value("looks better, is being measured again on fresh seeds")),
        default=Concat("ruling", Value(": "), "reason"),
    )
    question = Approval.objects.filter(trial=OuterRef("pk")).order_by("-number")
    said = Case(*(When(answer=answer, then=Value(f"; {told}")) for answer, told in ANSWERED.items()))
    decided = Concat(
        Subquery(newest.annotate(words=words).values("words")[:1]),
        Subquery(question.annotate(words=said).values("words")[:1]),
    )
    both = Case(When(reason="", then=decided), default=Concat("reason", Value("; "), decided))
    # Concat reads nothing as an empty text: only a provisional trial has something to add.
    return Coalesce(Case(When(label=Label.PROVISIONAL, then=both)), "reason")


def _foretold(asked: _Asked) -> tuple[list[int], Foretold | None]:
    """Of the newest trials those that were foretold furthest from what was measured, and how predictions came out."""
    rows = asked.rows.newest(PREDICTIONS).values_list("number", "expected_delta", "delta_vs_best")
    told = [row for row in rows if row[1] is not None and row[2] is not None]
    if not told:
        return [], None
    wrong = [row for row in told if row[1] * row[2] < 0]
    wrong.sort(key=lambda row: (-abs(row[2] - row[1]), row[0]))
    right = sum(row[1] * row[2] > 0 for row in told)
    means = (sum(row[at] for row in told) / len(told) for at in (1, 2))
    return [row[0] for row in wrong[:MISTAKEN_ROWS]], Foretold(len(told), right, *means)


def _alike(asked: _Asked, own: Sequence[Entry]) -> list[int]:
    """Failures like the role's last one, others' first, each followed by what repaired it."""
    last = next((entry for entry in own if entry.label not in SCORED_LABELS), None)
    if last is None:
        return []
    key = sketch.failure_key(last.label, last.reason)
    rows = asked.rows.filter(failure=key).newest(WINDOW).values_list("pk", "number", "role")
    failures = sorted(rows, key=lambda row: (row[2] == asked.role, -row[1]))[:ALIKE_ROWS]
    if not failures:
        return []
    repairs: dict[int, list[int]] = {}
    for parent, number, label, role in asked.rows.children_of(
        [row[0] for row in failures], asked.up_to, REPAIRS_OF_EACH
    ):
        if label in SCORED_LABELS and (asked.shared or role == asked.role):
            repairs.setdefault(parent, []).append(number)
    return list(dict.fromkeys(n for pk, number, _ in failures for n in (number, *repairs.get(pk, [])[:1])))


def _similar(asked: _Asked, best: Entry, own: Sequence[Entry]) -> list[int]:
    """Trials of others with a hypothesis like the role's last one or, where it may be seen, the best's."""
    texts = [entry.hypothesis for entry in own[:1]]
    if asked.shared or best.role == asked.role:
        texts.append(best.hypothesis)
    leave_out = {best.number, *(entry.number for entry in own)}
    near = alike_trials(
        asked.campaign, asked.role, texts, up_to=asked.up_to, count=SIMILAR_ROWS, leave_out=leave_out
    )  # fmt: skip
    return [one.number for one in near]


def _quiet(own: Sequence[Entry], start: float | None) -> int:
    """How many of a role's newest trials in a row moved the score by less than QUIET of the start, or gave none."""
    least = QUIET * abs(start or 1.0)
    for at, entry in enumerate(own):
        if entry.delta_vs_best is not None and abs(entry.delta_vs_best) >= least:
            return at
    return len(own)


def _sorted(entries: Iterable[Entry], key: Any) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=key))


def _gains(entries: Iterable[Entry], sign: float) -> tuple[Entry, ...]:
    """The greatest real gains of all roles together."""
    gained = [entry for entry in entries if entry.delta_vs_parent is not None and sign * entry.delta_vs_parent < 0]
    return _sorted(gained, lambda entry: (sign * (entry.delta_vs_parent or 0.0), entry.number))[:SURFACE_ROWS]


def _headroom(campaign: Campaign, best: Trial) -> tuple[Headroom, ...]:
    """What the best leaves of the profile's limits, as far as its record says what it used."""
    limits: Mapping[str, Any] = campaign.spec["profile"].get("limits", {})
    body = Measurement.objects.filter(trial=best, purpose=Purpose.TRIAL).values_list("body", flat=True).first()
    record: Mapping[str, Any] = json.loads(body) if body else {}
    numbers, seconds = best.numbers, record.get("seconds") or {}
    used: dict[str, tuple[Any, str]] = {
        "artifact_bytes": (best.artifact_bytes, "bytes"),
        "train_units": (record.get("train_units"), "units"),
        "eval_units": (record.get("eval_units"), "units"),
    }
    if limits.get("wallclock"):
        scoring = [seconds[name] for name in ("spell", "predict") if name in seconds]
        used |= {
            "train_seconds": (seconds.get("train"), "seconds"),
            "eval_seconds": (sum(scoring) if scoring else None, "seconds"),
        }
    found = [
        Headroom(name, float(value), float(limits[name]), float(limits[name] - value), unit)
        for name, (value, unit) in used.items()
        if _is_number(value) and _is_number(limits.get(name))
    ]
    if _is_number(share := numbers.get("budget_used")):
        found.append(Headroom("training budget", share, 1.0, 1.0 - share, "as a share"))
    correct, scored, gate = (numbers.get(name) for name in ("correct", "scored", "gate"))
    if _is_number(correct) and _is_number(scored) and _is_number(gate) and scored > 0:
        found.append(Headroom("accuracy", correct / scored, gate, correct / scored - gate, "at the gate"))
    return tuple(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
