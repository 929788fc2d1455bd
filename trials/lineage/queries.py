"""The three questions of a slice, as prepared statements: the best, the trials of its blocks, trials by number.

Every block is a fixed number of rows that an index can name. A part here may order and stop, or look at a fixed number
of rows and choose among them; it may not filter until it finds enough. Each trial is read once, with its blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from trials.lineage.entries import Entry
from trials.lineage.render import CHAIN_HEAD
from trials.standing import ANSWERED
from trials.statements import LAST_NUMBER, SCORED, one_of, rows
from trials.vocab import HELD_LABELS, Direction, Label, Purpose

CHAIN_FIRST, CHAIN_LAST = CHAIN_HEAD, 20
LEADERBOARD_ROWS = 16
RECENT_ROWS = 24
HELD_ROWS, FAILED_ROWS = 8, 30
CHILDREN_ROWS = 12
SURFACE_ROWS = 8
SIMILAR_ROWS = 6
ALIKE_ROWS, REPAIRS_OF_EACH = 6, 4
MISTAKEN_ROWS, PREDICTIONS = 6, 64
#: Rows among which a block chooses where no index can; roles of which the gains are compared.
WINDOW, MAX_ROLES = 48, 16
HYPOTHESIS_CHARACTERS = 400
BLOCKS = (
    "best", "chain", "leaderboard", "recent", "held", "failed", "children", "surface", "mistaken", "alike",
)  # fmt: skip
#: A block and a place in it as one number.
_PLACES = 1000

#: Trials that say something about an idea, as ``TrialQuerySet.evidence``.
_EVIDENCE = (
    f"campaign_id = %(campaign)s AND state = 'finished' AND label <> '{Label.HARNESS_ABORT}' AND number <= %(up_to)s"
)
_FORETOLD = "told IS NOT NULL AND came IS NOT NULL"
_HELD = f"standing IN {one_of(HELD_LABELS)}"

_BEST = f"""
SELECT t.id, t.number, t.role, t.depth, t.numbers, t.artifact_bytes, (
    SELECT body FROM trials_measurement WHERE trial_id = t.id AND purpose = '{Purpose.TRIAL}' ORDER BY id LIMIT 1
) FROM (
    SELECT trial_id FROM trials_frontierstep
     WHERE campaign_id = %(campaign)s AND number <= %(up_to)s ORDER BY id DESC LIMIT 1
) AS step JOIN trials_trial AS t ON t.id = step.trial_id
"""  # noqa: S608 - words of this program

# The reason of the outcome and, of a provisional trial, what its confirmation and a person say.
_SAID = " ".join(f"WHEN '{answer}' THEN '; {told}'" for answer, told in ANSWERED.items())
_TOLD = f"""
coalesce(CASE WHEN t.label = '{Label.PROVISIONAL}' THEN (
    SELECT CASE WHEN t.reason = '' THEN decided.words ELSE concat(t.reason, '; ', decided.words) END
      FROM (SELECT concat((
          SELECT CASE WHEN ruling = '' THEN 'looks better, is being measured again on fresh seeds'
                      ELSE ruling || ': ' || reason END
            FROM trials_confirmation WHERE trial_id = t.id ORDER BY round DESC LIMIT 1
      ), (
          SELECT CASE answer {_SAID} END FROM trials_approval WHERE trial_id = t.id ORDER BY number DESC LIMIT 1
      )) AS words) AS decided
) END, t.reason)
"""  # noqa: S608 - words of this program
_COLUMNS = f"""
t.number, t.role, parent.number, t.standing, {_TOLD}, t.score, t.delta_vs_best, t.delta_vs_parent, t.artifact_bytes,
left(t.hypothesis, {HYPOTHESIS_CHARACTERS}), t.numbers, t.proposal -> 'transforms', t.expected_delta
"""

_BY_NUMBER = f"""
SELECT {_COLUMNS} FROM trials_trial AS t LEFT JOIN trials_trial AS parent ON parent.id = t.parent_id
 WHERE t.campaign_id = %(campaign)s AND t.number = ANY(%(numbers)s)
   AND t.state = 'finished' AND t.label <> '{Label.HARNESS_ABORT}' AND t.number <= %(up_to)s
