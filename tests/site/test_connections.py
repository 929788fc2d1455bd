"""A worker keeps its connection to the database from task to task, and replaces one that was lost."""

from __future__ import annotations

import threading

import pytest
from celery.fixups.django import DjangoWorkerFixup
from celery.signals import task_postrun, task_prerun
from django.db import connection

from autoresearch_site.celery import _statements_go_by_index, app
from trials import statements
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


@pytest.mark.django_db(transaction=True)
def test_statements_of_a_worker_go_by_index_however_small_a_table_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan() -> str:
        connection.close()  # what a connection asks for it asks at its start
        found = statements.rows("EXPLAIN SELECT * FROM trials_evaluation WHERE id = 1 AND state = 'queued'", [])
        return "\n".join(line for [line] in found)

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE trials_evaluation")
    given = connection.settings_dict["OPTIONS"]
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", dict(given))
    for _ in range(2):
        _statements_go_by_index()
    assert "Index Scan" in plan()
    assert connection.settings_dict["OPTIONS"]["options"].count("enable_seqscan") == 1
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", given | {"options": "-c work_mem=4MB"})
    _statements_go_by_index()
    assert connection.settings_dict["OPTIONS"]["options"] == "-c work_mem=4MB"
    connection.close()
