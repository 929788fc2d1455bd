"""The table of trials against the same question asked in plain Python over all rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import QueryDict
from django.test import AsyncClient, Client

from tests.factories import make_campaign, run_trial, start, submit
from tests.trials.explorer.conftest import made_up
from tests.trials.test_views import EVIL, page
from trials.explorer import ask as asking
from trials.explorer import columns, rows, table_views, words
from trials.explorer.ask import Ask
from trials.models import Campaign, Trial
from trials.search_models import WordPlace
from trials.services import people
from trials.vocab import SCORED_LABELS

pytestmark = pytest.mark.django_db


def all_trials(campaign: Campaign) -> list[Trial]:
    return list(Trial.objects.of(campaign.pk).order_by("number"))


def through_pages(campaign: Campaign, ask: Ask, size: int = 23) -> list[int]:
    """Numbers of every page, one page after the other, each asked for by the address of its place."""
    found: list[int] = []
    names = [str(role["name"]) for role in campaign.roles]
    for _ in range(400):
        shown, following = rows.page(campaign, ask, size)
        found += [trial.number for trial in shown]
        if following is None:
            return found
        address = ask.address(columns.DEFAULT, after=asking.place(*following))
        again = asking.parse(QueryDict(address[1:]), names, tuple(columns.COLUMNS), columns.DEFAULT)
        assert again.errors == {} and again.filters == ask.filters and again.sort == ask.sort
        ask = again
    pytest.fail("the pages do not end")


def scored(trial: Trial) -> bool:
    return trial.score is not None and trial.label in SCORED_LABELS


def gained(trial: Trial) -> bool:
    return trial.delta_vs_parent is not None and trial.label in SCORED_LABELS


def has_words(*wanted: str) -> Callable[[Trial], bool]:
    return lambda trial: all(word in trial.hypothesis.lower() for word in wanted)


FILTERS: list[tuple[dict[str, Any], Callable[[Trial], bool]]] = [
    ({}, lambda trial: True),
    ({"role": "optimization"}, lambda trial: trial.role == "optimization"),
    ({"standing": "crash"}, lambda trial: trial.standing == "crash"),
    ({"label": "discard", "role": "architecture"}, lambda t: (t.label, t.role) == ("discard", "architecture")),
    ({"low": 2.0, "high": 2.02}, lambda trial: trial.score is not None and 2.0 <= trial.score <= 2.02),
    ({"text": "momentum"}, has_words("momentum")),
    ({"text": '"weight decay" -cosine'}, lambda t: has_words("weight decay")(t) and "cosine" not in t.hypothesis),
    ({"state": "running"}, lambda trial: trial.state == "running"),
]
ORDERS: dict[str, tuple[Callable[[Trial], bool], Callable[[Trial], Any], bool]] = {
    "newest": (lambda trial: True, lambda trial: trial.number, True),
    "oldest": (lambda trial: True, lambda trial: trial.number, False),
    "best": (scored, lambda trial: (trial.score, trial.number), False),
    "worst": (scored, lambda trial: (trial.score, trial.number), True),
    "gain": (gained, lambda trial: (trial.delta_vs_parent, trial.number), False),
    "loss": (gained, lambda trial: (trial.delta_vs_parent, trial.number), True),
}


def test_every_filter_in_every_order_equals_a_count_over_all_rows(search: Campaign) -> None:
    everything = all_trials(search)
    for wanted, keeps in FILTERS:
        for sort, (shown, key, falling) in ORDERS.items():
            expected = sorted((t for t in everything if keeps(t) and shown(t)), key=key, reverse=falling)
            found = through_pages(search, Ask(sort=sort, **wanted))
            assert found == [trial.number for trial in expected], (wanted, sort)
            assert len(found) > 3 or "state" in wanted or (sort not in ("newest", "oldest")), (wanted, sort)


def test_notes_are_found_by_their_words_as_they_are_now(viewer: Client) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    trial = run_trial(campaign, 2.5, hypothesis="Warm up longer.")
    author = User.objects.create_user("author")

    def found(words: str) -> list[int]:
        return [shown.number for shown in rows.page(campaign, Ask(text=words), 9)[0]]

    people.write_note(trial, "Worth another look with quieter gradients.", after=0, author=author)
    assert found("gradients look") == found("warm gradients") == found("longer") == [1]
    people.write_note(trial, "Settled <script>.", after=1, author=author)
    assert found("gradients") == [] and found("settled") == found("warm") == [1]
    people.write_note(trial, "", after=2, author=author)
    assert found("settled") == [] and found("warm -settled") == [1]


def test_words_of_another_search_are_not_looked_through(viewer: Client) -> None:
    one, other = make_campaign(), make_campaign(name="Other")
    mine = run_trial(one, 2.4, parent=None, hypothesis="Warm up longer.")
    theirs = run_trial(other, 2.4, parent=None, hypothesis="Warm up longer.")
    people.write_note(theirs, "quieter gradients", after=0, author=User.objects.create_user("author"))
    for campaign, number in ((one, mine.number), (other, theirs.number)):
        for text in ("longer", "-steps or longer", "-steps"):
            assert [row.number for row in rows.page(campaign, Ask(text=text), 9)[0]] == [number], text
    assert rows.page(one, Ask(text="gradients"), 9)[0] == []


def test_places_are_those_of_the_words_whoever_writes_them(search: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    author = User.objects.create_user("author")
    trial = Trial.objects.get(campaign=search, number=3)
    people.write_note(trial, f"Once more, {'o' * 300}, it's a \\ path: /tmp/x", after=0, author=author)
    people.write_note(trial, f"Twice more, {'p' * 300}", after=1, author=author)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT left(lexeme, 64), number FROM trials_trialwords JOIN trials_trial ON trials_trial.id = trial_id,"
            " unnest(words) WHERE campaign_id = %s",
            [search.pk],
        )
        expected = cursor.fetchall()
    found = list(WordPlace.objects.filter(campaign=search).values_list("word", "number"))
    assert sorted(found) == sorted(expected)
    assert ("twice", 3) in found and ("p" * 64, 3) in found and ("onc", 3) not in found and ("o" * 64, 3) not in found
    migration = import_module("trials.migrations.0025_words_by_campaign_and_number")
    monkeypatch.setattr(migration, "BATCH", 70)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM trials_wordplace WHERE number <> 5")
    migration.fill(None, None)
    filled = WordPlace.objects.filter(campaign=search).values_list("word", "number")
    assert sorted(filled) == sorted(expected), "those of before the migration"


SEARCHED: list[tuple[str, Callable[[Trial], bool]]] = [
    ("momentum", has_words("momentum")),
    ("momentum buffers", has_words("momentum", "buffers")),
    ("momentum vocabulary", has_words("momentum", "vocabulary")),
    ("momentum or decay", lambda t: has_words("momentum")(t) or has_words("decay")(t)),
    ("-less", lambda t: not re.search(r"\bless\b", t.hypothesis)),
    ('-"weight decay" loss', lambda t: has_words("loss")(t) and "weight decay" not in t.hypothesis),
    ("7 or 12", lambda t: bool(re.search(r"\b(7|12)\b", t.hypothesis))),
    ("the", lambda t: True),
]


def test_words_are_found_however_little_one_page_may_look_at(search: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out or told twice where a page ends before it is full, in every order."""
    monkeypatch.setattr(words, "PLACES", 11)
    monkeypatch.setattr(words, "LOOKS", 17)
    everything = all_trials(search)
    for text, keeps in SEARCHED:
        for sort, (shown, key, falling) in ORDERS.items():
            expected = sorted((t for t in everything if keeps(t) and shown(t)), key=key, reverse=falling)
            assert through_pages(search, Ask(text=text, sort=sort)) == [t.number for t in expected], (text, sort)


