"""Tables behind what counts: confirmations, approvals, rollups, frontier. ``trials.models`` has their names too."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from trials.fields import choices
from trials.querysets import ApprovalQuerySet, ConfirmationQuerySet, RollupQuerySet
from trials.vocab import Answer, Label, Ruling, Subject


class Confirmation(models.Model):
    """A provisional trial beside the best of its time, on fresh seeds, until a sequential test decides.

    A trial that is still being confirmed when the best changes goes on in a new ``round``. part: what this one uses of
    the campaign's budget for false keeps; pairs: seeds on which both have a score; voids: seeds on which one has none;
    gain, z, bound: the newest look (``trials.confirm.Look``). Closed rows never change: a database trigger refuses it.
    """

    campaign = models.ForeignKey("trials.Campaign", on_delete=models.PROTECT, related_name="confirmations")
    trial = models.ForeignKey("trials.Trial", on_delete=models.PROTECT, related_name="confirmations")
    incumbent = models.ForeignKey("trials.Trial", on_delete=models.PROTECT, related_name="defences")
    round = models.PositiveSmallIntegerField(default=1)
    part = models.FloatField()
    pairs = models.PositiveSmallIntegerField(default=0)
    voids = models.PositiveSmallIntegerField(default=0)
    gain = models.FloatField(null=True, blank=True)
    z = models.FloatField(null=True, blank=True)
    bound = models.FloatField(null=True, blank=True)
    ruling = models.CharField(max_length=12, choices=choices(Ruling), blank=True)
    reason = models.CharField(max_length=300, blank=True)
    numbers = models.JSONField(default=dict)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = ConfirmationQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["trial", "round"], name="confirmation_round_unique"),
            models.UniqueConstraint(fields=["trial"], condition=Q(ruling=""), name="confirmation_open_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign"], name="confirmation_open", condition=Q(ruling="")),
            models.Index(fields=["incumbent", "-id"], name="confirmation_by_incumbent"),
        ]

    def __str__(self) -> str:
        return f"{self.trial} against {self.incumbent} {self.ruling}"


class Approval(models.Model):
    """A question to a person, and the answer: ``answered_seq`` is the event that says by whom.

    Of a keep: the trial, and the score at which it would be the best. Of a budget: ``used``, how much of it was used by
    then. Answered rows never change: a database trigger refuses it.
    """

    campaign = models.ForeignKey("trials.Campaign", on_delete=models.PROTECT, related_name="approvals", db_index=False)
    number = models.PositiveIntegerField()
    subject = models.CharField(max_length=8, choices=choices(Subject))
    trial = models.ForeignKey("trials.Trial", null=True, on_delete=models.PROTECT, related_name="approvals")
    score = models.FloatField(null=True, blank=True)
    used = models.FloatField(null=True, blank=True)
    asked_at = models.DateTimeField()
    answer = models.CharField(max_length=10, choices=choices(Answer), blank=True)
    remark = models.CharField(max_length=300, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    answered_seq = models.BigIntegerField(null=True, blank=True)

    objects = ApprovalQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["campaign", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "number"], name="approval_number_unique"),
            models.UniqueConstraint(fields=["trial"], condition=Q(answer=""), name="approval_open_once"),
            models.CheckConstraint(
                condition=Q(answer="", answered_at=None, answered_seq=None)
                | ~Q(answer="") & Q(answered_at__isnull=False, answered_seq__isnull=False),
                name="approval_answered_by_event",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign"], name="approval_open", condition=Q(answer="")),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}?{self.number} {self.subject} {self.answer}"


class Rollup(models.Model):
    """Finished trials by role, label and hour since launch; every chart and counter is a sum over these rows."""

    campaign = models.ForeignKey("trials.Campaign", on_delete=models.PROTECT, related_name="rollups", db_index=False)
    hour = models.PositiveIntegerField()
    role = models.CharField(max_length=60)
    label = models.CharField(max_length=24, choices=choices(Label))
    trials = models.PositiveIntegerField(default=0)
    queue_seconds = models.FloatField(default=0.0)
    run_seconds = models.FloatField(default=0.0)
    eval_seconds = models.FloatField(default=0.0)
    log_seconds = models.FloatField(default=0.0)

    objects = RollupQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "hour", "role", "label"], name="rollup_cell_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} h{self.hour} {self.role} {self.label}: {self.trials}"


class FrontierStep(models.Model):
    """One improvement of the best score. Rows are in the order of recording, which is not always that of the numbers:
    confirmations take their time."""

    campaign = models.ForeignKey("trials.Campaign", on_delete=models.PROTECT, related_name="frontier", db_index=False)
    trial = models.OneToOneField("trials.Trial", on_delete=models.PROTECT, related_name="frontier_step")
    number = models.IntegerField()
    score = models.FloatField()
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["campaign", "id"]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["campaign", "id"], name="frontier_in_order")]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.number} {self.score}"