"""  # noqa: S608 - words of this program

# The chain: from the best towards the root, parent by parent while every row is wanted, then by skips as long as they
# do not jump over the wanted rows at the root. A skip that was never written is walked around by parents.
_BLOCKS = f"""
WITH RECURSIVE walk AS (
    SELECT id, number, depth, parent_id, skip FROM trials_trial WHERE id = %(best)s AND {{shared}}
    UNION ALL
    SELECT up.* FROM walk CROSS JOIN LATERAL (
        (SELECT id, number, depth, parent_id, skip FROM trials_trial
          WHERE walk.depth <= %(below)s AND campaign_id = %(campaign)s AND number = walk.skip
            AND depth >= {CHAIN_FIRST - 1} AND depth < walk.depth)
        UNION ALL
        (SELECT id, number, depth, parent_id, skip FROM trials_trial WHERE id = walk.parent_id AND depth < walk.depth)
        LIMIT 1
    ) AS up
), failed AS MATERIALIZED (
    SELECT id, number, standing, failure FROM trials_trial
     WHERE {_EVIDENCE} AND role = %(role)s AND NOT {_HELD} ORDER BY number DESC LIMIT {FAILED_ROWS}
), alike AS MATERIALIZED (
    SELECT id, row_number() OVER (ORDER BY own, number DESC) AS place FROM (
        SELECT id, number, role = %(role)s AS own FROM trials_trial
         WHERE {_EVIDENCE} {{mine}} AND failure <> '' AND failure = (
            SELECT failure FROM failed WHERE NOT {SCORED.replace("label", "standing")} ORDER BY number DESC LIMIT 1
         ) ORDER BY number DESC LIMIT {WINDOW}
    ) AS near ORDER BY own, number DESC LIMIT {ALIKE_ROWS}
), newest AS MATERIALIZED (
    SELECT id, number, expected_delta AS told, delta_vs_best AS came FROM trials_trial
     WHERE {_EVIDENCE} {{mine}} ORDER BY number DESC LIMIT {PREDICTIONS}
), named (block, id) AS (
    SELECT {{best}}, %(best)s::bigint
    UNION ALL SELECT {{chain}}, id FROM walk WHERE depth <= {CHAIN_FIRST - 1} OR depth >= %(below)s
    UNION ALL (SELECT {{leaderboard}}, id FROM trials_trial WHERE {_EVIDENCE} {{mine}}
                AND score IS NOT NULL AND {SCORED} ORDER BY score {{order}}, number LIMIT {LEADERBOARD_ROWS})
    UNION ALL (SELECT {{recent}}, id FROM newest ORDER BY number DESC LIMIT {RECENT_ROWS})
    UNION ALL (SELECT {{held}}, id FROM trials_trial WHERE {_EVIDENCE} AND role = %(role)s AND {_HELD}
                ORDER BY number DESC LIMIT {HELD_ROWS})
    UNION ALL SELECT {{failed}}, id FROM failed
    UNION ALL (SELECT {{children}}, id FROM (
                  SELECT id, number, role FROM trials_trial
                   WHERE {_EVIDENCE} AND parent_id = %(best)s ORDER BY number DESC LIMIT {WINDOW}
               ) AS below WHERE true {{mine}} ORDER BY number DESC LIMIT {CHILDREN_ROWS})
    UNION ALL SELECT {{surface}}, gain.id FROM unnest(%(roles)s::text[]) AS near(role) CROSS JOIN LATERAL (
                  SELECT id FROM trials_trial
                   WHERE {_EVIDENCE} AND trials_trial.role = near.role AND delta_vs_parent IS NOT NULL AND {SCORED}
                   ORDER BY delta_vs_parent {{order}}, number LIMIT {SURFACE_ROWS}
              ) AS gain
    UNION ALL (SELECT {{mistaken}}, id FROM newest WHERE told * came < 0
                ORDER BY abs(came - told) DESC, number LIMIT {MISTAKEN_ROWS})
    UNION ALL SELECT {{alike}} + 2 * place, id FROM alike
    UNION ALL SELECT {{alike}} + 2 * place + 1, repair.id FROM alike CROSS JOIN LATERAL (
                  SELECT id FROM (
                      SELECT id, number, label, role FROM trials_trial
                       WHERE parent_id = alike.id AND number <= %(up_to)s AND state = 'finished'
                       ORDER BY number DESC LIMIT {REPAIRS_OF_EACH}
                  ) AS child WHERE {SCORED} {{mine}} ORDER BY number LIMIT 1
              ) AS repair
)
SELECT named.blocks,
       CASE WHEN t.id = %(best)s THEN (SELECT array_agg(told ORDER BY number DESC) FROM newest WHERE {_FORETOLD}) END,
       CASE WHEN t.id = %(best)s THEN (SELECT array_agg(came ORDER BY number DESC) FROM newest WHERE {_FORETOLD}) END,
       {_COLUMNS}
  FROM (SELECT id, array_agg(block::int) AS blocks FROM named GROUP BY id) AS named
  JOIN trials_trial AS t ON t.id = named.id LEFT JOIN trials_trial AS parent ON parent.id = t.parent_id
