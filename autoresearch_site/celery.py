"""The Celery application.

Queues: ``agents`` (sessions of the catalogue), ``agents.models`` (sessions of agents that work for minutes),
``evaluators.<device>`` (measurements), ``default`` (judging, recording, the tick).
"""

from __future__ import annotations

import gc
import logging
import logging.config
import os
import select
import time
from importlib import import_module
from typing import Any

from celery import Celery
from celery.signals import (
    beat_init,
    celeryd_after_setup,
    celeryd_init,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
)
from django.conf import settings
from django.db import close_old_connections, connection

from autoresearch_site.process import die_with_parent
from autoresearch_site.record import stop_unless_whole
from autoresearch_site.surviving import install
from trials import logcontext

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")

install()
app = Celery("autoresearch_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


logger = logging.getLogger(__name__)
EVALUATORS, MODELS = "evaluators.", "agents.models"
COLLECT_AFTER = (10_000, 10, 10)
"""Objects until Python looks for unreachable cycles: at its default of 700 that is a tenth of a session's CPU."""
BY_INDEX = " -c enable_seqscan=off -c jit=off"
_device_kinds: list[str] = []
_announcers: list[Any] = []


@celeryd_init.connect
def _lines_have_their_format(**_: object) -> None:
    """Before Django is set up: what Celery warns of at its start is a line like all others."""
    if settings.LOG_FORMAT == "json":
        logging.captureWarnings(True)
        logging.config.dictConfig(settings.LOGGING)


@task_prerun.connect
def _lines_are_about_the_task(task_id: str, **_: object) -> None:
    logcontext.begin(task=task_id)


@task_postrun.connect
def _lines_are_about_nothing(**_: object) -> None:
    logcontext.begin()


@worker_init.connect
@beat_init.connect
def _record_is_whole(**_: object) -> None:
    """No trial starts on a record that lost events."""
    stop_unless_whole()


@celeryd_after_setup.connect
def _queues_are_known(instance: Any, **_: object) -> None:
    """The pool's processes inherit what this worker measures on, and the clients of models, which take each of them
    seconds and a hundred megabytes otherwise."""
    queues = instance.app.amqp.queues.consume_from
    _device_kinds[:] = [name[len(EVALUATORS) :] for name in queues if EVALUATORS in name]
    if MODELS in queues and os.environ.get("LLM_PROVIDER"):
        import_module("specialists.proposers.registry").get_proposer("llm")
    gc.collect()
    gc.freeze()  # what is loaded by now stays: the pool shares it, and no process looks through it again


@task_prerun.connect
def _connection_serves(**_: object) -> None:
    """Tasks share their process's connection: a new one costs the database more than most tasks. One that was lost
    or is old is replaced, as between two requests to the site, but without asking one that has not hung up."""
    if not _silent():
        close_old_connections()


def _silent() -> bool:
    """Whether the connection is young, without a fault, and has said nothing: a database that goes away says so."""
    raw, ends = connection.connection, connection.close_at
    if raw is None or connection.errors_occurred or (ends is not None and time.monotonic() >= ends):
        return False
    ready = select.poll()
    ready.register(raw.fileno(), select.POLLIN | select.POLLPRI)
    return not ready.poll(0)


@worker_process_init.connect
def _pool_process_started(**_: object) -> None:
    """A killed worker takes its pool along: no orphan goes on measuring. What killed processes left behind goes."""
    die_with_parent()
    gc.set_threshold(*COLLECT_AFTER)
    if swept := import_module("evaluators.sandbox.leftovers").sweep():
        logger.warning("%s temporary folders of processes that were killed are taken away", swept)
    for kind in _device_kinds:
        announcer = import_module("evaluators.announce").Announcer(kind)  # needs the models, which are loaded by now
        announcer.start()
        _announcers.append(announcer)


@worker_process_init.connect
def _statements_go_by_index(**_: object) -> None:
    """A worker asks the same few statements all the time. One that was planned when tables were tiny would read all of
    them for as long as that plan is kept. What has to read a table counts as dear then: no reason to compile it."""
    options = connection.settings_dict["OPTIONS"]
    if "plan_cache_mode" in options["options"] and BY_INDEX not in options["options"]:
        options["options"] += BY_INDEX


@worker_process_shutdown.connect
def _pool_process_ends(**_: object) -> None:
    for announcer in _announcers:
        announcer.stop()
