"""The record: fields, constraints and indexes. Verbs live in ``trials.services``, questions in ``trials.querysets``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from trials.fields import HASH_LENGTH, choices
from trials.hypotheses import HypothesisKey  # noqa: F401 - a model of this app
from trials.notice_models import Webhook  # noqa: F401 - models of this app
from trials.people_models import Note as Note  # noqa: PLC0414 - models of this app
from trials.people_models import Restriction as Restriction  # noqa: PLC0414
from trials.people_models import Star as Star  # noqa: PLC0414
from trials.querysets import (
    GAINED,
    HELD,
    RANKED,
    CampaignQuerySet,
    EvaluationQuerySet,
    EventQuerySet,
    Lockable,
    TrialQuerySet,
)
from trials.report_models import CampaignReport as CampaignReport  # noqa: PLC0414 - a model of this app
from trials.search_models import TrialWords, WordPlace  # noqa: F401 - models of this app
from trials.share_models import Share, Turn  # noqa: F401 - models of this app
from trials.site_models import Maintenance, SiteEvent  # noqa: F401 - models of this app
from trials.sketch import FAILURE_LENGTH
from trials.standing_models import Approval as Approval  # noqa: PLC0414
from trials.standing_models import Confirmation as Confirmation  # noqa: PLC0414
from trials.standing_models import FrontierStep as FrontierStep  # noqa: PLC0414
from trials.standing_models import Rollup as Rollup  # noqa: PLC0414
from trials.tally_models import Tally  # noqa: F401 - models of this app
from trials.token_models import ApiToken as ApiToken  # noqa: PLC0414 - a model of this app
from trials.vocab import (
    UNCOUNTED_LABELS,
    CampaignState,
    Direction,
    Enforcement,
    EvaluationState,
    EventKind,
    KeepRule,
    Label,
    LineagePolicy,
    Purpose,
    TrialState,
)
from trials.worker_models import Worker as Worker  # noqa: PLC0414 - a model of this app


class Blob(models.Model):
    """Content-addressed bytes, compressed at rest, stored once. ``size`` counts the raw bytes; removed_at: when
    retention took those of a log away, or is about to (trials.services.retention)."""

    sha256 = models.CharField(max_length=HASH_LENGTH, primary_key=True)
    size = models.BigIntegerField()
    data = models.BinaryField()
    removed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.sha256[:12]


class Campaign(Lockable, models.Model):
    """One search: an environment, a roster, limits, and the counters that its pages read.

    agent: what was fixed for language models at launch (provider, models, budgets, prices); empty for the catalogue.
    start_score, best_score: the recorded score by the rule ``strict``; by ``verified`` the mean over the seeds of the
    calibration, and of the confirmation that made a trial the best.
    """

    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=120)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField()

    environment = models.CharField(max_length=60)
    profile = models.CharField(max_length=20)
    spec = models.JSONField()
    spec_sha256 = models.CharField(max_length=HASH_LENGTH)
    roster = models.CharField(max_length=60)
    roles = models.JSONField()
    proposer = models.CharField(max_length=20)
    agent = models.JSONField(default=dict)
    lineage = models.CharField(max_length=10, choices=choices(LineagePolicy))
    keep_rule = models.CharField(max_length=10, choices=choices(KeepRule))
    enforcement = models.CharField(max_length=10, choices=choices(Enforcement), default=Enforcement.STRICT.value)
    direction = models.CharField(max_length=6, choices=choices(Direction))
    score_name = models.CharField(max_length=40)
    minimum_level = models.CharField(max_length=4)
    seed = models.BigIntegerField()
    reproducible = models.BooleanField(default=False)
    origin = models.JSONField(default=dict)  # of a start that is another campaign's trial
    checkpoints = models.JSONField(default=dict)  # where a person is asked (trials.checkpoints); empty: nowhere

    max_trials = models.PositiveIntegerField()
    max_hours = models.FloatField()
    slots = models.PositiveSmallIntegerField()
    no_improvement_hours = models.FloatField()

    state = models.CharField(max_length=10, choices=choices(CampaignState), default=CampaignState.RUNNING.value)
    state_reason = models.CharField(max_length=300, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    # Counters and head of the event chain, kept in the transaction that changes them.
    last_seq = models.BigIntegerField(default=0)
    head_sha256 = models.CharField(max_length=HASH_LENGTH, blank=True)
    last_number = models.IntegerField(default=-1)
    recorded_number = models.IntegerField(default=-1)
    trial_count = models.PositiveIntegerField(default=0)
    keep_count = models.PositiveIntegerField(default=0)
    crossing_count = models.PositiveIntegerField(default=0)
    aborts_in_a_row = models.PositiveIntegerField(default=0)
    start_score = models.FloatField(null=True, blank=True)
    best_score = models.FloatField(null=True, blank=True)
    best_trial = models.ForeignKey("Trial", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    last_keep_at = models.DateTimeField(null=True, blank=True)
    # Rule ``verified``: spread of one recipe's score over seeds, None until the start has been measured often enough.
    noise_sd = models.FloatField(null=True, blank=True)
    noise_df = models.PositiveIntegerField(default=0)
    # Measurements that are no trials (calibration, confirmation, sealed split), and their wall-clock seconds.
    repeat_count = models.PositiveIntegerField(default=0)
    repeat_seconds = models.FloatField(default=0.0)
    last_recorded_at = models.DateTimeField(null=True, blank=True)

    # Only of a campaign that came from a bundle: what its own site called it, and the head as that site signed it.
    bundle = models.JSONField(null=True, blank=True)

    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(slots__gte=1), name="campaign_has_a_slot"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("trials:campaign", args=[self.slug])

    def may_change(self, surface: Sequence[str]) -> list[str]:
        """Files that a role with this surface may touch: its own, or where surfaces are advice all that have owners."""
        return list(surface) if self.enforcement == Enforcement.STRICT else list(self.spec["files"])

    @property
    def score_source(self) -> str:
        """``evaluator``, or ``log`` where scores are a script's own word."""
        return str(self.spec.get("score_source", "evaluator"))

    @property
    def is_released_run(self) -> bool:
        """Whether this is a released run of another system: its rows are all that is known of it."""
        return "trace" in self.spec

    @property
    def uncounted_labels(self) -> frozenset[Label]:
        """Labels that are not counted as trials; of a released run every row but the baseline counts."""
        return frozenset({Label.BASELINE}) if self.is_released_run else UNCOUNTED_LABELS

    @property
    def approves_keeps(self) -> bool:
        """Whether a person is asked before a keep becomes the base."""
        return bool(self.checkpoints.get("keeps"))

    @property
    def chain(self) -> str:
        """Names the campaign's chain of events, also after its row is lost."""
        return f"{self.slug}.{int(self.created_at.timestamp() * 1e6)}"

    @property
    def improvement(self) -> float | None:
        """Relative change of best against start, negative when a lower score got lower; None before the baseline."""
        if self.start_score is None or self.best_score is None or self.start_score == 0:
            return None
        return (self.best_score - self.start_score) / abs(self.start_score)


