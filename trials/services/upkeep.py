"""After a migration: sums of campaigns that were recorded before there were such sums."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig
from django.db import connection
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from trials.models import Trial
from trials.services import tallies
from trials.tally_models import FrontPoint


@receiver(post_migrate)
def make_missing(sender: AppConfig, **kwargs: Any) -> None:
    """Once per campaign; says so, since it reads every trial."""
    if sender.label != Trial._meta.app_label:
        return
    if FrontPoint._meta.db_table not in connection.introspection.table_names():  # migrated to an earlier state
        return
    for campaign in tallies.missing():

        def say(done: int, slug: str = campaign.slug) -> None:
            sys.stderr.write(f"sums of {slug}: {done} trials\n")

        tallies.rebuild(campaign.pk, say)
