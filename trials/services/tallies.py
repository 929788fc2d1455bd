"""Keeps the sums that pages read: inside the transaction that records an outcome, or anew from all trials."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.db.models import F, Sum

from trials import tallies
from trials.models import Campaign, Trial
from trials.statements import Part, first, rows, together
from trials.tallies import ALL_ROLES, WHOLE, Fact, Point
from trials.tally_models import (
    FrontPoint,
    Miss,
    MissTally,
    ParentTally,
    ReasonTally,
    ScoreColumn,
    Tally,
    TallyScale,
)
from trials.vocab import Direction, Label

BATCH = 5_000
MS = tuple(f"{name}_ms" for name in tallies.SECONDS)
FIELDS = (
    "pk", "number", "role", "parent__role", "label", "standing", "failure", "score", "artifact_bytes", "numbers",
    "proposal__usd", "finished_at", "queue_seconds", "run_seconds", "eval_seconds", "log_seconds",
)  # fmt: skip
MADE = (FrontPoint, ParentTally, MissTally, Miss, ReasonTally, ScoreColumn, Tally, TallyScale)


def _adding(table: str, keys: Mapping[str, str], sums: Sequence[str]) -> str:
    """Adds to cells of a table. keys: columns and their types. Values are the campaign, then an array per column."""
    types = {**keys, **dict.fromkeys(sums, "bigint")}
    return (
        f"INSERT INTO {table} AS cell (campaign_id, {', '.join(types)}) SELECT %s::bigint, given.* "  # noqa: S608
        f"FROM unnest({', '.join(f'%s::{kind}[]' for kind in types.values())}) AS given "
        f"ON CONFLICT (campaign_id, {', '.join(keys)}) "
        f"DO UPDATE SET {', '.join(f'{name} = cell.{name} + EXCLUDED.{name}' for name in sums)}"
    )


_TALLIES = _adding("trials_tally", {"role": "text", "bin": "int", "label": "text"}, ("trials", *MS))
_PARENTS = _adding("trials_parenttally", {"role": "text", "parent_role": "text"}, ("trials", "keeps"))
_MISSES = _adding("trials_misstally", {"label": "text", "level": "smallint"}, ("trials",))
_COLUMNS = """
INSERT INTO trials_scorecolumn AS cell (campaign_id, axis, bin, counts)
SELECT %s::bigint, given.* FROM unnest(%s::text[], %s::int[], %s::jsonb[]) AS given
ON CONFLICT (campaign_id, axis, bin) DO UPDATE SET counts = cell.counts || (
    SELECT jsonb_object_agg(level, n::bigint + coalesce((cell.counts ->> level)::bigint, 0))
      FROM jsonb_each_text(EXCLUDED.counts) AS given(level, n))
"""
_FRONTS = "SELECT axis, x, score, number, trial_id FROM trials_frontpoint WHERE campaign_id = %s"


def counting(campaign: Campaign, trial: Trial) -> list[Part]:
    """Adds one finished trial, some of it at once. The caller holds the campaign's lock."""
    return _adding_all(campaign, [_fact(campaign, _row(trial))])


def settle(campaign: Campaign, trial: Trial, standing: Label) -> None:
    """A provisional trial counts as ``standing`` from now on."""
    before = replace(_fact(campaign, _row(trial)), standing=str(Label.PROVISIONAL))
    after = replace(before, standing=str(standing))
    scale = TallyScale.objects.get(campaign=campaign)
    together(_adding_tallies(campaign, scale, [before], -1))
    Tally.objects.filter(campaign=campaign, trials=0).delete()
    together(_adding_tallies(campaign, scale, [after], 1))
    if standing is Label.KEEP:
        ParentTally.objects.filter(campaign=campaign, role=trial.role, parent_role=before.parent_role or "").update(
            keeps=F("keeps") + 1
        )


def count_all(campaign: Campaign, numbers_from: int, say: Callable[[int], None] = lambda done: None) -> None:
    """Add every finished trial from a number on: for writers that write many at once, under the campaign's lock."""
    done = 0
    for facts in facts_of(campaign, numbers_from):
        together(_adding_all(campaign, facts))
        done += len(facts)
        say(done)


@transaction.atomic
def rebuild(campaign_id: int, say: Callable[[int], None] = lambda done: None) -> None:
    """Make the sums of a campaign anew from its trials."""
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    for model in MADE:
        model._default_manager.filter(campaign=campaign).delete()
    count_all(campaign, 0, say)


def missing() -> list[Campaign]:
    """Campaigns with finished trials whose sums were never made."""
    found = Campaign.objects.filter(tally_scale__isnull=True, recorded_number__gte=0)
    return list(found.order_by("pk"))