class Trial(models.Model):
    """Hypothesis, code edit, outcome. A finished trial never changes: a database trigger refuses it.

    ``label`` is what was recorded. ``standing`` is what counts: the same, but for a provisional trial the label that
    its confirmation gave it. The trigger lets that one column change, once, from ``provisional``.
    skip: number of a farther ancestor (trials.ancestry). failure: what its kind of failures share (trials.sketch).
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="trials", db_index=False)
    number = models.IntegerField()
    role = models.CharField(max_length=60)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children", db_index=False)
    # An earlier trial with the very same source: only released runs of other systems have such.
    twin_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="twins")
    depth = models.PositiveIntegerField(default=0)
    skip = models.IntegerField(null=True, blank=True)
    hypothesis = models.TextField()
    expected_delta = models.FloatField(null=True, blank=True)
    proposal = models.JSONField(default=dict)
    surface = models.JSONField(default=list)
    source = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    diff = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    lineage_view = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    seed = models.BigIntegerField()

    state = models.CharField(max_length=10, choices=choices(TrialState), default=TrialState.QUEUED.value)
    label = models.CharField(max_length=24, choices=choices(Label), blank=True)
    standing = models.CharField(max_length=24, choices=choices(Label), blank=True)
    reason = models.CharField(max_length=300, blank=True)
    failure = models.CharField(max_length=FAILURE_LENGTH, blank=True)
    score = models.FloatField(null=True, blank=True)
    delta_vs_best = models.FloatField(null=True, blank=True)
    delta_vs_parent = models.FloatField(null=True, blank=True)
    numbers = models.JSONField(default=dict)
    artifact_bytes = models.BigIntegerField(null=True, blank=True)
    excerpt = models.TextField(blank=True)
    log = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    isolation_level = models.CharField(max_length=4, blank=True)

    submitted_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    queue_seconds = models.FloatField(null=True, blank=True)
    run_seconds = models.FloatField(null=True, blank=True)
    eval_seconds = models.FloatField(null=True, blank=True)
    log_seconds = models.FloatField(null=True, blank=True)

    objects = TrialQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["campaign", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "number"], name="trial_number_unique"),
            models.UniqueConstraint(
                fields=["campaign", "source"], name="trial_source_unique", condition=Q(twin_of__isnull=True)
            ),
            models.CheckConstraint(
                condition=Q(state="finished", finished_at__isnull=False) & ~Q(label="")
                | ~Q(state="finished") & Q(label=""),
                name="trial_finished_has_label",
            ),
            models.CheckConstraint(
                condition=Q(standing=models.F("label"))
                | Q(label="provisional", standing__in=["provisional", "keep", "discard"]),
                name="trial_standing_follows_label",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign", "role", "-number"], name="trial_by_role"),
            models.Index(fields=["campaign", "standing", "-number"], name="trial_by_standing"),
            models.Index(fields=["campaign", "role", "standing", "-number"], name="trial_by_role_and_standing"),
            models.Index(fields=["campaign", "score", "number"], name="trial_ranked", condition=RANKED),
            models.Index(fields=["campaign", "role", "score", "number"], name="trial_ranked_in_role", condition=RANKED),
            models.Index(
                fields=["campaign", "standing", "score", "number"], name="trial_ranked_by_standing", condition=RANKED
            ),
            models.Index(fields=["campaign", "delta_vs_parent", "number"], name="trial_gain", condition=GAINED),
            models.Index(
                fields=["campaign", "role", "delta_vs_parent", "number"], name="trial_gain_in_role", condition=GAINED
            ),
            models.Index(fields=["parent", "-number"], name="trial_children"),
            models.Index(fields=["campaign", "failure", "-number"], name="trial_failure", condition=~Q(failure="")),
            models.Index(fields=["campaign", "role", "-number"], name="trial_held", condition=HELD),
            models.Index(
                fields=["campaign", "number"], name="trial_open", condition=Q(state__in=["queued", "running"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}/{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("trials:trial", args=[self.campaign.slug, self.number])

    @property
    def tree_sha256(self) -> str:
        """The source tree's hash. Raises ValueError for a trial of a released run whose source was not released."""
        if self.source_id is None:
            raise ValueError(f"trial {self.number} was imported without its source")
        return self.source_id


