"""Studies: campaigns that differ in one thing, repeated with different seeds, and the report that compares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.urls import reverse

from specialists.vocab import StudyState
from trials.fields import HASH_LENGTH, choices
from trials.models import Campaign


class Study(models.Model):
    """What was decided before the first campaign: arms, repeats, budget and test.

    plan: JSON of ``specialists.studies.plan.StudyPlan`` (settings of every arm as launched, measure and test);
    plan_sha256: of its canonical form, in the site's chain too. parallel: campaigns at once. attempts: how often the
    study was set going; a place whose campaign was stopped or failed gets another one in the next. changes: of this
    row and its members.
    """

    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=120)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField()
    plan = models.JSONField()
    plan_sha256 = models.CharField(max_length=HASH_LENGTH)
    parallel = models.PositiveSmallIntegerField(default=1)
    attempts = models.PositiveSmallIntegerField(default=1)
    changes = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=choices(StudyState), default=StudyState.RUNNING.value)
    state_reason = models.CharField(max_length=300, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        verbose_name_plural = "studies"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("specialists:study", args=[self.slug])

    @property
    def arms(self) -> list[Mapping[str, Any]]:
        """Name and settings of each arm, in the order of the plan."""
        return list(self.plan["arms"])

    @property
    def campaigns_wanted(self) -> int:
        return len(self.plan["arms"]) * int(self.plan["repeats"])


class StudyCampaign(models.Model):
    """A campaign's place in a study. One that was stopped or failed stays, and a later ``attempt`` takes its place."""

    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="members")
    campaign = models.OneToOneField(Campaign, on_delete=models.PROTECT, related_name="study_member")
    arm = models.CharField(max_length=80)
    repeat = models.PositiveSmallIntegerField()
    attempt = models.PositiveSmallIntegerField(default=1)

    part_of_record: ClassVar[bool] = False  # of the study's, whose plan is in the site's chain

    class Meta:
        ordering: ClassVar[list[str]] = ["study", "repeat", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["study", "arm", "repeat", "attempt"], name="study_place_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.study_id} {self.arm} {self.repeat}"


class StudyReport(models.Model):
    """The newest report of a study. Not part of the record: it can be computed again at any time.

    seq, version: the study's event count (``specialists.studies.standing.seq_of``) and the definitions of ``body``.
    """

    study = models.OneToOneField(Study, primary_key=True, on_delete=models.CASCADE, related_name="stored_report")
    seq = models.BigIntegerField(default=0)
    version = models.PositiveIntegerField(default=0)
    body = models.JSONField(default=dict)
    computed_at = models.DateTimeField(null=True, blank=True)
    requested_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"report of {self.study_id} at event {self.seq}"
