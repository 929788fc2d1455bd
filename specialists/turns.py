"""Whose session is next: campaigns share the workers of a queue of agents by weight, one session at a time.

As evaluators are shared (``trials.services.shares``), but counted in sessions: how long one takes is known to nobody
before its end, and a worker that waits for a model costs little. Sessions that nobody else waited for are not counted.
"""

from __future__ import annotations

from django.db import transaction

from specialists import sessions
from specialists.dispatch import AGENTS_QUEUE, queue_of
from specialists.models import Session
from specialists.vocab import REPEATABLE, SessionState
from trials.models import Campaign
from trials.services import shares
from trials.statements import one_of, rows

# The oldest session of each campaign that waits for the same workers.
_WAITING = f"""
SELECT waits.campaign_id, min(waits.id) FROM specialists_session AS waits
  JOIN trials_campaign AS its ON its.id = waits.campaign_id
 WHERE waits.state = '{SessionState.RUNNING}' AND waits.worker = ''
   AND (its.proposer IN {one_of(REPEATABLE)}) = %(repeatable)s AND NOT EXISTS (SELECT FROM trials_maintenance)
 GROUP BY waits.campaign_id
"""  # noqa: S608 - words of this program


def claim(ticket: int) -> Session | None:
    """Take the session whose turn it is under a lease, of those that wait where the session ``ticket`` did; None when
    none waits, or nothing is begun now."""
    alone = sessions.claim(ticket, before_others=False)
    if alone is not None:
        return alone
    proposer = Campaign.objects.filter(sessions=ticket).values_list("proposer", flat=True).first()
    if proposer is None:
        return None
    queue = queue_of(proposer)
    while chances := waiting(queue):
        session = _take(chances[0], queue)
        if session is not None:
            return session
    return None


def waiting(queue: str) -> list[shares.Chance]:
    """The oldest waiting session of each campaign as ``order``, the one whose turn it is first; none in maintenance."""
    found = dict(rows(_WAITING, {"repeatable": queue == AGENTS_QUEUE}))
    return shares.among(queue, found) if found else []


@transaction.atomic
def _take(chance: shares.Chance, queue: str) -> Session | None:
    """Claim and count; None when somebody was faster, so that it may be another campaign's turn."""
    session = sessions.claim(chance.order)
    if session is None:
        return None
    if not shares.take(chance, queue, 1):
        transaction.set_rollback(True)
        return None
    shares.book(chance.campaign, queue, 1.0, whole=True)
    return session
