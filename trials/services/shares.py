"""Whose turn it is: campaigns share evaluators by weight, one work order at a time, and agents one session at a time.

Start-time fair queueing. What a campaign has used, divided by its weight, is its virtual time; the one that is behind
all others is next. What runs now counts as what such a measurement took before, or as what it has taken by now where
that is more. A campaign that comes late or had nothing to measure begins at the virtual time of the others, so that
nobody saves up for a monopoly; it may be one measurement behind. Docs: docs/decisions/0025-shares-by-weight.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from trials.models import Campaign
from trials.share_models import Share
from trials.statements import change, one_of, rows
from trials.vocab import LIVE_CAMPAIGN_STATES, EvaluationState, Purpose

LEAST, MOST = 1, 100
"""Weights."""
LEARNING = 0.3
"""How much the newest measurement says about how long the next one takes."""

# Of each campaign that has a queued work order for this device: the order.
_QUEUED = f"""
SELECT e.campaign_id, coalesce(max(e.id) FILTER (WHERE e.id = %(ticket)s), min(e.id)) AS work_order
  FROM trials_evaluation AS e JOIN trials_campaign AS c ON c.id = e.campaign_id
 WHERE e.state = '{EvaluationState.QUEUED}' AND e.device = %(resource)s AND c.bundle IS NULL
   AND NOT EXISTS (SELECT FROM trials_maintenance)
   AND (c.state IN {one_of(LIVE_CAMPAIGN_STATES)} OR e.purpose = '{Purpose.REMEASURE}')
 GROUP BY e.campaign_id
"""  # noqa: S608 - words of this program
_GIVEN = "SELECT * FROM unnest(%(campaigns)s::bigint[], %(orders)s::bigint[]) AS given(campaign_id, work_order)"
# Where each of the campaigns stands that have something waiting.
_STANDING = f"""
clock AS (
    SELECT coalesce((SELECT start FROM trials_turn WHERE resource = %(resource)s ORDER BY start DESC LIMIT 1), 0) AS now
), standing AS (
    SELECT waiting.*, coalesce(t.taken, 0) AS taken, coalesce(s.weight, 1) AS weight, clock.now,
           coalesce(t.expected, 0) AS expected,
           coalesce(t.origin + (t.used + held.seconds) / coalesce(s.weight, 1), clock.now) AS reached
      FROM waiting CROSS JOIN clock
      LEFT JOIN trials_share AS s ON s.campaign_id = waiting.campaign_id
      LEFT JOIN trials_turn AS t ON t.campaign_id = waiting.campaign_id AND t.resource = %(resource)s
     CROSS JOIN LATERAL (
        SELECT coalesce(sum(greatest(
            coalesce(t.expected, 0), t.devices * extract(epoch FROM clock_timestamp() - e.claimed_at)::float8
        )), 0) AS seconds
          FROM trials_evaluation AS e
         WHERE e.campaign_id = waiting.campaign_id AND e.state = '{EvaluationState.RUNNING}'
           AND e.device = %(resource)s
     ) AS held
)
SELECT campaign_id, work_order, taken, weight, reached, greatest(reached, now - expected / weight) AS start
  FROM standing ORDER BY start, work_order
"""  # noqa: S608 - words of this program
_WAITING, _AMONG = (f"WITH waiting AS ({which}), {_STANDING}" for which in (_QUEUED, _GIVEN))
_TAKE = """
INSERT INTO trials_turn (campaign_id, resource, devices, origin, start, used, taken)
VALUES (%(campaign)s, %(resource)s, %(devices)s, %(start)s, %(start)s, 0, 1)
ON CONFLICT (campaign_id, resource) DO UPDATE
   SET taken = trials_turn.taken + 1, start = greatest(trials_turn.start, excluded.start),
       origin = trials_turn.origin + %(lift)s
 WHERE trials_turn.taken = %(taken)s