def facts_of(campaign: Campaign, numbers_from: int = 0) -> Iterator[list[Fact]]:
    """Finished trials from a number on, in batches: as much of each as is counted."""
    found = Trial.objects.of(campaign.pk).finished().order_by("number").values_list(*FIELDS)
    while batch := list(found.filter(number__gte=numbers_from)[:BATCH]):
        yield [_fact(campaign, row) for row in batch]
        numbers_from = batch[-1][1] + 1


def _row(trial: Trial) -> list[Any]:
    """FIELDS of a trial that is at hand."""
    looked_up = {
        "parent__role": None if trial.parent is None else trial.parent.role,
        "proposal__usd": trial.proposal.get("usd"),
    }
    return [looked_up[name] if name in looked_up else getattr(trial, name) for name in FIELDS]


def _fact(campaign: Campaign, row: Sequence[Any]) -> Fact:
    *told, finished_at, queue, run, evaluated, log = row
    pk, number, role, parent_role, label, standing, failure, score, size, numbers, usd = told
    ms = [round(1000 * (value or 0.0)) for value in (queue, run, evaluated, log)]
    at = (finished_at - campaign.created_at).total_seconds()
    return Fact(
        pk, number, role, parent_role, label, standing, failure, score, size, numbers, at, ms, tallies.paid(usd)
    )


def _adding_all(campaign: Campaign, facts: Sequence[Fact]) -> list[Part]:
    """Every sum, of trials that are counted for the first time: what is seldom is written, the rest is told."""
    scale, ranked = _scale(campaign, facts), [fact for fact in facts if fact.is_ranked]
    _add_reasons(campaign, [fact for fact in facts if fact.failure])
    _add_fronts(campaign, ranked)
    return [
        *_adding_tallies(campaign, scale, facts, 1),
        *_adding_scores(campaign, scale, ranked),
        *_adding_parents(campaign, [fact for fact in facts if fact.label != Label.BASELINE]),
    ]


def _scale(campaign: Campaign, facts: Sequence[Fact]) -> TallyScale:
    """Wide enough for these trials; what is there is merged where it grows."""
    scale = first(TallyScale, "WHERE campaign_id = %s", [campaign.pk]) or TallyScale(campaign=campaign)
    time = max(scale.time_power, tallies.power_for(max(tallies.stretch(fact.at) for fact in facts)))
    trial = max(scale.trial_power, tallies.power_for(max(fact.number for fact in facts)))
    score = next((fact.score for fact in facts if fact.is_ranked), None)
    fresh = scale.origin is None and score is not None
    if (time, trial) == (scale.time_power, scale.trial_power) and not (fresh or scale._state.adding):
        return scale
    if time > scale.time_power:
        _widen_tallies(campaign, 2 ** (time - scale.time_power))
        _widen_scores(campaign, "time", 2 ** (time - scale.time_power))
    if trial > scale.trial_power:
        _widen_scores(campaign, "trial", 2 ** (trial - scale.trial_power))
    scale.time_power, scale.trial_power = time, trial
    if fresh and score is not None:
        scale.origin, scale.unit = score, tallies.unit_of(score)
    scale.save()
    return scale


def _widen_tallies(campaign: Campaign, times: int) -> None:
    cells = Tally.objects.filter(campaign=campaign, bin__gte=0)
    merged = list(
        cells.values("role", "label", wide=F("bin") / times)
        .annotate(**{f"sum_{name}": Sum(name) for name in ("trials", *MS)})
        .order_by()
    )
    cells.delete()
    Tally.objects.bulk_create(
        Tally(
            campaign=campaign, role=row["role"], label=row["label"], bin=row["wide"],
            **{name: row[f"sum_{name}"] for name in ("trials", *MS)},
        )
        for row in merged
    )  # fmt: skip