class Evaluation(models.Model):
    """A work order: measure this trial's source with this seed on this split. Held under a lease while it runs.

    outcome: the judge's verdict on a calibration or confirmation (label, reason, score, numbers); a trial has its own.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="evaluations", db_index=False)
    trial = models.ForeignKey(Trial, on_delete=models.PROTECT, related_name="evaluations", db_index=False)
    purpose = models.CharField(max_length=12, choices=choices(Purpose))
    confirmation = models.ForeignKey(
        Confirmation, null=True, blank=True, on_delete=models.PROTECT, related_name="evaluations"
    )
    split = models.CharField(max_length=12)
    seed = models.BigIntegerField()
    device = models.CharField(max_length=12)
    state = models.CharField(max_length=10, choices=choices(EvaluationState), default=EvaluationState.QUEUED.value)
    attempt = models.PositiveSmallIntegerField(default=0)
    worker = models.CharField(max_length=120, blank=True)
    fault = models.CharField(max_length=300, blank=True)
    phase = models.CharField(max_length=20, blank=True)
    progress = models.FloatField(default=0.0)
    outcome = models.JSONField(default=dict)
    queued_at = models.DateTimeField()
    sent_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True)

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["trial", "purpose", "split", "seed"], name="evaluation_unique"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["campaign", "state"],
                name="evaluation_open",
                condition=Q(state__in=["queued", "running", "measured"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.trial} {self.purpose} {self.split} {self.seed}"


class Measurement(models.Model):
    """What an evaluator saw, as canonical JSON. Append-only: a database trigger refuses UPDATE and DELETE."""

    evaluation = models.OneToOneField(Evaluation, on_delete=models.PROTECT, related_name="measurement")
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="measurements", db_index=False)
    trial = models.ForeignKey(Trial, on_delete=models.PROTECT, related_name="measurements")
    purpose = models.CharField(max_length=12, choices=choices(Purpose))
    split = models.CharField(max_length=12)
    seed = models.BigIntegerField()
    status = models.CharField(max_length=24)
    score = models.FloatField(null=True, blank=True)
    worker = models.CharField(max_length=120)
    created_at = models.DateTimeField()
    body = models.TextField()
    sha256 = models.CharField(max_length=HASH_LENGTH)
    log = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["id"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign", "purpose"], name="measurement_again", condition=~Q(purpose="trial")),
        ]

    def __str__(self) -> str:
        return f"{self.trial} {self.purpose} {self.score}"

    @property
    def record(self) -> dict[str, Any]:
        """The measurement as the evaluator posted it (fields of ``evaluators.contract.Measurement`` but the log)."""
        record: dict[str, Any] = json.loads(self.body)
        return record


class Event(models.Model):
    """One line of a campaign's ledger: numbered without gaps, chained by SHA-256 over canonical JSON.

    redaction: only where an imported bundle withholds something: what (``withheld``), and the salts of the rest.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="events", db_index=False)
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    kind = models.CharField(max_length=24, choices=choices(EventKind))
    actor = models.CharField(max_length=150)
    trial = models.ForeignKey(Trial, null=True, on_delete=models.PROTECT, related_name="events")
    body = models.TextField()
    salt = models.CharField(max_length=32, blank=True)
    redaction = models.JSONField(null=True, blank=True)
    previous_sha256 = models.CharField(max_length=HASH_LENGTH, blank=True)
    sha256 = models.CharField(max_length=HASH_LENGTH)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["campaign", "seq"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "seq"], name="event_seq_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}#{self.seq} {self.kind}"

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.body)
        return payload
