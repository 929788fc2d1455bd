"""Is this process alive, and can it serve? Two addresses for probes, answered before anything else looks at a request.

``/healthz`` says that the process answers; it asks nobody. ``/readyz`` asks what a page needs: database, migrations,
broker, and whether the database holds the events that were committed. Probes come to a bare address and without TLS, so
neither host names nor redirects apply; the answer names the checks and nothing else, the log has the reasons.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable
from functools import cache
from inspect import iscoroutinefunction

import redis
from asgiref.sync import sync_to_async
from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from trials.services import restores

logger = logging.getLogger(__name__)
ALIVE, READY = "/healthz", "/readyz"
CONNECT_SECONDS = 2
KEPT_SECONDS = 1.0  # however many ask
NEWEST_NOTES = 5
Answer = tuple[int, dict[str, str]]


class NotReady(RuntimeError):
    """What is missing, for the log."""


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@cache
def _last_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _migrations() -> None:
    missing = _last_migrations() - MigrationRecorder(connection).applied_migrations().keys()
    if missing:
        raise NotReady(f"migrations are missing: {', '.join('.'.join(each) for each in sorted(missing))}")


def _broker() -> None:
    with current_app.connection_for_write(connect_timeout=CONNECT_SECONDS) as link:
        link.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_SECONDS)
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS
    ) as client:
        client.ping()


def _record() -> None:
    found = restores.losses(NEWEST_NOTES)
    if found:
        raise NotReady(f"the record is older than what was committed: {found[0]}")


CHECKS: dict[str, Callable[[], None]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "record": _record,
}
_lock = threading.Lock()
_latest: list[tuple[float, Answer]] = []


def ready() -> Answer:
    """Status and what each check says; 503 where one fails. Asked anew at most once in KEPT_SECONDS."""
    with _lock:
        if _latest and time.monotonic() - _latest[0][0] < KEPT_SECONDS:
            return _latest[0][1]
        answer = _ask()
        _latest[:] = [(time.monotonic(), answer)]
    return answer


def _ask() -> Answer:
    found: dict[str, str] = {}
    for name, check in CHECKS.items():
        if name in {"migrations", "record"} and found["database"] != "ok":
            found[name] = "unknown"
            continue
        try:
            check()
        except Exception as error:  # whatever it is: this process cannot serve
            logger.warning("not ready, %s: %s: %s", name, type(error).__name__, error)
            found[name] = "failed"
        else:
            found[name] = "ok"
    return (200 if set(found.values()) == {"ok"} else 503), found


def _answered(status: int, body: dict[str, str]) -> HttpResponse:
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})


def _checked() -> HttpResponse:
    status, found = ready()
    return _answered(status, {"status": "ready" if status == 200 else "not ready", **found})


@sync_and_async_middleware
def probes(get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> object:
    """The outermost middleware: the two addresses, and for all others whatever comes next."""
    if iscoroutinefunction(get_response):

        async def answer_later(request: HttpRequest) -> HttpResponseBase:
            if request.path == ALIVE:
                return _answered(200, {"status": "alive"})
            if request.path == READY:
                return await sync_to_async(_checked)()
            found: HttpResponseBase = await get_response(request)
            return found

        return answer_later

    def answer(request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if request.path == ALIVE:
            return _answered(200, {"status": "alive"})
        return _checked() if request.path == READY else get_response(request)

    return answer