def _widen_scores(campaign: Campaign, axis: str, times: int) -> None:
    columns = ScoreColumn.objects.filter(campaign=campaign, axis=axis)
    merged: dict[int, Counter[str]] = defaultdict(Counter)
    for at, counts in columns.values_list("bin", "counts"):
        merged[at // times].update(counts)
    columns.delete()
    ScoreColumn.objects.bulk_create(
        ScoreColumn(campaign=campaign, axis=axis, bin=at, counts=dict(counts)) for at, counts in merged.items()
    )


def _adding_tallies(campaign: Campaign, scale: TallyScale, facts: Iterable[Fact], times: int) -> list[Part]:
    cells: dict[tuple[str, int, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for fact in facts:
        at = tallies.stretch(fact.at) >> scale.time_power
        for key in ((ALL_ROLES, at), (fact.role, at), (fact.role, WHOLE)):
            cell = cells[(*key, fact.standing)]
            for place, value in enumerate((1, *fact.ms)):
                cell[place] += times * value
    return _upserting(_TALLIES, campaign, cells)


def _adding_scores(campaign: Campaign, scale: TallyScale, facts: Iterable[Fact]) -> list[Part]:
    added: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for fact in facts:
        if fact.score is None or scale.origin is None or scale.unit is None:
            continue
        level = str(tallies.level_of(fact.score, scale.origin, scale.unit))
        added["trial", fact.number >> scale.trial_power][level] += 1
        added["time", tallies.stretch(fact.at) >> scale.time_power][level] += 1
    return _upserting(_COLUMNS, campaign, {column: [json.dumps(counts)] for column, counts in added.items()})


def _add_reasons(campaign: Campaign, facts: Sequence[Fact]) -> None:
    if not facts:
        return
    kinds: dict[tuple[str, str], list[int]] = {}
    for fact in facts:
        kind = kinds.setdefault((fact.label, fact.failure), [0, 0])
        kind[0] += 1
        kind[1] = max(kind[1], fact.number)
    ReasonTally.objects.bulk_create(
        [ReasonTally(campaign=campaign, label=label, failure=key, trials=0, newest=0) for label, key in kinds],
        ignore_conflicts=True,
    )
    held = list(ReasonTally.objects.filter(campaign=campaign, failure__in=[key for _, key in kinds]))
    for row in held:
        trials, newest = kinds.get((row.label, row.failure), (0, 0))
        row.trials, row.newest = row.trials + trials, max(row.newest, newest)
    ReasonTally.objects.bulk_update(held, ["trials", "newest"])
    _add_misses(campaign, facts)


def _add_misses(campaign: Campaign, facts: Iterable[Fact]) -> None:
    limits = campaign.spec.get("profile", {}).get("limits", {})
    margins = [(fact, tallies.margin_of(fact.label, fact.numbers, fact.artifact_bytes, limits)) for fact in facts]
    found = [(fact, margin) for fact, margin in margins if margin is not None]
    Miss.objects.bulk_create(
        Miss(
            trial_id=fact.pk, campaign=campaign, label=fact.label, number=fact.number, unit=margin.unit,
            over=margin.over, share=margin.share,
        )
        for fact, margin in found
    )  # fmt: skip
    levels = Counter((fact.label, tallies.miss_level(margin.share)) for fact, margin in found)
    if levels:
        together(_upserting(_MISSES, campaign, {level: [trials] for level, trials in levels.items()}))


def _adding_parents(campaign: Campaign, facts: Iterable[Fact]) -> list[Part]:
    pairs: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for fact in facts:
        if fact.label == Label.HARNESS_ABORT:
            continue
        pair = pairs[fact.role, fact.parent_role or ""]
        pair[0] += 1
        pair[1] += fact.standing == Label.KEEP
    return _upserting(_PARENTS, campaign, pairs)


def _add_fronts(campaign: Campaign, facts: Sequence[Fact]) -> None:
    if not facts:
        return
    direction = Direction(campaign.direction)
    held: dict[str, list[Point]] = {axis: [] for axis in tallies.AXES}
    for axis, at, score, number, pk in rows(_FRONTS, [campaign.pk]):
        held[axis].append(Point(at, score, number, pk))
    for axis, before in held.items():
        fresh = [
            Point(x, fact.score, fact.number, fact.pk)
            for fact in facts
            if fact.score is not None and (x := tallies.x_of(fact, axis)) is not None
        ]
        after = tallies.front([*before, *fresh], direction)
        gone, new = set(before) - set(after), set(after) - set(before)
        if gone:
            FrontPoint.objects.filter(campaign=campaign, axis=axis, number__in=[one.number for one in gone]).delete()
        FrontPoint.objects.bulk_create(
            FrontPoint(
                campaign=campaign, axis=axis, trial_id=one.pk, number=one.number, x=one.x, score=one.score
            )
            for one in sorted(new, key=lambda one: one.number)
        )  # fmt: skip


def _upserting(statement: str, campaign: Campaign, cells: Mapping[tuple[Any, ...], Sequence[Any]]) -> list[Part]:
    """Adds to the sums of each cell, which is made where it is not there; nothing where there is no cell."""
    arrays = list(map(list, zip(*((*key, *sums) for key, sums in cells.items()), strict=True)))
    return [(statement, [campaign.pk, *arrays])] if cells else []
