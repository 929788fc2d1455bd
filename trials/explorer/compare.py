"""Several trials side by side: what was proposed, how it was set, what was measured, and the code between two."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from trials import diffview, formatting, trial_page
from trials.access import access_campaign
from trials.explorer.figures import find
from trials.models import Campaign, Measurement, Trial
from trials.standing import why
from trials.vocab import Purpose

MOST = 6
LONGEST = 9  # digits of a number


@dataclass(frozen=True)
class Line:
    """One fact of every trial, as text; ``differs`` when they are not all the same."""

    group: str
    name: str
    cells: Sequence[str]
    numeric: bool

    @property
    def differs(self) -> bool:
        return len(set(self.cells)) > 1


Show = Callable[[Any], str]


def _text(value: Any) -> str:
    return formatting.NOTHING if value in (None, "") else formatting.short(str(value), 400)


def _plain(value: Any) -> str:
    """A value of a record: whole numbers grouped, lists of words joined, anything else as JSON."""
    if value is None or value == []:
        return formatting.NOTHING
    if isinstance(value, str):
        return formatting.short(value, 400)
    if isinstance(value, int) and not isinstance(value, bool):
        return formatting.whole(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return formatting.short(", ".join(value), 400)
    return formatting.short(json.dumps(value, sort_keys=True), 400)


FACTS: tuple[tuple[str, str, Callable[[Trial], Any], Show, bool], ...] = (
    ("outcome", "score", lambda t: t.score, formatting.score, True),
    ("outcome", "against parent", lambda t: t.delta_vs_parent, formatting.delta, True),
    ("outcome", "against the best then", lambda t: t.delta_vs_best, formatting.delta, True),
    ("outcome", "expected by the agent", lambda t: t.expected_delta, formatting.delta, True),
    ("outcome", "reason", why, _text, False),
    ("outcome", "artifact, bytes", lambda t: t.artifact_bytes, formatting.whole, True),
    ("proposal", "role", lambda t: t.role, formatting.words, False),
    ("proposal", "hypothesis", lambda t: t.hypothesis, _text, False),
    ("proposal", "parent", lambda t: None if t.parent is None else t.parent.number, _text, True),
    ("proposal", "depth", lambda t: t.depth, formatting.whole, True),
    ("proposal", "transforms", lambda t: t.proposal.get("transforms"), _plain, False),
    ("setting", "may change", lambda t: ", ".join(map(str, t.surface)), _text, False),
    ("setting", "seed", lambda t: t.seed, _text, True),
    ("setting", "isolation", lambda t: t.isolation_level, _text, False),
    ("time", "queue, s", lambda t: t.queue_seconds, formatting.seconds, True),
    ("time", "run, s", lambda t: t.run_seconds, formatting.seconds, True),
    ("time", "eval, s", lambda t: t.eval_seconds, formatting.seconds, True),
    ("time", "log, s", lambda t: t.log_seconds, formatting.seconds, True),
)
#: Parts of a measurement's record that are worth a line each.
MEASURED = ("status", "code_bytes", "payload_bytes", "train_units", "eval_units", "score_source", "evaluator_sha256")
NESTED = ("secondary", "seconds", "cpu_seconds", "fingerprint", "data_sha256")


def lines(trials: Sequence[Trial]) -> list[Line]:
    """Every fact that at least one of the trials has."""
    found = [
        Line(group, name, [show(value(trial)) for trial in trials], numeric)
        for group, name, value, show, numeric in FACTS
    ]
    records = _records(trials)
    found += _from_mappings("outcome", [trial.numbers for trial in trials])
    found += _from_mappings("measurement", [{name: r.get(name) for name in MEASURED if name in r} for r in records])
    for name in NESTED:
        found += _from_mappings(formatting.words(name), [r.get(name) or {} for r in records])
    nothing = {formatting.NOTHING, "null"}
    return [line for line in found if set(line.cells) - nothing]


def _records(trials: Sequence[Trial]) -> list[Mapping[str, Any]]:
    """The measurement that each trial was judged by; nothing where there is none yet."""
    rows = Measurement.objects.filter(trial__in=[trial.pk for trial in trials], purpose=Purpose.TRIAL)
    found = {row.trial_id: row.record for row in rows}
    return [found.get(trial.pk, {}) for trial in trials]


def _from_mappings(group: str, values: Sequence[Mapping[str, Any]]) -> list[Line]:
    names = list(dict.fromkeys(str(name) for one in values for name in one))[:60]
    return [
        Line(
            group,
            formatting.words(name),
            [_plain(one[name]) if name in one else formatting.NOTHING for one in values],
            all(isinstance(one.get(name), int | float | None) for one in values),
        )
        for name in names
    ]


def diff_between(one: Trial, other: Trial) -> list[diffview.FileDiff] | None:
    """Files that differ; None where a source is not on record."""
    if one.source_id is None or other.source_id is None:
        return None
    return trial_page.diff_between(one.source_id, other.source_id)


def asked_numbers(given: Sequence[str], campaign: Campaign) -> list[int]:
    """Whole numbers of ``?trial=7&trial=9`` or ``?trial=7,9``, each once; without any the start and the best."""
    told = [part.strip() for text in given for part in text.split(",")]
    numbers = [int(part) for part in told if part.isascii() and part.isdigit() and len(part) <= LONGEST]
    if not numbers and campaign.best_trial is not None:
        numbers = [0, campaign.best_trial.number]
    return list(dict.fromkeys(numbers))[:MOST]


@require_safe
def compare(request: HttpRequest, slug: str) -> HttpResponse:
    """Two trials or more. ``?only=differs`` leaves out what is the same, ``?with=N`` chooses whose code is compared."""
    campaign = access_campaign(request.user, slug)
    numbers = asked_numbers(request.GET.getlist("trial"), campaign)
    trials = find(campaign, numbers)
    only = request.GET.get("only") == "differs"
    every = lines(trials) if trials else []
    second = next(
        (t for t in trials[1:] if str(t.number) == request.GET.get("with")), trials[1] if trials[1:] else None
    )
    context = {
        "campaign": campaign,
        "title": "Compare",
        "trials": trials,
        "numbers": " ".join(str(trial.number) for trial in trials),
        "asked": ",".join(str(trial.number) for trial in trials),
        "missing": [number for number in numbers if number not in {trial.number for trial in trials}],
        "lines": [line for line in every if line.differs or not only],
        "same": sum(not line.differs for line in every),
        "only": only,
        "second": second,
        "diffs": None if second is None else diff_between(trials[0], second),
        "most": MOST,
    }
    return render(request, "trials/explorer/compare.html", context)
