"""What goes to browsers after a commit. The socket is a poke: the database stays the truth, so a failure here is logged
and swallowed. Messages of one campaign go to the group ``campaign.<slug>``."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from concurrent.futures import Future
from typing import Any

from channels.layers import get_channel_layer

from trials.models import Campaign, Confirmation, Event, Trial
from trials.standing import waiting_for, why
from trials.telling import told

logger = logging.getLogger(__name__)
SEND_SECONDS = 2.0
TAIL_LENGTH = 2_000
RECHECK: dict[str, Any] = {"type": "recheck"}
"""Not for browsers: sockets ask once more whether their user may see the campaign."""

_starting = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a forked worker needs a thread of its own


def group_name(slug: str) -> str:
    return f"campaign.{slug}"


def trial_row(trial: Trial) -> dict[str, Any]:
    """Plain values of one row of the trial table; times are ISO 8601 UTC, seconds are floats."""
    return {
        "number": trial.number,
        "role": trial.role,
        "state": trial.state,
        "label": trial.standing,
        "reason": why(trial),
        "score": trial.score,
        "delta_vs_best": trial.delta_vs_best,
        "delta_vs_parent": trial.delta_vs_parent,
        "artifact_bytes": trial.artifact_bytes,
        "hypothesis": trial.hypothesis,
        "parent": None if trial.parent is None else trial.parent.number,
        "isolation_level": trial.isolation_level,
        "submitted_at": trial.submitted_at.isoformat(),
        "finished_at": None if trial.finished_at is None else trial.finished_at.isoformat(),
        "queue_seconds": trial.queue_seconds,
        "run_seconds": trial.run_seconds,
        "eval_seconds": trial.eval_seconds,
        "log_seconds": trial.log_seconds,
    }


def campaign_head(campaign: Campaign) -> dict[str, Any]:
    """The counters of a campaign page."""
    return {
        "state": campaign.state,
        "state_reason": campaign.state_reason,
        "seq": campaign.last_seq,
        "trials": campaign.trial_count,
        "max_trials": campaign.max_trials,
        "keeps": campaign.keep_count,
        "start_score": campaign.start_score,
        "best_score": campaign.best_score,
        "improvement": campaign.improvement,
        "noise_sd": campaign.noise_sd,
        "confirming": Confirmation.objects.undecided(campaign.pk).count() if campaign.noise_sd is not None else 0,
        "waiting": waiting_for(campaign),
    }


def event_message(event: Event, trial: Trial | None) -> dict[str, Any]:
    """One event as browsers get it, from a push and from a catch-up alike: the row is as it is in the database now."""
    return {
        "type": "event",
        "seq": event.seq,
        "kind": event.kind,
        "at": event.at.isoformat(),
        "actor": event.actor,
        "told": told(event, trial),
        "trial": None if trial is None else trial_row(trial),
    }


def publish_event(campaign: Campaign, event: Event, trial: Trial | None) -> None:
    """Push a committed event together with the campaign's counters."""
    push(group_name(campaign.slug), event_message(event, trial) | {"campaign": campaign_head(campaign)})


def publish_progress(slug: str, number: int, phase: str, progress: float | None, tail: str = "") -> None:
    """Push how far a running trial is and the end of its log, or why one waits; carries no sequence number: nothing is
    lost when it is."""
    shown = None if progress is None else round(progress, 3)
    printed = {"tail": tail[-TAIL_LENGTH:]} if tail else {}
    push(group_name(slug), {"type": "progress", "trial": number, "phase": phase, "progress": shown, **printed})


def publish_restriction(slug: str) -> None:
    """Let every open tab of a campaign show again that it may look."""
    push(group_name(slug), RECHECK)


def push(group: str, message: dict[str, Any]) -> None:
    """Send to every socket of a group. Never raises: what is lost is found by the next look at the database."""
    try:
        layer = get_channel_layer()
        if layer is None:
            raise RuntimeError("no channel layer is configured")
        coroutine = layer.group_send(group, {"type": "campaign.message", "message": message})
        sent: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, _sender_loop())
        sent.result(SEND_SECONDS)
    except Exception:
        logger.exception("live message of %s was not sent", group)


def _sender_loop() -> asyncio.AbstractEventLoop:
    """One loop in one thread per process: ten times cheaper than a new loop for every message."""
    with _starting:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="live-sender", daemon=True).start()
        return loop
