"""The layout in which the paper's runs were released, for people who have tools for it: results.tsv, tree.tsv,
best.json, LEADERBOARD.md, KNOWLEDGE.md and the sources of keeps. All of it follows from the tables."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import verify_bundle
from trials.bundles.container import ZipWriter
from trials.bundles.redaction import Redaction
from trials.models import Campaign, FrontierStep, Trial
from trials.services.blobs import get_blob, get_tree
from trials.vocab import SCORED_LABELS, Label, TrialState
from verify_bundle import PATH_LENGTH, exp_id, flat

MOST_SNAPSHOT_FILES = 1_000
LEADERS, CHAIN, CHILDREN, NEWEST = 20, 60, 40, 30
BATCH = 1_000
_ABSENT = -2  # a number that no trial has: released runs leave some out
_LEFT = ["exp_id", "timestamp", "specialist", "parent_exp", "baseline_exp", "domain", "hypothesis", "expected_delta"]
_RIGHT = ["delta_vs_best", "artifact_bytes", "train_s", "eval_s", "total_s", "job_name", "snapshot_path", "notes"]
_SHOWN = (
    "number", "role", "parent__number", "depth", "hypothesis", "expected_delta", "standing", "reason", "score",
    "delta_vs_best", "artifact_bytes", "finished_at", "run_seconds", "eval_seconds", "excerpt",
)  # fmt: skip
Row = dict[str, Any]


def write(campaign: Campaign, writer: ZipWriter, redaction: Redaction) -> None:
    """Add the released layout to a bundle."""
    snapshots = _snapshots(campaign, redaction)
    best_before = array("i", [-1]) * (campaign.last_number + 1)
    _fill_best_before(campaign, best_before)
    with writer.member("results.tsv") as writing:
        writing.line("\t".join(_header(campaign)))
        for row in _rows(campaign, redaction):
            writing.line("\t".join(_cells(campaign, row, best_before[row["number"]], snapshots)))
    with writer.member("tree.tsv") as writing:
        writing.line(
            f"exp_id\tparent_exp\tdepth\tpath\tspecialist\tstatus\t{campaign.score_name}\tdelta_vs_best\thypothesis"
        )
        writing.lines(_tree(campaign, redaction))
    writer.add("best.json", json.dumps(_best(campaign, redaction, snapshots), indent=2).encode() + b"\n")
    writer.add("LEADERBOARD.md", "\n".join(_leaderboard(campaign, redaction)).encode() + b"\n")
    writer.add("KNOWLEDGE.md", "\n".join(_knowledge(campaign, redaction)).encode() + b"\n")
    for number, folder in snapshots.items():
        source = Trial.objects.values_list("source_id", flat=True).get(campaign=campaign, number=number)
        for name, data in sorted(get_tree(source).items()):
            writer.add(f"{folder}/{name}", data)


def _rows(campaign: Campaign, redaction: Redaction) -> Iterator[Row]:
    """Finished trials by number, with the columns that the layout has."""
    found = Trial.objects.of(campaign.pk).filter(state=TrialState.FINISHED).order_by("number")
    for values in found.values_list(*_SHOWN).iterator(BATCH):
        yield _cleaned(dict(zip(_SHOWN, values, strict=True)), redaction)


def _cleaned(row: Row, redaction: Redaction) -> Row:
    """Free text as the tables of the bundle have it."""
    for name in ("hypothesis", "reason", "excerpt"):
        if redaction.finds(row[name]):
            row[name] = ""
    return row


def _header(campaign: Campaign) -> list[str]:
    return [*_LEFT, "status", campaign.score_name, *(name for name in _RIGHT if name != campaign.score_name)]


def _cells(campaign: Campaign, row: Row, best_before: int, snapshots: Mapping[int, str]) -> list[str]:
    notes = " | ".join(filter(None, (flat(row["reason"]), flat(row["excerpt"])[:500])))
    total = None if row["run_seconds"] is None else row["run_seconds"] + (row["eval_seconds"] or 0.0)
    cells = {
        "exp_id": exp_id(row["number"]),
        "timestamp": row["finished_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "specialist": flat(row["role"]),
        "parent_exp": _parent(row),
        "baseline_exp": "" if best_before < 0 else exp_id(best_before),
        "domain": flat(row["role"]),
        "hypothesis": flat(row["hypothesis"]),
        "expected_delta": "" if row["expected_delta"] is None else repr(row["expected_delta"]),
        "status": row["standing"],
        "delta_vs_best": _delta(row),
        "artifact_bytes": "" if row["artifact_bytes"] is None else str(row["artifact_bytes"]),
        "train_s": _seconds(row["run_seconds"]),
        "eval_s": _seconds(row["eval_seconds"]),
        "total_s": _seconds(total),
        "job_name": f"{campaign.environment}-{row['number']:04d}",
        "snapshot_path": snapshots.get(row["number"], ""),
        "notes": notes,
    }
    cells[campaign.score_name] = _score(row)
    return [cells[name] for name in _header(campaign)]


def _parent(row: Row) -> str:
    return "" if row["parent__number"] is None else exp_id(row["parent__number"])


def _score(row: Row) -> str:
    return "" if row["score"] is None else repr(row["score"])


def _delta(row: Row) -> str:
    told = row["delta_vs_best"] is not None and row["standing"] in SCORED_LABELS
    return f"{row['delta_vs_best']:+.6f}" if told else ""


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _fill_best_before(campaign: Campaign, best_before: array[int]) -> None:
    """For each trial the best when it was recorded: steps of the frontier against times of recording."""
    steps = iter(FrontierStep.objects.filter(campaign=campaign).order_by("pk").values_list("number", "at"))
    step, best = next(steps, None), -1
    found = Trial.objects.of(campaign.pk).filter(state=TrialState.FINISHED).order_by("finished_at", "number")
    for number, at in found.values_list("number", "finished_at").iterator(BATCH):
        while step is not None and step[1] < at:
            best, step = step[0], next(steps, None)
        best_before[number] = best


def _tree(campaign: Campaign, redaction: Redaction) -> Iterator[str]:
    """All trials, each after its parent, siblings by number. A path names at most PATH_LENGTH ancestors."""
    parents = array("i", [_ABSENT]) * (campaign.last_number + 1)
    pairs = Trial.objects.of(campaign.pk).order_by("number").values_list("number", "parent__number")
    for number, parent in pairs.iterator(BATCH):
        parents[number] = -1 if parent is None else parent
    order = _preorder(parents)
    for at in range(0, len(order), BATCH):
        numbers = order[at : at + BATCH]
        found = Trial.objects.of(campaign.pk).filter(number__in=list(numbers)).values_list(*_SHOWN)
        rows = {values[0]: _cleaned(dict(zip(_SHOWN, values, strict=True)), redaction) for values in found}
        for number in numbers:
            row = rows[number]
            yield "\t".join(
                (
                    exp_id(number),
                    _parent(row),
                    str(row["depth"]),
                    _path(parents, number),
                    flat(row["role"]),
                    row["standing"],
                    _score(row),
                    _delta(row),
                    flat(row["hypothesis"]),
                )
            )


def _preorder(parents: array[int]) -> array[int]:
    """Numbers so that each follows its parent; four bytes a trial, no recursion."""
    count = len(parents)
    first, following = array("i", [-1]) * count, array("i", [-1]) * count
    roots: list[int] = []
    for number in range(count - 1, -1, -1):
        parent = parents[number]
        if parent == _ABSENT:
            continue
        if parent < 0:
            roots.append(number)
        else:
            following[number], first[parent] = first[parent], number
    order, stack = array("i"), array("i", roots)
    while stack:
        number = stack.pop()
        order.append(number)
        if following[number] >= 0:
            stack.append(following[number])
        if first[number] >= 0:
            stack.append(first[number])
    return order


def _path(parents: array[int], number: int) -> str:
    names: list[str] = []
    while number >= 0 and len(names) < PATH_LENGTH:
        names.append(exp_id(number))
        number = parents[number]
    return "/".join([*(["..."] if number >= 0 else []), *reversed(names)])


def _frontier(campaign: Campaign, redaction: Redaction, count: int) -> list[Row]:
    """The newest keeps on the frontier, newest first, each with its gain over the one before."""
    steps = FrontierStep.objects.filter(campaign=campaign).order_by("-pk")[: count + 1]
    found = [
        _cleaned(
            {
                "number": step.number,
                "role": step.trial.role,
                "score": step.score,
                "hypothesis": step.trial.hypothesis,
                "reason": "",
                "excerpt": "",
                "at": step.at,
                "label": step.trial.standing,
            },
            redaction,
        )
        for step in steps.select_related("trial")
    ]
    for newer, older in pairwise(found):
        newer["gain"] = newer["score"] - older["score"]
    return found[:count]


def _best(campaign: Campaign, redaction: Redaction, snapshots: Mapping[int, str]) -> Row:
    newest = _frontier(campaign, redaction, 1)
    if not newest:
        return {}
    best = newest[0]
    return {
        "exp_id": exp_id(best["number"]),
        "specialist": best["role"],
        "domain": best["role"],
        "hypothesis": best["hypothesis"],
        campaign.score_name: best["score"],
        "delta_vs_prev": f"{best['gain']:+.6f}" if "gain" in best else "",
        "timestamp": best["at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "snapshot_path": snapshots.get(best["number"], ""),
    }


def _leaderboard(campaign: Campaign, redaction: Redaction) -> Iterator[str]:
    keeps = _frontier(campaign, redaction, LEADERS + 1)
    yield "# Leaderboard\n"
    if keeps:
        best = keeps[0]
        yield "## Current Best"
        yield f"- **{campaign.score_name}**: {best['score']!r}"
        yield f"- **specialist**: {best['role']}"
        yield f"- **hypothesis**: {flat(best['hypothesis'])[:200]}\n"
    yield f"## Top {LEADERS} Kept Trials\n"
    yield f"| exp | {campaign.score_name} | Δ | specialist | hypothesis |"
    yield "|-----|-----|-----|-----|-----|"
    for row in [keep for keep in keeps if keep["label"] != Label.BASELINE][:LEADERS]:
        gain = f"{row['gain']:+.6f}" if "gain" in row else ""
        cells = (exp_id(row["number"]), f"{row['score']:.6f}", gain, row["role"], _cell(row["hypothesis"], 100))
        yield f"| {' | '.join(cells)} |"


def _cell(text: str, most: int) -> str:
    text = flat(text)
    return (text if len(text) <= most else text[: most - 3] + "...").replace("|", "\\|")


def _knowledge(campaign: Campaign, redaction: Redaction) -> Iterator[str]:
    yield "# Research Knowledge Base\n\n## Research Tree"
    yield "`tree.tsv` has every trial, parents first; `results.tsv` has them by number.\n"
    best = campaign.best_trial
    chain: list[Trial] = []
    while best is not None and len(chain) < CHAIN:
        chain.append(best)
        best = best.parent
    yield "**Current-best lineage** (root -> best):\n```"
    for depth, trial in enumerate(reversed(chain)):
        yield f"{'   ' * depth}exp_{exp_id(trial.number)} {_told(trial, redaction)}"
    yield "```\n"
    if chain:
        yield f"**Children of the best** (newest {CHILDREN}):\n"
        for child in Trial.objects.of(campaign.pk).filter(parent=chain[0]).newest(CHILDREN):
            yield f"- exp_{exp_id(child.number)} {_told(child, redaction)}"
    yield f"\n## Recent Activity (last {NEWEST})\n"
    yield f"| exp | specialist | status | {campaign.score_name} | hypothesis |\n|-----|-----|-----|-----|-----|"
    for trial in Trial.objects.of(campaign.pk).finished().newest(NEWEST):
        score = "" if trial.score is None else f"{trial.score:.6f}"
        told = "" if redaction.finds(trial.hypothesis) else _cell(trial.hypothesis, 80)
        yield f"| {exp_id(trial.number)} | {trial.role} | {trial.standing} | {score} | {told} |"


def _told(trial: Trial, redaction: Redaction) -> str:
    score = "" if trial.score is None else f", {trial.score:.6f}"
    told = "" if redaction.finds(trial.hypothesis) else flat(trial.hypothesis)[:100]
    return f"[{trial.role}, {trial.standing or trial.state}{score}] {told}"


def _snapshots(campaign: Campaign, redaction: Redaction) -> dict[int, str]:
    """Trial -> folder of the sources of keeps, the newest ones where there are too many files; by number."""
    if redaction.has("sources"):
        return {}
    chosen: dict[int, str] = {}
    files = 0
    keeps = Trial.objects.of(campaign.pk).filter(standing=Label.KEEP, source__isnull=False).order_by("-number")
    for number, role, source in keeps.values_list("number", "role", "source_id").iterator(BATCH):
        listed: dict[str, str] = json.loads(get_blob(source))["files"]
        folder = f"snapshots/{exp_id(number)}_{re.sub(r'[^A-Za-z0-9_-]+', '-', role) or 'role'}"
        named = all(not verify_bundle.check_name(f"{folder}/{name}") for name in listed)
        if files + len(listed) > MOST_SNAPSHOT_FILES:
            break
        if named and not set(listed.values()) & set(redaction.blobs):
            chosen[number] = folder
            files += len(listed)
    return dict(sorted(chosen.items()))