"""
_BOOK = f"""
UPDATE trials_turn SET used = used + %(seconds)s * devices,
       expected = CASE WHEN %(whole)s THEN
           coalesce(expected + {LEARNING} * (%(seconds)s * devices - expected), %(seconds)s * devices) ELSE expected END
 WHERE campaign_id = %(campaign)s AND resource = %(resource)s
"""  # noqa: S608 - a number of this program
#: ``book`` of a whole measurement, as part of a statement that has its order as ``measured``.
BOOK_MEASURED = f"""
UPDATE trials_turn SET used = used + held.seconds * devices,
       expected = coalesce(expected + {LEARNING} * (held.seconds * devices - expected), held.seconds * devices)
  FROM (SELECT campaign_id, device, extract(epoch FROM measured_at - claimed_at)::float8 AS seconds
          FROM measured) AS held
 WHERE trials_turn.campaign_id = held.campaign_id AND resource = held.device
"""  # noqa: S608 - a number of this program
_WEIGH = """
UPDATE trials_turn SET origin = origin + used / %(before)s::float8 - used / %(after)s::float8
 WHERE campaign_id = %(campaign)s
"""


class BadWeight(ValueError):
    """Not a weight; says what was expected."""


@dataclass(frozen=True)
class Chance:
    """A work order that waits, and where its campaign stands. start, reached: virtual seconds; what lies between them
    is given up by a campaign that was away. taken: how many of its orders were when this was read."""

    campaign: int
    order: int
    taken: int
    weight: int
    reached: float
    start: float


def waiting(resource: str, ticket: int = 0) -> list[Chance]:
    """One queued work order of each campaign, the one whose turn it is first; none during maintenance.

    ticket: the order to prefer within its own campaign, by default the oldest.
    """
    return [Chance(*row) for row in rows(_WAITING, {"resource": resource, "ticket": ticket})]


def among(resource: str, waiting: Mapping[int, int]) -> list[Chance]:
    """The same for what is no work order: ``waiting`` has, by campaign, what of it waits for this resource."""
    given = {"campaigns": list(waiting), "orders": list(waiting.values())}
    return [Chance(*row) for row in rows(_AMONG, {"resource": resource, **given})]


def take(chance: Chance, resource: str, devices: int) -> bool:
    """Count the order as taken; False when another one of the campaign was meanwhile, so that it may be somebody
    else's turn. The caller holds the campaign's lock and undoes what it did where this is False."""
    lift = chance.start - chance.reached
    values = {"campaign": chance.campaign, "resource": resource, "devices": devices, "lift": lift}
    return change(_TAKE, values | {"start": chance.start, "taken": chance.taken}) == 1


def book(campaign_id: int, resource: str, seconds: float, *, whole: bool) -> None:
    """An order has held its devices for so long. whole: to its end, so that it tells how long others will take."""
    change(_BOOK, {"campaign": campaign_id, "resource": resource, "seconds": seconds, "whole": whole})


def check_weight(weight: int) -> None:
    """Raises BadWeight."""
    if not LEAST <= weight <= MOST:
        raise BadWeight(f"{weight} is out of range, expected {LEAST} to {MOST}")


def set_weight(campaign: Campaign, weight: int) -> int:
    """Give a locked campaign this weight from now on; returns the one before. What it has used keeps its price."""
    before = weight_of(campaign)
    Share.objects.update_or_create(campaign=campaign, defaults={"weight": weight})
    change(_WEIGH, {"campaign": campaign.pk, "before": before, "after": weight})
    return before


def weight_of(campaign: Campaign) -> int:
    return weights([campaign.pk])[campaign.pk]


def weights(campaigns: Collection[int]) -> dict[int, int]:
    """Campaign -> weight, also of those that have none of their own."""
    own = dict(Share.objects.filter(campaign__in=campaigns).values_list("campaign", "weight"))
    return {pk: own.get(pk, LEAST) for pk in campaigns}
