"""Statements that say several things at once say each of them as it is."""

from __future__ import annotations

import threading
import time
from datetime import datetime

import pytest
from django.db import connection, transaction

from tests.factories import finish, make_campaign, start, submit
from trials import clock, statements
from trials.models import Campaign, Trial
from trials.services import rows


@pytest.mark.django_db(transaction=True)
def test_a_lock_tells_the_time_at_which_it_was_got_not_asked_for() -> None:
    campaign, asked = make_campaign(), threading.Event()
    since: list[datetime] = []

    def wait_for_it() -> None:
        try:
            with transaction.atomic():
                asked.set()
                since.append(Campaign.objects.locked(campaign.pk).held_since)
        finally:
            connection.close()

    with transaction.atomic():
        Campaign.objects.locked(campaign.pk)
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        assert asked.wait(30)
        while not _somebody_waits():
            time.sleep(0.01)
        last = clock.now()
    waiting.join()
    assert since[0] > last


def _somebody_waits() -> bool:
    [(waiting,)] = statements.rows("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> %s", [_own_process()])
    return bool(waiting)


def _own_process() -> int:
    [(pid,)] = statements.rows("SELECT pg_backend_pid()", [])
    return int(pid)


@pytest.mark.django_db
def test_rows_of_several_models_come_from_one_answer() -> None:
    first = finish(start(submit(make_campaign(), parent=None)), 2.0)
    sql = f"""
    SELECT {statements.columns(Trial, "one")}, {statements.columns(Trial, "parent")}, {statements.columns(Campaign)}
      FROM trials_trial AS one LEFT JOIN trials_trial AS parent ON parent.id = one.parent_id
      JOIN trials_campaign ON trials_campaign.id = one.campaign_id
    """
    [answer] = statements.rows(sql, [])
    trial, parent, campaign = statements.instances(answer, Trial, Trial, Campaign)
    assert (trial, parent, campaign) == (first, None, first.campaign)
    assert (trial.numbers, campaign.spec) == (first.numbers, first.campaign.spec)


@pytest.mark.django_db
def test_statements_without_an_answer_go_together() -> None:
    campaign = make_campaign()
    one, two = submit(campaign, parent=None), submit(campaign, files={"a.py": b"2"})
    one.reason, two.reason, two.failure = "first", "second", "a key"
    statements.together([rows.updating(one, "reason"), rows.updating(two, "reason", "failure")])
    found = Trial.objects.of(campaign.pk).order_by("number").values_list("reason", "failure")
    assert list(found) == [("first", ""), ("second", "a key")]


@pytest.mark.django_db
def test_placeholders_are_numbered_by_place_or_by_name_however_long_the_text_is() -> None:
    long = " " * 5_000
    assert statements.rows(f"SELECT %s::int - %s::int, 7 %% 4{long}", [9, 2]) == [(7, 3)]
    sql = f"SELECT %(b)s::int - %(a)s::int, %(b)s::int, '%%s'{long}"
    assert statements.rows(sql, {"a": 1, "b": 5, "unused": 0}) == [(4, 5, "%s")]
    with pytest.raises(KeyError, match="a"):
        statements.rows(sql, {"b": 5})