def test_words_with_signs_are_looked_for_as_they_are(viewer: Client) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    texts = ("Read C:\\temp\\x first.", "It's O'Brien's idea.", "See http://a.org/b for it.", f"Try {'a' * 90}b.")
    for text in texts:
        run_trial(campaign, 2.5, hypothesis=text)
    asked = ("C:\\temp\\x", "o'brien", "a.org/b", f"{'a' * 90}b")
    assert [[t.number for t in rows.page(campaign, Ask(text=text), 9)[0]] for text in asked] == [[1], [2], [3], [4]]
    assert rows.page(campaign, Ask(text="a" * 91), 9)[0] == []
    assert rows.page(campaign, Ask(text="' & | ! ( \\"), 9)[0] != [], "no word asks for nothing"
    many = " or ".join(f"w{number}" for number in range(30))
    assert rows.page(campaign, Ask(text=f"{many} or idea"), 9)[0][0].number == 2


def test_a_page_says_where_it_stopped_looking(
    viewer: Client, search: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "PLACES", 1)
    monkeypatch.setattr(words, "LOOKS", 5)
    base = f"{search.get_absolute_url()}trials/?sort=best&column=number&q="
    ranked = sorted(filter(scored, all_trials(search)), key=lambda trial: (trial.score or 0, trial.number))
    told = " ".join(trial.hypothesis.lower() for trial in ranked[:5])
    near = re.findall(r"[a-z]{6,}", ranked[1].hypothesis.lower())[0]
    far = next(word for word in re.findall(r"[a-z]{6,}", ranked[-1].hypothesis.lower()) if word not in told)
    html = page(viewer, base + near)
    found = [int(number) for number in re.findall(r'<tr data-number="(\d+)"', html)]
    assert found == [trial.number for trial in ranked[:5] if near in trial.hypothesis.lower()]
    assert "Look further" in html and "Up to 700 trials were looked through" in html
    assert f"after={ranked[4].score!r}~{ranked[4].number}" in html.replace("%7E", "~")
    html = page(viewer, base + far)
    assert "None of the next 700 trials" in html and "Look further" in html and "<tr " not in html


