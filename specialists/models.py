"""Agent sessions: every attempt to make a proposal is on record, whether a trial came of it or not."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from specialists.quota_models import Quota as Quota  # noqa: PLC0414 - a model of this app
from specialists.rosters import Role, Roster
from specialists.study_models import Study as Study  # noqa: PLC0414 - a model of this app
from specialists.study_models import StudyCampaign as StudyCampaign  # noqa: PLC0414
from specialists.study_models import StudyReport as StudyReport  # noqa: PLC0414
from specialists.vocab import Fault, SessionState
from trials.fields import choices
from trials.models import Blob, Campaign, Trial


class Session(models.Model):
    """One agent at work. ``number`` counts the sessions of a campaign; ``up_to`` is the highest trial it may see.

    worker: who holds the lease, empty while its message waits. reserved_*: what a request under way may use at most.
    transcript: JSON, for agents that work in steps; with a language model the manifest of its requests' bodies.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="sessions", db_index=False)
    number = models.PositiveIntegerField()
    role = models.CharField(max_length=60)
    state = models.CharField(max_length=10, choices=choices(SessionState), default=SessionState.RUNNING.value)
    up_to = models.IntegerField(null=True, blank=True)
    seed = models.BigIntegerField()
    lineage_view = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    trial = models.OneToOneField(Trial, null=True, on_delete=models.PROTECT, related_name="session")
    note = models.TextField(blank=True)
    fault = models.CharField(max_length=10, choices=choices(Fault), blank=True)
    worker = models.CharField(max_length=120, blank=True)
    transcript = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+")
    reserved_tokens = models.BigIntegerField(default=0)
    reserved_usd = models.DecimalField(max_digits=20, decimal_places=12, default=0)
    started_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["campaign", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "number"], name="session_number_unique"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign", "role"], name="session_open", condition=models.Q(state="running")),
            models.Index(fields=["campaign", "role", "-number"], name="session_by_role"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}/s{self.number} {self.role}"


class Call(models.Model):
    """One request of a session to a language model, failed ones included.

    Tokens as the provider counted them (``input_tokens`` includes cached ones); cost in US dollars, null where no price
    is known. ``body``: what the request added to the conversation and what came back, as JSON.
    """

    session = models.ForeignKey(Session, on_delete=models.PROTECT, related_name="calls")
    number = models.PositiveIntegerField()
    model = models.CharField(max_length=120)
    started_at = models.DateTimeField()
    seconds = models.FloatField()
    input_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=20, decimal_places=12, null=True)
    error = models.TextField(blank=True)
    body = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering: ClassVar[list[str]] = ["session", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["session", "number"], name="call_number_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.session} call {self.number}"


class Account(models.Model):
    """What a role of a campaign, or with an empty role the campaign, has used of language models so far.

    Kept in the transaction that writes a call, so that a budget is checked at the same cost however long the search.
    failures, provider_failures: sessions in a row that failed (campaign only); unpriced: requests without a price.
    closed: why a budget has no room for another request, empty while it has.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="accounts")
    role = models.CharField(max_length=60, blank=True)
    requests = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=20, decimal_places=12, default=0)
    unpriced = models.BigIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    provider_failures = models.PositiveIntegerField(default=0)
    closed = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "role"], name="account_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.role or 'all'}: {self.cost}"


class StoredRoster(models.Model):
    """A roster that somebody made here. Campaigns keep a copy of their own, so that a change meets later ones only."""

    name = models.CharField(
        max_length=60, unique=True, help_text="As in --roster NAME: small letters, digits, hyphens."
    )
    title = models.CharField(max_length=120)
    environment = models.CharField(max_length=60)
    shared = models.BooleanField(default=False, help_text="Roles may own the same files, as generalists do.")
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL)

    class Meta:
        ordering: ClassVar[list[str]] = ["environment", "name"]
        verbose_name = "roster"

    def __str__(self) -> str:
        return self.name

    def as_roster(self) -> Roster:
        """The value that a launch uses."""
        roles = tuple(role.as_role() for role in self.roles.all())
        return Roster(self.name, self.title, self.environment, roles, self.shared)


class StoredRole(models.Model):
    """A role of such a roster. ``surface``: names of files."""

    roster = models.ForeignKey(StoredRoster, on_delete=models.CASCADE, related_name="roles")
    name = models.CharField(max_length=60, help_text="Small letters, digits, underscores.")
    surface = models.JSONField(default=list, help_text="Files that it may change, separated by commas.")
    preamble = models.TextField(max_length=2000, help_text="What the role is for.")
    priors = models.TextField(max_length=4000, blank=True, help_text="What its agent should know beforehand.")

    class Meta:
        ordering: ClassVar[list[str]] = ["id"]
        verbose_name = "role"

    def __str__(self) -> str:
        return self.name

    def as_role(self) -> Role:
        return Role(self.name, tuple(self.surface), self.preamble, self.priors)
