"""Made-up trials by the hundred thousand: the same rows as the services one at a time, written by COPY.

Labels, deltas, seconds and payloads come from the services' own functions; what is written otherwise is held equal to
them by a test that records one search both ways. Every wave is one transaction that ends with nothing in flight, so a
load that is interrupted leaves a shorter search that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from django.db import connection, models, transaction

from trials import ancestry, sketch, synthetic
from trials.canonical import dumps, sha256_bytes
from trials.models import Blob, Campaign, Evaluation, Measurement, Rollup, Trial
from trials.services import leases, outcomes, submissions, tallies, words
from trials.services.blobs import compressed, tree_manifest
from trials.services.events import next_link, note_head
from trials.services.verdicts import JUDGE, Verdict
from trials.vocab import UNCOUNTED_LABELS, EvaluationState, EventKind, KeepRule, Label, Purpose

WAVE = 5_000
SECONDS = ("queue_seconds", "run_seconds", "eval_seconds", "log_seconds")
#: Counters of a campaign that a wave moves on.
COUNTERS = (
    "last_seq", "head_sha256", "last_number", "recorded_number", "trial_count", "keep_count", "aborts_in_a_row",
    "start_score", "best_score", "best_trial_id", "last_keep_at", "last_recorded_at",
)  # fmt: skip
BLOB = ("sha256", "size", "data")
ORDER = (
    "id", "campaign_id", "trial_id", "purpose", "split", "seed", "device", "state", "attempt", "worker", "fault",
    "phase", "progress", "queued_at", "sent_at", "claimed_at", "lease_expires_at", "measured_at", "outcome",
)  # fmt: skip
MEASUREMENT = (
    "evaluation_id", "campaign_id", "trial_id", "purpose", "split", "seed", "status", "score", "worker", "created_at",
    "body", "sha256", "log_id",
)  # fmt: skip
EVENT = ("campaign_id", "seq", "at", "kind", "actor", "trial_id", "body", "salt", "previous_sha256", "sha256")
STEP = ("campaign_id", "trial_id", "number", "score", "at")
KEY = ("campaign_id", "key", "number")
CELL = ("campaign_id", "hour", "role", "label", "trials", *SECONDS)


class CannotLoad(ValueError):
    """The campaign is not one that made-up trials can be loaded into; says what was expected."""


@dataclass
class _Known:
    """What later trials need of earlier ones, by number; and the cells of the rollups."""

    trials: dict[int, tuple[int, int, int | None, float | None, str | None]] = field(default_factory=dict)
    cells: dict[tuple[int, str, str], list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """As much of a measurement as an outcome looks at."""

    record: Mapping[str, Any]
    created_at: datetime
    sha256: str
    log_id: str


def load(campaign_id: int, search: synthetic.Search, trials: int, *, actor: str, say: Callable[[int], None]) -> None:
    """Record the next ``trials`` of a made-up search; ``say`` hears how many are in. Raises CannotLoad.

    Outside of a transaction one wave is made while the one before is being written.
    """
    campaign = Campaign.objects.select_related("best_trial").get(pk=campaign_id)
    if campaign.keep_rule != KeepRule.STRICT:
        raise CannotLoad(f"campaign {campaign.slug} keeps by {campaign.keep_rule}, expected {KeepRule.STRICT}")
    known, left, written = _known(campaign_id), trials, 0
    with ThreadPoolExecutor(1) as beside:
        before: Future[int] | None = None
        while left:
            wave = _Wave(campaign, known, actor, min(WAVE, left))
            for step, made in search.wave(wave.size):
                wave.add(step, made)
            wave.close()
            left -= wave.size
            if before is not None:
                written += before.result()
                say(written)
                before = None
            if connection.in_atomic_block:
                written += wave.write()
                say(written)
            else:
                before = beside.submit(_write_beside, wave)
        if before is not None:
            say(written + before.result())
        if not connection.in_atomic_block:
            beside.submit(_leave).result()
    with connection.cursor() as cursor:
        cursor.execute(
            "ANALYZE trials_trial, trials_trialwords, trials_wordplace, trials_hypothesiskey, trials_measurement,"
            " trials_event, trials_evaluation"
        )


def _write_beside(wave: _Wave) -> int:
    return wave.write()


def _leave() -> None:
    """Close the connection of the thread that wrote."""
    connection.close()


def _known(campaign_id: int) -> _Known:
    rows = Trial.objects.of(campaign_id).values_list("number", "pk", "depth", "skip", "score", "source_id")
    known = _Known({number: tuple(values) for number, *values in rows.iterator()})
    cells = Rollup.objects.filter(campaign_id=campaign_id).values_list("hour", "role", "label", "trials", *SECONDS)
    known.cells = {(hour, role, label): sums for hour, role, label, *sums in cells.iterator()}
    return known


class _Wave:
    """Rows of one transaction, in the order in which the services would have written them."""

    def __init__(self, campaign: Campaign, known: _Known, actor: str, size: int) -> None:
        self.campaign, self.known, self.actor, self.size = campaign, known, actor, size
        self.trial_keys, self.order_keys = iter(_reserve(Trial, size)), iter(_reserve(Evaluation, size))
        self.first_seq, self.counters = campaign.last_seq, dict[str, Any]()
        self.open: dict[int, tuple[Trial, int, _Seen | None]] = {}
        self.blobs: dict[str, bytes] = {}
        self.trials: list[Trial] = []
        self.rows: dict[str, list[tuple[Any, ...]]] = {
            name: [] for name in ("order", "measurement", "event", "step", "key")
        }
        self.touched: set[tuple[int, str, str]] = set()
        self.parent = lru_cache(maxsize=512)(self._parent)

    def add(self, step: int, made: synthetic.Made) -> None:
        """One step of one trial."""
        (self._submit, self._claim, self._measure, self._record)[step](made)

    def _put(self, data: bytes) -> str:
        name = _sha256(data)
        self.blobs[name] = data
        return name

    def _parent(self, number: int) -> Trial:
        """As much of a parent as an outcome looks at."""
        pk, depth, _, score, source = self.known.trials[number]
        return Trial(pk=pk, number=number, depth=depth, score=score, source_id=source)

    def _event(self, kind: EventKind, actor: str, payload: Mapping[str, Any], trial: Trial, at: datetime) -> None:
        link = next_link(self.campaign, kind, actor, payload, trial, at)
        self.rows["event"].append(
            (self.campaign.pk, link["seq"], at, str(kind), actor, trial.pk, link["body"], link["salt"],
             link["previous_sha256"], link["sha256"])
        )  # fmt: skip

    def _submit(self, made: synthetic.Made) -> None:
        campaign, number = self.campaign, made.number
        campaign.last_number += 1
        if campaign.last_number != number:
            raise CannotLoad(f"the next trial of {campaign.slug} is {campaign.last_number}, expected {number}")
        submission = submissions.Submission(
            made.role, made.hypothesis, made.files, made.diff, made.view, made.parent, campaign.seed,
            made.expected_delta, made.proposal, made.surface,
        )  # fmt: skip
        depth, skip = self._place(made.parent)
        for data in made.files.values():
            self._put(data)
        trial = Trial(
            pk=next(self.trial_keys),
            campaign=campaign,
            number=number,
            role=made.role,
            parent=None if made.parent is None else self.parent(made.parent),
            depth=depth,
            skip=skip,
            hypothesis=made.hypothesis,
            expected_delta=made.expected_delta,
            proposal=dict(made.proposal),
            surface=list(made.surface),
            source_id=self._put(tree_manifest(made.files)),
            diff_id=self._put(made.diff.encode()),
            lineage_view_id=self._put(made.view.encode()),
            seed=campaign.seed,
            submitted_at=made.submitted_at,
        )
        self.open[number] = (trial, next(self.order_keys), None)
        self.trials.append(trial)
        self.rows["key"] += [(campaign.pk, key, number) for key in sketch.keys(sketch.words(made.hypothesis))]
        payload = submissions.submitted_payload(trial, submission)
        self._event(EventKind.TRIAL_SUBMITTED, self.actor, payload, trial, made.submitted_at)

    def _place(self, parent: int | None) -> tuple[int, int | None]:
        """Depth and skip of a child."""
        if parent is None:
            return 0, None
        _, depth, above, *_ = self.known.trials[parent]
        beyond = None if above is None else self.known.trials[above][2]
        return depth + 1, ancestry.skip_number(parent, depth, beyond)

    def _claim(self, made: synthetic.Made) -> None:
        trial, _, _ = self.open[made.number]
        trial.started_at = made.claimed_at
        payload = leases.started_payload(trial, synthetic.WORKER, 1, made.claimed_at)
        self._event(EventKind.TRIAL_STARTED, synthetic.WORKER, payload, trial, made.claimed_at)

    def _measure(self, made: synthetic.Made) -> None:
        trial, order, _ = self.open[made.number]
        campaign, text, purpose, split = self.campaign, dumps(made.body), str(Purpose.TRIAL), "validation"
        seen = _Seen(made.body, made.measured_at, sha256_bytes(text.encode()), self._put(made.log))
        self.open[made.number] = (trial, order, seen)
        self.rows["order"].append(
            (order, campaign.pk, trial.pk, purpose, split, campaign.seed, campaign.spec["profile"]["device"],
             str(EvaluationState.JUDGED), 1, synthetic.WORKER, "", "measured", 1.0, made.submitted_at,
             made.submitted_at, made.claimed_at, None, made.measured_at, "{}")
        )  # fmt: skip
        self.rows["measurement"].append(
            (order, campaign.pk, trial.pk, purpose, split, campaign.seed, made.body["status"], made.body["score"],
             synthetic.WORKER, made.measured_at, text, seen.sha256, seen.log_id)
        )  # fmt: skip

    def _record(self, made: synthetic.Made) -> None:
        campaign, at = self.campaign, made.recorded_at
        trial, _, seen = self.open.pop(made.number)
        measurement = cast(Measurement, seen)
        verdict = Verdict(made.label, made.reason, made.score, made.numbers)
        label = outcomes.label_of(campaign, trial, verdict)
        outcomes.fill(trial, campaign, measurement, verdict, label, at)
        self.known.trials[trial.number] = (trial.pk, trial.depth, trial.skip, trial.score, trial.source_id)
        self._count(trial, label, at)
        if label in (Label.BASELINE, Label.KEEP):
            self._advance(trial, label, at)
        payload = outcomes.finished_payload(trial, measurement)
        self._event(EventKind.TRIAL_FINISHED, JUDGE, payload, trial, at)

    def _count(self, trial: Trial, label: Label, at: datetime) -> None:
        """As ``outcomes`` counts, with the cells of the rollups in memory: sums are made in the same order."""
        campaign = self.campaign
        campaign.recorded_number = max(campaign.recorded_number, trial.number)
        campaign.aborts_in_a_row = campaign.aborts_in_a_row + 1 if label is Label.HARNESS_ABORT else 0
        if label not in UNCOUNTED_LABELS:
            campaign.trial_count += 1
            campaign.last_recorded_at = at
        key = (int((at - campaign.created_at).total_seconds() // 3600), trial.role, str(label))
        sums = self.known.cells.setdefault(key, [0, 0.0, 0.0, 0.0, 0.0])
        sums[0] += 1
        for place, name in enumerate(SECONDS, start=1):
            sums[place] += getattr(trial, name)
        self.touched.add(key)

    def _advance(self, trial: Trial, label: Label, at: datetime) -> None:
        campaign = self.campaign
        if label is Label.BASELINE:
            campaign.start_score = trial.score
        else:
            campaign.keep_count += 1
            campaign.last_keep_at = at
        campaign.best_score, campaign.best_trial = trial.score, trial
        self.rows["step"].append((campaign.pk, trial.pk, trial.number, trial.score, at))

    def close(self) -> None:
        """Nothing is added any more: counters and sums are as they will be written."""
        self.counters = {name: getattr(self.campaign, name) for name in COUNTERS}
        self.cells = [(self.campaign.pk, *key, *self.known.cells[key]) for key in sorted(self.touched)]

    def write(self) -> int:
        """Everything in one transaction; returns how many trials. Raises CannotLoad if the campaign moved meanwhile."""
        with transaction.atomic():
            campaign: Campaign = Campaign.objects.locked(self.campaign.pk)
            if campaign.last_seq != self.first_seq or Trial.objects.of(campaign.pk).open().exists():
                raise CannotLoad(f"campaign {campaign.slug} is in use, expected nobody else to write to it")
            _copy_new("trials_blob", BLOB, self._fresh_blobs(), "(sha256) DO NOTHING")
            _copy_trials(self.trials)
            words.fill(trial.pk for trial in self.trials)
            _copy("trials_evaluation", ORDER, self.rows["order"])
            _copy("trials_measurement", MEASUREMENT, self.rows["measurement"])
            _copy("trials_event", EVENT, self.rows["event"])
            _copy("trials_frontierstep", STEP, self.rows["step"])
            _copy("trials_hypothesiskey", KEY, self.rows["key"])
            sums = ", ".join(f"{name} = EXCLUDED.{name}" for name in ("trials", *SECONDS))
            _copy_new("trials_rollup", CELL, self.cells, f"(campaign_id, hour, role, label) DO UPDATE SET {sums}")
            tallies.count_all(campaign, min(trial.number for trial in self.trials))
            Campaign.objects.filter(pk=campaign.pk).update(**self.counters)
            note_head(campaign, self.counters["last_seq"], self.counters["head_sha256"])
        return self.size

    def _fresh_blobs(self) -> Iterable[tuple[Any, ...]]:
        """Blobs that are not there yet: another search may have made the same source."""
        there = set(Blob.objects.filter(pk__in=self.blobs).values_list("pk", flat=True))
        missing = sorted(name for name in self.blobs if name not in there)
        return ((name, len(self.blobs[name]), compressed(self.blobs[name])) for name in missing)


@lru_cache(maxsize=16_384)
def _sha256(data: bytes) -> str:
    return sha256_bytes(data)


def _reserve(model: type[models.Model], count: int) -> Sequence[int]:
    """Primary keys that nobody else will use."""
    with connection.cursor() as cursor:
        table = model._meta.db_table
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count])
        return [key for (key,) in cursor.fetchall()]


def _copy(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _copy_new(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], conflict: str) -> None:
    """The same where some of the rows may be there."""
    names, fresh = ", ".join(columns), f"fresh_{table}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE {fresh} ON COMMIT DROP AS SELECT {names} FROM {table} WITH NO DATA")  # noqa: S608 - own names
        _copy(fresh, columns, rows)
        cursor.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {fresh} ON CONFLICT {conflict}")  # noqa: S608
        cursor.execute(f"DROP TABLE {fresh}")


def _copy_trials(trials: Sequence[Trial]) -> None:
    """Finished trials; JSON and enumerations as the database takes them."""
    fields = Trial._meta.concrete_fields
    names = [one.attname for one in fields]
    plain: dict[int, Callable[[Any], Any]] = {}
    for at, one in enumerate(fields):
        if isinstance(one, models.JSONField):
            plain[at] = json.dumps
        elif isinstance(one, models.CharField):
            plain[at] = str

    def values(trial: Trial) -> list[Any]:
        row = [trial.__dict__[name] for name in names]
        for at, convert in plain.items():
            row[at] = convert(row[at])
        return row

    _copy("trials_trial", [one.column for one in fields], map(values, trials))
