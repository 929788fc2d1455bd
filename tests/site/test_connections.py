"""A worker keeps its connection to the database from task to task, and replaces one that was lost."""

from __future__ import annotations

import threading

import pytest
from celery.fixups.django import DjangoWorkerFixup
from celery.signals import task_postrun, task_prerun
from django.db import connection

from autoresearch_site.celery import app
from trials.models import Campaign


def between_tasks() -> None:
    """What Celery does around a task of a worker."""
    fixup = DjangoWorkerFixup(app)
    fixup.close_database()
    task_prerun.send(sender=None, task_id="between")
    task_postrun.send(sender=None, task_id="between")
    fixup.close_database()


def kill(backend: int) -> None:
    def run() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 30000)", [backend])
            assert cursor.fetchone() == (True,)
        connection.close()

    other = threading.Thread(target=run)
    other.start()
    other.join()


@pytest.mark.django_db(transaction=True)
def test_a_connection_serves_many_tasks_unasked_and_a_lost_one_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    backend = connection.connection.info.backend_pid
    with monkeypatch.context() as patch:
        patch.setattr(connection, "is_usable", lambda: pytest.fail("asked whether it is there"))
        for _ in range(3):
            between_tasks()
            assert Campaign.objects.count() == 0
    assert connection.connection.info.backend_pid == backend
    kill(backend)
    between_tasks()
    assert Campaign.objects.count() == 0
    assert connection.connection.info.backend_pid != backend