"""  # noqa: S608 - words of this program


@dataclass(frozen=True)
class Best:
    """The best of the revealed trials: its row as far as a slice needs it, and the body of its measurement."""

    pk: int
    number: int
    role: str
    depth: int
    numbers: Mapping[str, Any]
    artifact_bytes: int | None
    record: Mapping[str, Any]


def best(campaign_id: int, up_to: int | None) -> Best | None:
    """The newest step of the frontier; None before the baseline is measured."""
    found = rows(_BEST, {"campaign": campaign_id, "up_to": _up_to(up_to)})
    if not found:
        return None
    [(pk, number, role, depth, numbers, size, body)] = found
    return Best(pk, number, role, depth, json.loads(numbers), size, json.loads(body) if body else {})


def entries(campaign_id: int, numbers: Iterable[int], up_to: int | None) -> dict[int, Entry]:
    """Evidence by number, whoever may see it; only what a slice may tell of it."""
    wanted = sorted(numbers)
    if not wanted:
        return {}
    values = {"campaign": campaign_id, "numbers": wanted, "up_to": _up_to(up_to)}
    found = rows(_BY_NUMBER, values)
    return dict(zip((row[0] for row in found), _entries(found), strict=True))


@dataclass(frozen=True)
class Blocks:
    """Trials by number; the numbers of each of BLOCKS, ``alike`` in its order, the others in none; of the newest
    trials with a prediction what was promised and what was measured, newest first."""

    entries: Mapping[int, Entry]
    numbers: Mapping[str, list[int]]
    promised: Sequence[float]
    measured: Sequence[float]


def blocks(direction: str, *, shared: bool, **values: Any) -> Blocks:
    """All that the blocks of a slice hold but similar hypotheses.

    values: campaign, role, roles (of which the gains are compared), up_to, best (primary key), below (the depth of
    the highest of the chain's newest).
    """
    found: dict[int, Entry] = {}
    places: dict[str, list[tuple[int, int]]] = {name: [] for name in BLOCKS}
    foretold: list[Sequence[float]] = [(), ()]
    values["up_to"] = _up_to(values["up_to"])
    answer = rows(_blocks(direction, shared), values)
    for (named, promised, measured, number, *_), entry in zip(
        answer, _entries([row[3:] for row in answer]), strict=True
    ):
        found[number] = entry
        if promised is not None:
            foretold = [promised, measured]
        for one in named:
            block, place = divmod(one, _PLACES)
            places[BLOCKS[block]].append((place, number))
    numbers = {name: [number for _, number in sorted(many)] for name, many in places.items()}
    return Blocks(found, numbers, *foretold)


def _up_to(number: int | None) -> int:
    return LAST_NUMBER if number is None else number


@cache
def _blocks(direction: str, shared: bool) -> str:
    codes = {name: str(_PLACES * code) for code, name in enumerate(BLOCKS)}
    mine, order = "" if shared else "AND role = %(role)s", "ASC" if direction == Direction.LOWER else "DESC"
    return _BLOCKS.format(shared=str(shared).lower(), mine=mine, order=order, **codes)


def _entries(found: Sequence[Sequence[Any]]) -> Iterator[Entry]:
    """Of the columns' values. All JSON in them is parsed at once: a call for each costs more than the parsing."""
    texts = [text or "null" for *_, numbers, transforms, _ in found for text in (numbers, transforms)]
    parsed = iter(json.loads(f"[{','.join(texts)}]"))
    for *plain, _, _, foretold in found:
        numbers, transforms = next(parsed), next(parsed)
        yield Entry(*[*plain, numbers, {} if transforms is None else {"transforms": transforms}, foretold])