def test_where_higher_is_better_the_best_is_the_highest(db: None) -> None:
    campaign = make_campaign()
    Campaign.objects.filter(pk=campaign.pk).update(direction="higher")
    campaign.refresh_from_db()
    for score in (0.5, 0.7, 0.6, 0.7):
        run_trial(campaign, score, parent=None if score == 0.5 else 0)
    assert through_pages(campaign, Ask(sort="best"), 2) == [3, 1, 2, 0]
    assert through_pages(campaign, Ask(sort="worst"), 2) == [0, 2, 1, 3]
    assert through_pages(campaign, Ask(sort="gain"), 1) == [3, 1, 2]


def test_a_page_is_what_the_address_says(viewer: Client, search: Campaign) -> None:
    base = search.get_absolute_url() + "trials/"
    html = page(viewer, f"{base}?role=optimization&sort=best&column=number&column=score")
    numbers = [int(number) for number in re.findall(r'<tr data-number="(\d+)"', html)]
    mine = sorted((t for t in all_trials(search) if scored(t) and t.role == "optimization"), key=lambda t: t.score or 0)
    assert numbers == [trial.number for trial in mine[: rows.PAGE]]
    assert html.count("<th ") == 2
    following = re.search(r'rel="next" href="([^"]+)"', html)
    assert following is not None
    fragment = page(viewer, base + following[1].replace("&amp;", "&"), HX_Request="true")
    assert "<html" not in fragment
    second = [int(number) for number in re.findall(r'<tr data-number="(\d+)"', fragment)]
    assert second == [trial.number for trial in mine[rows.PAGE : 2 * rows.PAGE]]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("role=nobody", "role: "), ("standing=best", "standing: "), ("low=cheap", "is no number"),
        ("high=nan", "is no number"), ("sort=random", "sort: "), ("after=x", "is no place"),
        ("after=1e999~3&sort=best", "is no place"), ("after=3&sort=best", "is no place"),
        ("q=" + "x" * 300, "300 characters"), ("role=%3Cimg%3E", "&lt;img&gt;"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_and_asks_for_nothing(viewer: Client, query: str, told: str) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    html = page(viewer, f"{campaign.get_absolute_url()}trials/?{query}")
    assert told in html
    assert 'data-number="0"' in html


def test_empty_pages_say_what_to_do(viewer: Client) -> None:
    campaign = make_campaign()
    base = f"{campaign.get_absolute_url()}trials/"
    assert "The first one measures the starting recipe" in page(viewer, base)
    assert "Show all trials" in page(viewer, f"{base}?q=nothing+like+this")


def test_a_running_trial_shows_how_far_it_is(viewer: Client) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    start(submit(campaign))
    html = page(viewer, f"{campaign.get_absolute_url()}trials/?state=running")
    assert 'class="doing"' in html and 'data-name="running"' in html


async def csv_of(client: AsyncClient, address: str) -> list[list[str]]:
    answer = await client.get(address)
    assert answer.status_code == 200 and answer["Content-Disposition"].startswith("attachment")
    body = b"".join([block async for block in answer.streaming_content])  # type: ignore[union-attr]
    return list(csv.reader(io.StringIO(body.decode(), newline="")))


@pytest.fixture
def file_of(viewer: Client, async_client: AsyncClient) -> Callable[[str], list[list[str]]]:
    from asgiref.sync import async_to_sync  # noqa: PLC0415 - beside its use

    async_client.cookies = viewer.cookies
    return lambda address: async_to_sync(csv_of)(async_client, address)


@pytest.mark.django_db(transaction=True)
def test_the_file_has_every_trial_that_is_asked_for(
    file_of: Callable[[str], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trials.explorer.table_views.LINES", 17)
    campaign = made_up(60)
    heading, *lines = file_of(f"{campaign.get_absolute_url()}trials.csv?role=optimization&sort=oldest")
    mine = [trial for trial in all_trials(campaign) if trial.role == "optimization"]
    assert [int(line[0]) for line in lines] == [trial.number for trial in mine]
    told = [dict(zip(heading, line, strict=True)) for line in lines]
    assert [row["score"] for row in told] == ["" if t.score is None else repr(t.score) for t in mine]
    assert [row["hypothesis"] for row in told] == [trial.hypothesis for trial in mine]
    assert [row["finished_at"] for row in told] == [t.finished_at.isoformat() for t in mine if t.finished_at]


@pytest.mark.django_db(transaction=True)
def test_no_cell_of_the_file_is_a_formula(file_of: Callable[[str], list[list[str]]]) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    texts = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "\uff1d1", '"=1"', "fine")
    for text in texts:
        run_trial(campaign, 2.5, hypothesis=text, reason=text)
    heading, *lines = file_of(f"{campaign.get_absolute_url()}trials.csv?sort=oldest")
    at = heading.index("hypothesis")
    assert [line[at] for line in lines[1:]] == [*(f"'{text}" for text in texts[:8]), *texts[8:]]
    numbers = {heading.index(name) for name in ("delta_vs_parent", "delta_vs_best")}
    for line in lines:
        for place, cell in enumerate(line):
            assert place in numbers or not cell.lstrip(" ").startswith(columns.FORMULA), cell


def test_hostile_text_is_escaped_in_every_column(viewer: Client) -> None:
    campaign = make_campaign(name=EVIL)
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, None, "crash", reason=EVIL, hypothesis=EVIL, role=EVIL[:50])
    every = "&".join(f"column={name}" for name in columns.COLUMNS)
    html = page(viewer, f"{campaign.get_absolute_url()}trials/?{every}&q=%3Cscript%3E&role=%3Cimg")
    assert "<img" not in html and "<script>" not in html
    html = page(viewer, f"{campaign.get_absolute_url()}trials/?{every}")
    assert "<img" not in html and "<script>" not in html and "&lt;img" in html


@pytest.mark.parametrize("trials", [20, 400])
def test_a_page_takes_the_same_queries_at_any_length(
    viewer: Client, django_assert_max_num_queries: Any, trials: int
) -> None:
    campaign = made_up(trials)
    for query in ("", "?sort=best", "?q=momentum&standing=discard", "?sort=gain&role=optimization&low=1"):
        with django_assert_max_num_queries(10):
            page(viewer, f"{campaign.get_absolute_url()}trials/{query}")


def test_strangers_see_neither_table_nor_file(client: Client) -> None:
    base = make_campaign().get_absolute_url()
    assert client.get(f"{base}trials/").status_code == 302
    assert client.get(f"{base}trials.csv").status_code == 302


def test_single_rows_are_those_of_the_page_and_only_what_is_asked_for(viewer: Client, search: Campaign) -> None:
    base = f"{search.get_absolute_url()}trials/"
    whole = page(viewer, f"{base}?role=optimization")
    shown = [int(number) for number in re.findall(r'<tr data-number="(\d+)"', whole)]
    others = [trial.number for trial in all_trials(search) if trial.role != "optimization"][:5]
    query = "&".join(f"number={number}" for number in [*shown[3:9], *others, 10**8, "x", -1])
    some = page(viewer, f"{base}rows/?role=optimization&{query}")
    assert re.findall(r'<tr data-number="(\d+)"', some) == [str(number) for number in shown[3:9]]
    plain = re.sub(r"<time.*?</time>", "", whole)
    assert all(re.sub(r"<time.*?</time>", "", row) in plain for row in some.split("\n") if row)
    assert page(viewer, f"{base}rows/") == ""
    many = "&".join(f"number={number}" for number in range(300))
    assert len(re.findall("<tr ", page(viewer, f"{base}rows/?{many}"))) == table_views.MOST_NUMBERS
