"""Who serves a queue of agents. Its workers announce nothing: what they hold, and ended lately, tells that they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from specialists import turns
from specialists.dispatch import queue_of
from specialists.vocab import SessionState
from trials.services.shares import Chance
from trials.statements import one_of, rows
from trials.vocab import LIVE_CAMPAIGN_STATES

MOST_NAMED = 3

# A campaign has at most as many open sessions as slots: of its newest slots + 1, one has ended, if ever one has.
_HELD = f"""
SELECT c.slug, c.proposer,
       count(*) FILTER (WHERE s.state = '{SessionState.RUNNING}' AND s.lease_expires_at >= %(now)s), max(s.ended_at)
  FROM trials_campaign AS c CROSS JOIN LATERAL (
    SELECT state, worker, lease_expires_at, ended_at FROM specialists_session
     WHERE campaign_id = c.id ORDER BY number DESC LIMIT c.slots + 1
  ) AS s
 WHERE c.state IN {one_of(LIVE_CAMPAIGN_STATES)} AND s.worker <> ''
 GROUP BY c.id
"""  # noqa: S608 - words of this program


@dataclass(frozen=True)
class Crew:
    """The workers of one queue. held: slug of a campaign -> its sessions that they have; ended: when they ended one
    last; turns: of the campaigns whose sessions wait for them, the next one first."""

    held: Mapping[str, int]
    ended: datetime | None
    turns: Sequence[Chance]

    def works(self, now: datetime, lately: timedelta) -> bool:
        """Whether anybody has a session of this queue, or ended one lately."""
        return bool(self.held) or (self.ended is not None and now - self.ended <= lately)

    def told(self, own: str, visible: Collection[str]) -> str:
        """Whose sessions they have, in words, for people who see these campaigns. own: slug of the one that waits."""
        shown = sorted((slug for slug in self.held if slug in visible), key=lambda slug: (-self.held[slug], slug))
        parts = [f"{self.held[slug]} of {'its own' if slug == own else slug}" for slug in shown[:MOST_NAMED]]
        rest = sum(self.held.values()) - sum(self.held[slug] for slug in shown[:MOST_NAMED])
        if rest:
            parts.append(f"{rest} of others")
        return f"they have sessions now: {', '.join(parts)}" if parts else "they are between two sessions"


def crews(queues: Collection[str], now: datetime) -> dict[str, Crew]:
    """By queue. One statement and two for each of them; none where there are none."""
    found = rows(_HELD, {"now": now}) if queues else []
    return {queue: _crew(queue, [row for row in found if queue_of(row[1]) == queue]) for queue in queues}


def _crew(queue: str, found: Sequence[tuple[str, str, int, datetime | None]]) -> Crew:
    held = {slug: count for slug, _, count, _ in found if count}
    return Crew(held, max((ended for *_, ended in found if ended), default=None), turns.waiting(queue))
