"""Sums of a campaign that pages read, kept where a trial is recorded. Bounded at any length; no part of the record.

Time and trial numbers are cut into at most ``trials.tallies.MOST`` stretches, which double in width when a search
outgrows them. ``trials.services.tallies`` writes these tables and can make them anew from the trials.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from trials.fields import choices
from trials.sketch import FAILURE_LENGTH
from trials.vocab import Label


class TallyScale(models.Model):
    """How wide the stretches of a campaign are, as powers of two of what ``trials.tallies`` names.

    origin, unit: scores are counted by floor((score - origin) / unit); None before there is one.
    """

    campaign = models.OneToOneField("trials.Campaign", models.PROTECT, primary_key=True, related_name="tally_scale")
    time_power = models.PositiveSmallIntegerField(default=0)
    trial_power = models.PositiveSmallIntegerField(default=0)
    origin = models.FloatField(null=True)
    unit = models.FloatField(null=True)

    def __str__(self) -> str:
        return f"{self.campaign_id}: 2^{self.time_power} of time, 2^{self.trial_power} trials"


class Tally(models.Model):
    """Finished trials by stretch of time, role and standing. bin -1: the whole search; role empty: all roles."""

    campaign = models.ForeignKey("trials.Campaign", models.PROTECT, related_name="tallies", db_index=False)
    role = models.CharField(max_length=60, blank=True)
    bin = models.IntegerField()
    label = models.CharField(max_length=24, choices=choices(Label))
    trials = models.BigIntegerField()
    queue_ms = models.BigIntegerField()
    run_ms = models.BigIntegerField()
    eval_ms = models.BigIntegerField()
    log_ms = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "role", "bin", "label"], name="tally_cell_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.role} {self.bin} {self.label}: {self.trials}"


class ScoreColumn(models.Model):
    """How many scores of a stretch (axis ``trial`` or ``time``) lie on each level: {level: count}."""

    campaign = models.ForeignKey("trials.Campaign", models.PROTECT, related_name="score_columns", db_index=False)
    axis = models.CharField(max_length=5)
    bin = models.IntegerField()
    counts = models.JSONField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "axis", "bin"], name="score_column_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.axis} {self.bin}"


class ReasonTally(models.Model):
    """Failures of one kind (``Trial.failure``): how many, and the newest of them."""

    campaign = models.ForeignKey("trials.Campaign", models.PROTECT, related_name="reason_tallies", db_index=False)
    label = models.CharField(max_length=24, choices=choices(Label))
    failure = models.CharField(max_length=FAILURE_LENGTH)
    trials = models.BigIntegerField()
    newest = models.IntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "failure"], name="reason_tally_unique"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign", "-trials", "failure"], name="reason_by_count"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.failure}: {self.trials}"


class Miss(models.Model):
    """By how much a trial missed a boundary: ``over`` in ``unit``, and as a share of the limit."""

    trial = models.OneToOneField("trials.Trial", models.PROTECT, primary_key=True, related_name="miss")
    campaign = models.ForeignKey("trials.Campaign", models.PROTECT, related_name="misses", db_index=False)
    label = models.CharField(max_length=24, choices=choices(Label))
    number = models.IntegerField()
    unit = models.CharField(max_length=12)
    over = models.FloatField()
    share = models.FloatField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign", "share", "number"], name="miss_nearest"),
            models.Index(fields=["campaign", "label", "share", "number"], name="miss_nearest_by_label"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}/{self.number} {self.over} {self.unit} over"


class MissTally(models.Model):
    """Misses of a label by size: ``level`` is the half power of ten of the share."""

    campaign = models.ForeignKey("trials.Campaign", models.PROTECT, related_name="miss_tallies", db_index=False)
    label = models.CharField(max_length=24, choices=choices(Label))
    level = models.SmallIntegerField()
    trials = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "label", "level"], name="miss_tally_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.label} {self.level}: {self.trials}"


class ParentTally(models.Model):
    """Finished trials of a role that were built on a trial of another, or of its own: how many, and how many keeps."""

    campaign = models.ForeignKey("trials.Campaign", models.PROTECT, related_name="parent_tallies", db_index=False)
    role = models.CharField(max_length=60)
    parent_role = models.CharField(max_length=60)
    trials = models.BigIntegerField()
    keeps = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "role", "parent_role"], name="parent_tally_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.role} on {self.parent_role}: {self.trials}"


class FrontPoint(models.Model):
    """A trial that no other beats in score and in ``axis`` (``bytes`` of the artifact, ``seconds`` of run and eval,
    ``usd`` that the session of its proposal paid)."""

    campaign = models.ForeignKey("trials.Campaign", models.PROTECT, related_name="front_points", db_index=False)
    trial = models.ForeignKey("trials.Trial", models.PROTECT, related_name="+")
    axis = models.CharField(max_length=8)
    number = models.IntegerField()
    x = models.FloatField()
    score = models.FloatField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "axis", "number"], name="front_point_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}/{self.number} {self.axis} {self.x} {self.score}"
