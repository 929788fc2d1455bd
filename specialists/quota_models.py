"""What one person may use. No part of any record."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models


class Quota(models.Model):
    """Limits of one person in place of the site's defaults (``QUOTA_*``). Empty: no limit.

    Use is counted over all campaigns that the person has launched here.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="quota")
    campaigns = models.PositiveIntegerField(null=True, blank=True, help_text="Live campaigns at once; empty: no limit.")
    device_hours = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.0)], help_text="Hours of devices; empty: no limit."
    )
    usd = models.FloatField(
        "US dollars",
        null=True,
        blank=True,
        validators=[MinValueValidator(0.0)],
        help_text="For language models; empty: no limit.",
    )

    def __str__(self) -> str:
        return f"quota of {self.user}"
