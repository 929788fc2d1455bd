"""The Celery application.

Queues: ``agents`` (sessions), ``evaluators.<device>`` (measurements), ``default`` (judging, recording, the tick).
"""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_process_init

from autoresearch_site.process import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")

app = Celery("autoresearch_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect
def _pool_process_started(**_: object) -> None:
    """A killed worker takes its pool along: no orphan goes on measuring."""
    die_with_parent()
