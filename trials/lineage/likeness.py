"""Trials whose hypothesis is like a given text, at a cost that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trials import sketch
from trials.models import Campaign
from trials.statements import LAST_NUMBER, rows
from trials.vocab import Label, LineagePolicy

#: The newest so many trials are looked at under each key of a text.
EACH = 12
#: Words in common (cosine) from which a hypothesis counts as similar, and as nearly the same.
SIMILAR, NEARLY_SAME = 0.3, 0.7

_NEAR = f"""
SELECT number, left(hypothesis, {sketch.TEXT_CHARACTERS}) FROM trials_trial
 WHERE campaign_id = %(campaign)s AND number = ANY(ARRAY(
    SELECT found.number FROM unnest(%(keys)s::bigint[]) AS wanted(key) CROSS JOIN LATERAL (
        SELECT number FROM trials_hypothesiskey
         WHERE campaign_id = %(campaign)s AND key = wanted.key AND number <= %(up_to)s ORDER BY number DESC LIMIT {EACH}
    ) AS found
 )) AND state = 'finished' AND label <> '{Label.HARNESS_ABORT}' AND (role = %(role)s OR %(shared)s)
"""  # noqa: S608 - words of this program


@dataclass(frozen=True)
class Alike:
    """A trial whose hypothesis is like a text; ``likeness`` is the cosine of their words, in (0, 1]."""

    number: int
    likeness: float


def alike_trials(
    campaign: Campaign,
    role: str,
    texts: Iterable[str],
    *,
    up_to: int | None = None,
    count: int = 6,
    at_least: float = SIMILAR,
    leave_out: Iterable[int] = (),
) -> list[Alike]:
    """Trials that ``role`` may see and whose hypothesis is like one of ``texts``: most alike first, then newest.

    ``up_to`` is the highest trial number that counts. Reads at most KEYS * EACH hypotheses for each text.
    """
    wanted = [found for found in map(sketch.words, texts) if found]
    keys = dict.fromkeys(key for found in wanted for key in sketch.keys(found))
    if not keys or campaign.lineage == LineagePolicy.NONE:
        return []
    values = {
        "campaign": campaign.pk,
        "keys": list(keys),
        "up_to": LAST_NUMBER if up_to is None else up_to,
        "role": role,
        "shared": campaign.lineage == LineagePolicy.SHARED,
    }
    hidden = set(leave_out)
    ranked = []
    for number, hypothesis in rows(_NEAR, values):
        if number in hidden:
            continue
        found = sketch.words(hypothesis)
        likeness = max(sketch.likeness(found, other) for other in wanted)
        if likeness >= at_least:
            ranked.append(Alike(number, likeness))
    return sorted(ranked, key=lambda one: (-one.likeness, -one.number))[:count]
