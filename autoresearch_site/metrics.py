"""``/metrics``: figures of the site for Prometheus. Names and units are listed in docs/operating.md.

Read by a program that brings METRICS_TOKEN or comes from METRICS_NETWORKS, and by people who see every campaign.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import kombu.exceptions
from celery import current_app
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from specialists.operations import figures
from specialists.operations.figures import CampaignFigures, SiteFigures
from specialists.operations.ticking import tick_age
from trials.access import sees_every_campaign
from trials.vocab import CampaignState

QUEUES = ("default", "agents", "agents.models")
CONNECT_SECONDS = 2


def may_read(request: HttpRequest) -> bool:
    """Token, network, or a person who sees every campaign."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = settings.METRICS_TOKEN
    if token and scheme == "Bearer" and secrets.compare_digest(given.encode(), token.encode()):
        return True
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        address = None
    if address is not None and any(address in network for network in settings.METRICS_NETWORKS):
        return True
    return sees_every_campaign(request.user)


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The text format of Prometheus."""
    if not may_read(request):
        why = "expected METRICS_TOKEN as a bearer token, an address of METRICS_NETWORKS, or an admin's log-in\n"
        return HttpResponse(why, status=403, content_type="text/plain")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SiteCollector(figures.read()))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def waiting_messages(queues: Iterable[str]) -> dict[str, int]:
    """Messages in the named queues of the broker, 0 where nobody has made one; empty when the broker is away."""
    found: dict[str, int] = {}
    try:
        with current_app.connection_for_read(connect_timeout=CONNECT_SECONDS) as link:
            link.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_SECONDS)
            for queue in queues:
                channel: Any = link.channel()
                with channel:  # of its own: AMQP closes it when there is no such queue
                    try:
                        found[queue] = channel.queue_declare(queue=queue, passive=True).message_count
                    except link.channel_errors:
                        found[queue] = 0
    except (kombu.exceptions.OperationalError, OSError):
        return {}
    return found


class SiteCollector(Collector):
    """Turns figures into metric families."""

    def __init__(self, found: SiteFigures) -> None:
        self.found = found

    def collect(self) -> Iterator[Metric]:
        yield from _of_orders(self.found)
        yield from _of_workers(self.found)
        yield from _of_site(self.found)
        yield from _of_campaigns(self.found.campaigns)


def _gauge(name: str, told: str, labels: Iterable[str], rows: Iterable[tuple[Iterable[str], float]]) -> Metric:
    family = GaugeMetricFamily(f"autoresearch_{name}", told, labels=list(labels))
    for values, value in rows:
        family.add_metric(list(values), value)
    return family


def _counter(name: str, told: str, labels: Iterable[str], rows: Iterable[tuple[Iterable[str], float]]) -> Metric:
    family = CounterMetricFamily(f"autoresearch_{name}", told, labels=list(labels))
    for values, value in rows:
        family.add_metric(list(values), value)
    return family


def _of_orders(found: SiteFigures) -> Iterator[Metric]:
    by, orders = ("device", "state"), found.orders
    yield _gauge("work_orders", "Work orders that wait, run, or wait for the judge.", by,
                 (((one.device, one.state), one.count) for one in orders))  # fmt: skip
    yield _gauge("work_order_age_seconds", "How long the oldest of them has waited or run.", by,
                 (((one.device, one.state), one.age) for one in orders))  # fmt: skip
    running = [one for one in orders if one.state == "running"]
    yield _gauge("lease_overdue_seconds", "For how long the lease that ran out first was not renewed.", ("device",),
                 (((one.device,), one.overdue) for one in running))  # fmt: skip
    yield _gauge("workers_busy", "Evaluator processes that hold a work order.", ("device",),
                 (((one.device,), one.workers) for one in running))  # fmt: skip
    kinds = sorted({one.device for one in orders} | {one.device for one in found.devices})
    waiting = waiting_messages([*QUEUES, *(f"evaluators.{kind}" for kind in kinds)])
    yield _gauge("broker_messages", "Messages in a queue of the broker.", ("queue",),
                 (((queue,), count) for queue, count in waiting.items()))  # fmt: skip


def _of_workers(found: SiteFigures) -> Iterator[Metric]:
    by = ("device", "level")
    yield _gauge("workers", "Evaluator processes heard of in the last 20 s.", by,
                 (((one.device, one.level), one.workers) for one in found.devices))  # fmt: skip
    yield _gauge("worker_devices", "Devices that they may use.", by,
                 (((one.device, one.level), one.devices) for one in found.devices))  # fmt: skip
    sessions = [((one.proposer, state), float(count)) for one in found.sessions
                for state, count in (("working", one.working), ("waiting", one.waiting))]  # fmt: skip
    yield _gauge("sessions", "Open agent sessions.", ("proposer", "state"), sessions)
    yield _gauge("session_age_seconds", "Age of the oldest open session.", ("proposer",),
                 (((one.proposer,), one.age) for one in found.sessions))  # fmt: skip


def _of_site(found: SiteFigures) -> Iterator[Metric]:
    states = {str(state): 0 for state in CampaignState} | found.states
    yield _gauge("campaigns", "Campaigns by state.", ("state",), (((state,), n) for state, n in states.items()))
    yield _gauge("trials", "Trials of all campaigns.", (), [((), found.trials)])
    yield _gauge("events", "Length of the chains of events of all campaigns.", (), [((), found.events)])
    age = tick_age()
    yield _gauge("tick_age_seconds", "Since the periodic tick ran.", (), [] if age is None else [((), age)])
    yield _gauge("site_events", "Length of the site's own chain of events.", (), [((), found.site_events)])


def _of_campaigns(rows: list[CampaignFigures]) -> Iterator[Metric]:
    by = ("campaign",)
    yield _gauge("campaign_running", "1 while the campaign runs, else 0.", by,
                 (((one.slug,), float(one.state == CampaignState.RUNNING)) for one in rows))  # fmt: skip
    yield _counter("campaign_trials", "Trials.", by, (((one.slug,), one.trials) for one in rows))
    yield _counter("campaign_keeps", "Keeps.", by, (((one.slug,), one.keeps) for one in rows))
    yield _counter("campaign_events", "Length of the chain of events.", by, (((one.slug,), one.events) for one in rows))
    yield _gauge("campaign_trials_per_hour", "Outcomes an hour, over the last hour at least.", by,
                 (((one.slug,), one.per_hour) for one in rows))  # fmt: skip
    yield _gauge("campaign_standings", "Trials by what they count as now.", (*by, "label"),
                 (((one.slug, label), n) for one in rows for label, n in one.labels.items()))  # fmt: skip
    yield _gauge("campaign_aborts_in_a_row", "Infrastructure failures since the last outcome.", by,
                 (((one.slug,), one.aborts_in_a_row) for one in rows))  # fmt: skip
    yield _gauge("campaign_best_score", "Score of the best.", by,
                 (((one.slug,), one.best_score) for one in rows if one.best_score is not None))  # fmt: skip
    yield _counter("campaign_device_seconds", "Wall clock of measurements times the devices each holds.",
                   (*by, "device"), (((one.slug, one.device), one.device_seconds) for one in rows))  # fmt: skip
    models = [one for one in rows if one.requests]
    yield _counter("campaign_model_usd", "Cost of language models, US dollars.", by,
                   (((one.slug,), one.usd) for one in models))  # fmt: skip
    yield _counter("campaign_model_tokens", "Tokens in and out.", by, (((one.slug,), one.tokens) for one in models))
    yield _counter("campaign_model_requests", "Requests.", by, (((one.slug,), one.requests) for one in models))
    yield _gauge("campaign_sessions_failed_in_a_row", "Sessions in a row that failed.", by,
                 (((one.slug,), one.failures) for one in models))  # fmt: skip
