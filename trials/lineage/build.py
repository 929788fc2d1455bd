"""Reading a slice: every block is a fixed number of rows found through an index, whatever the campaign's length.

The questions themselves are in ``queries``; here their answers are put in order and told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from trials.lineage import queries
from trials.lineage.entries import Entry, Foretold, Headroom
from trials.lineage.likeness import alike_trials
from trials.lineage.queries import CHAIN_LAST, HELD_ROWS, MAX_ROLES, SIMILAR_ROWS, SURFACE_ROWS
from trials.lineage.slices import LineageSlice
from trials.models import Campaign
from trials.vocab import Direction, LineagePolicy

#: A change of less than this share of the starting score hardly moves it (the paper: 0.0005 of 1.081).
QUIET = 0.0005


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
    best = queries.best(campaign.pk, up_to)
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
    base = replace(base, headroom=_headroom(campaign, best))
    if campaign.lineage == LineagePolicy.NONE:
        return replace(base, best=queries.entries(campaign.pk, [best.number], up_to)[best.number].anonymous())
    return _filled(base, campaign, best).fitted()


def _filled(base: LineageSlice, campaign: Campaign, best: queries.Best) -> LineageSlice:
    """Every block, not yet cut to its budget."""
    role, up_to, shared = base.role, base.up_to, campaign.lineage == LineagePolicy.SHARED
    read = _read(campaign, best, role, up_to)
    found, numbers = dict(read.entries), read.numbers
    blocks = {name: [found[number] for number in many] for name, many in numbers.items()}
    own = sorted(blocks["held"] + blocks["failed"], key=lambda entry: -entry.number)
    told = shared or best.role == role
    similar = _similar(campaign, role, up_to, [own[:1], [found[best.number]] if told else []], best.number, own)
    found |= queries.entries(campaign.pk, set(similar) - set(found), up_to)
    sign = 1.0 if campaign.direction == Direction.LOWER else -1.0
    newest = up_to if up_to is not None else max(numbers["recent"], default=best.number)
    newest_first: dict[str, Any] = {
        name: _sorted(blocks[name], lambda entry: -entry.number) for name in ("recent", "held", "failed", "children")
    }
    return replace(
        base,
        best=found[best.number] if told else found[best.number].anonymous(),
        chain=_sorted(blocks["chain"], lambda entry: entry.number),
        chain_gap=best.depth + 1 - len(blocks["chain"]) if shared else 0,
        leaderboard=_sorted(blocks["leaderboard"], lambda entry: (sign * (entry.score or 0.0), entry.number)),
        surface=_gains(blocks["surface"], sign),
        mistaken=_sorted(blocks["mistaken"], lambda entry: (-_missed(entry), entry.number)),
        alike=tuple(blocks["alike"]),
        similar=tuple(found[number] for number in similar if number in found),
        quiet=_quiet(own[:HELD_ROWS], campaign.start_score),
        since_best=max(0, newest - best.number) if shared else None,
        foretold=_foretold(read),
        **newest_first,
    )


def _read(campaign: Campaign, best: queries.Best, role: str, up_to: int | None) -> queries.Blocks:
    """The trials of all blocks but one."""
    shared = campaign.lineage == LineagePolicy.SHARED
    return queries.blocks(
        campaign.direction,
        shared=shared,
        campaign=campaign.pk,
        role=role,
        roles=_neighbours(campaign, role) if shared else [role],
        up_to=up_to,
        best=best.pk,
        below=best.depth - CHAIN_LAST + 1,
    )


def _neighbours(campaign: Campaign, role: str) -> list[str]:
    """Roles that own some of the files of ``role``, itself first."""
    surfaces = {str(other["name"]): set(other["surface"]) for other in campaign.roles}
    mine = surfaces.get(role, set())
    return [role, *(name for name, files in surfaces.items() if name != role and files & mine)][:MAX_ROLES]


def _foretold(read: queries.Blocks) -> Foretold | None:
    """How the newest predictions came out."""
    if not read.promised:
        return None
    told = list(zip(read.promised, read.measured, strict=True))
    right = sum(promised * measured > 0 for promised, measured in told)
    return Foretold(len(told), right, sum(read.promised) / len(told), sum(read.measured) / len(told))


def _missed(entry: Entry) -> float:
    """How far what was measured lies from what was promised."""
    return abs((entry.delta_vs_best or 0.0) - (entry.expected_delta or 0.0))


def _similar(
    campaign: Campaign, role: str, up_to: int | None, like: Iterable[Sequence[Entry]], best: int, own: Sequence[Entry]
) -> list[int]:
    """Trials of others with a hypothesis like one of ``like``: the role's last one, the best's where it may be seen."""
    texts = [entry.hypothesis for entries in like for entry in entries]
    leave_out = {best, *(entry.number for entry in own)}
    near = alike_trials(campaign, role, texts, up_to=up_to, count=SIMILAR_ROWS, leave_out=leave_out)
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


def _headroom(campaign: Campaign, best: queries.Best) -> tuple[Headroom, ...]:
    """What the best leaves of the profile's limits, as far as its record says what it used."""
    limits: Mapping[str, Any] = campaign.spec["profile"].get("limits", {})
    record: Mapping[str, Any] = best.record
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


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
