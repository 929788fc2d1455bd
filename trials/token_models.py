"""Tokens of programs that read or steer the site in a person's name. No part of a campaign's record."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from trials.fields import HASH_LENGTH
from trials.vocab import Scope


class TokenQuerySet(models.QuerySet[Any]):
    def usable(self) -> TokenQuerySet:
        """Neither revoked nor past their day, of people who may log in."""
        alive = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=timezone.now())
        return self.filter(alive, revoked_at__isnull=True, user__is_active=True)


class ApiToken(models.Model):
    """The site keeps a token's SHA-256 only: 256 random bits need no slow hash. ``shown``: its first characters."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=60)
    scopes = models.JSONField()
    sha256 = models.CharField(max_length=HASH_LENGTH, unique=True)
    shown = models.CharField(max_length=12)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["-pk"]

    def __str__(self) -> str:
        return f"token {self.pk}"

    def allows(self, scope: Scope) -> bool:
        """Whether it was made for this; what its owner may do is another question."""
        return str(scope) in self.scopes

    @property
    def state(self) -> str:
        """``revoked``, ``expired`` or ``usable``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "usable"
