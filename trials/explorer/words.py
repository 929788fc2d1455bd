"""Trials with words, in every order of the table, at a bounded price.

Where the words stand is known by campaign and number. Few places are all looked at, many in the order of numbers; in
other orders, and for words that lead to no place (``-not``), trials are looked through in the order that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, models
from django.db.models.expressions import RawSQL

from trials.explorer.ask import Place
from trials.search_models import WORD_LENGTH

#: Places of words, and trials in their order, that are looked at for one page.
PLACES, LOOKS = 700, 700
#: So many words of a question are told apart; more of them are only looked for where those lead.
WORDS = 12
_TOKEN = re.compile(r"'(?P<word>(?:[^']|'')+)'|(?P<other>[|(])")

# ``querytree`` leaves out what no place tells: negations, and every alternative once one of them is a negation.
_COUNT = """
WITH asked AS MATERIALIZED (SELECT websearch_to_tsquery('english', %(text)s) AS query),
told AS (
    SELECT DISTINCT one[1] AS word FROM asked, regexp_matches(querytree(query), $$'((?:[^']|'')+)'$$, 'g') AS one
     LIMIT %(words)s),
plain AS (SELECT word, replace(replace(word, $$''$$, $$'$$), $$\\\\$$, $$\\$$) AS lexeme FROM told),
counted AS (
    SELECT plain.word, lexeme, found.places FROM plain CROSS JOIN LATERAL (
        SELECT count(*) AS places FROM (
            SELECT FROM trials_wordplace AS place
             WHERE campaign_id = %(campaign)s AND place.word = left(lexeme, %(length)s) LIMIT %(most)s) AS few) AS found
)
SELECT numnode(query), querytree(query), (SELECT json_object_agg(word, json_build_array(places, lexeme)) FROM counted)
  FROM asked
"""
_NUMBERS = """
SELECT DISTINCT place.number FROM unnest(%(words)s::text[]) AS one(word) CROSS JOIN LATERAL (
    SELECT number FROM trials_wordplace
     WHERE campaign_id = %(campaign)s AND word = left(one.word, %(length)s) AND number BETWEEN %(low)s AND %(high)s
     ORDER BY number {way} LIMIT %(most)s) AS place ORDER BY place.number {way} LIMIT %(most)s
"""
# LIMIT 1 keeps the database from reading all words of all trials instead.
_HAVING = """
SELECT near.pk FROM {near} CROSS JOIN LATERAL (
    SELECT FROM trials_trialwords
     WHERE trial_id = near.pk AND words @@ websearch_to_tsquery('english', %s) LIMIT 1) AS has ORDER BY {order} LIMIT %s
"""
_HIGHEST = 2**31 - 1
Rows = models.QuerySet[Any, Any]


@dataclass(frozen=True)
class Found:
    """ids: primary keys of trials in order. end: up to where was looked, None when there are no more."""

    ids: Sequence[int]
    end: Place | None = None


def find(campaign_id: int, text: str, rows: Rows, after: Place | None, most: int) -> Found:
    """At most ``most`` of the trials ``rows`` (in their order, those after a place) that have the words.

    Fewer with an ``end`` when there may be more of them behind what was looked at.
    """
    order = [name.lstrip("-") for name in _order(rows)]
    near = rows.values_list("pk", *order)
    is_empty, words = _leading(campaign_id, text)
    if is_empty:
        return Found([found[0] for found in near[:most]])
    if words is not None:
        places = _places(campaign_id, words, rows, after)
        if len(places) <= PLACES:
            return Found(_at(near, text, places, most))
        if order == ["number"]:
            ids = _at(near, text, places[:PLACES], most)
            return Found(ids, None if len(ids) == most else (None, places[PLACES - 1]))
    sql, values = near[:LOOKS].query.sql_with_params()
    ids = _having(f"({sql}) AS near", values, near, text, most)
    last = None if len(ids) == most else next(iter(near[LOOKS - 1 : LOOKS]), None)
    return Found(ids, None if last is None else (last[1] if len(order) > 1 else None, last[-1]))


def _order(rows: Rows) -> list[str]:
    """``number`` alone or behind what rows are sorted by, with a minus before what falls."""
    return [str(name) for name in rows.query.order_by]


def _leading(campaign_id: int, text: str) -> tuple[bool, list[str] | None]:
    """Whether the text has no word at all; and lexemes at one of which at least every trial with the words stands.

    None where there are no such lexemes.
    """
    wanted: dict[str, Any] = {
        "text": text,
        "campaign": campaign_id,
        "words": WORDS,
        "length": WORD_LENGTH,
        "most": PLACES + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, wanted)
        [(length, tree, counted)] = cursor.fetchall()
    places: dict[str, tuple[int, str]] = {word: (count, lexeme) for word, (count, lexeme) in (counted or {}).items()}
    alternatives: list[list[tuple[int, str]]] = [[]]
    for token in _TOKEN.finditer(tree):
        if token["other"] == "|":
            alternatives.append([])
        elif token["other"]:
            return length == 0, None  # of a kind that this language and syntax do not have
        elif token["word"] in places:
            alternatives[-1].append(places[token["word"]])
    if not all(alternatives):
        return length == 0, None
    return length == 0, [min(words)[1] for words in alternatives]


def _places(campaign_id: int, words: Sequence[str], rows: Rows, after: Place | None) -> list[int]:
    """The next numbers of trials with one of the words, one more than PLACES at most; of all where no number orders."""
    low, high, way = 0, _HIGHEST, "DESC" if _order(rows) == ["-number"] else "ASC"
    if after is not None and after[0] is None:
        low, high = (low, after[1] - 1) if way == "DESC" else (after[1] + 1, high)
    wanted: dict[str, Any] = {"campaign": campaign_id, "words": list(words), "low": low, "high": high}
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERS.format(way=way), wanted | {"length": WORD_LENGTH, "most": PLACES + 1})
        return [number for (number,) in cursor.fetchall()]


def _at(near: Rows, text: str, places: Sequence[int], most: int) -> list[int]:
    """Those of the numbered trials that have the words; in the order of numbers no more than needed are looked at."""
    one, values = near.order_by().filter(number=RawSQL("at.number", ()))[:1].query.sql_with_params()
    source = f"unnest(%s::integer[]) AS at(number) CROSS JOIN LATERAL ({one}) AS near"
    by_number = len(_order(near)) == 1
    ids: list[int] = []
    done, step = 0, 2 * most if by_number else len(places)
    while done < len(places) and len(ids) < most:
        ids += _having(source, (list(places[done : done + step]), *values), near, text, most - len(ids))
        done, step = done + step, 2 * step
    return ids


def _having(source: str, values: Sequence[Any], near: Rows, text: str, most: int) -> list[int]:
    """Primary keys of what the SQL of ``source`` names ``near`` and that has the words, in the order of ``near``."""
    order = ", ".join(f"near.{name.lstrip('-')}{' DESC' * name.startswith('-')}" for name in _order(near))
    with connection.cursor() as cursor:
        cursor.execute(_HAVING.format(near=source, order=order), (*values, text, most))
        return [found for (found,) in cursor.fetchall()]
