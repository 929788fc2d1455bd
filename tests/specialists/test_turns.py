"""Whose session is next: campaigns share a queue of agents by weight, whoever came first and however many wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest

from specialists import turns
from specialists.models import Session
from specialists.vocab import ProposerName, SessionState
from tests.factories import make_campaign
from trials import clock
from trials.models import Campaign
from trials.services import campaigns, maintenance, shares
from trials.share_models import Turn

pytestmark = pytest.mark.django_db


def waiting(name: str, sessions: int, weight: int = 1, proposer: str = ProposerName.LLM) -> Campaign:
    """A campaign of which so many sessions wait for a worker."""
    campaign = make_campaign(name=name, proposer=proposer, slots=sessions)
    campaigns.weigh(campaign.pk, weight, actor="test")
    more(campaign, sessions)
    return campaign


def more(campaign: Campaign, sessions: int) -> None:
    first = Session.objects.filter(campaign=campaign).count()
    late = clock.now() + timedelta(hours=1)
    Session.objects.bulk_create(
        Session(
            campaign=campaign, number=number, role="architecture", seed=number, started_at=clock.now(),
            lease_expires_at=late,
        )
        for number in range(first, first + sessions)
    )  # fmt: skip


def taken(tickets: Sequence[int]) -> Counter[str]:
    """By campaign, the sessions that a worker holds after so many messages."""
    held = [turns.claim(ticket) for ticket in tickets]
    assert None not in held and len({session.pk for session in held if session}) == len(tickets)
    return Counter(session.campaign.name for session in held if session)


def tickets(*among: Campaign) -> list[int]:
    """Messages in the order in which they were sent."""
    return list(Session.objects.filter(campaign__in=among).order_by("pk").values_list("pk", flat=True))


def test_a_campaign_with_many_slots_keeps_nobody_waiting() -> None:
    many, few = waiting("many", 40), waiting("few", 4)
    sent = tickets(many, few)
    assert taken(sent[:8]) == {"many": 4, "few": 4}, "first in, first out would be 8 of the first"
    assert taken(sent[8:]) == {"many": 36}, "what nobody else wants goes to whoever waits, by any ticket"
    assert turns.claim(sent[0]) is None, "a ticket too many is none"


def test_sessions_go_by_weight_and_a_late_comer_gets_its_part_and_no_more() -> None:
    one, three = waiting("one", 40, 1), waiting("three", 60, 3)
    sent = tickets(one, three)
    assert taken(sent[:20]) == {"one": 5, "three": 15}
    late = waiting("late", 20, 4)
    shared = taken(sent[20:36])
    assert shared["late"] == pytest.approx(8, abs=1) and shared["one"] == pytest.approx(2, abs=1)
    assert late.turns.get().resource == "agents.models"


def test_what_nobody_else_waits_for_is_not_counted_and_other_queues_are_their_own() -> None:
    alone = waiting("alone", 3)
    catalogue = waiting("catalogue", 3, proposer=ProposerName.CATALOG)
    mixed = [pk for pair in zip(tickets(alone), tickets(catalogue), strict=True) for pk in pair]
    assert taken(mixed) == {"alone": 3, "catalogue": 3}
    assert not Turn.objects.exists()
    assert turns.claim(0) is None


def test_a_turn_that_somebody_else_took_meanwhile_is_nobodys() -> None:
    first, second = waiting("first", 3), waiting("second", 3)
    oldest = {campaign.pk: tickets(campaign)[0] for campaign in (first, second)}
    seen = shares.among("agents.models", oldest)
    assert turns._take(seen[0], "agents.models") is not None
    stale = shares.Chance(first.pk, tickets(first)[1], 0, 1, 0.0, 0.0)
    assert turns._take(stale, "agents.models") is None
    assert Session.objects.filter(campaign=first).exclude(worker="").count() == 1
    assert Turn.objects.get(campaign=first).used == 1


def test_nothing_is_taken_during_maintenance() -> None:
    sent = tickets(waiting("first", 1), waiting("second", 1))
    maintenance.begin(actor="ada", reason="")
    assert [turns.claim(ticket) for ticket in sent] == [None, None]
    maintenance.end(actor="ada")
    session = turns.claim(sent[0])
    assert session is not None and session.state == SessionState.RUNNING and session.worker
