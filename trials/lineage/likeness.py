"""Trials whose hypothesis is like a given text, at a cost that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models.functions import Left

from trials import sketch
from trials.hypotheses import HypothesisKey
from trials.lineage.policy import visible_trials
from trials.models import Campaign

#: The newest so many trials are looked at under each key of a text.
EACH = 12
#: Words in common (cosine) from which a hypothesis counts as similar, and as nearly the same.
SIMILAR, NEARLY_SAME = 0.3, 0.7


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
    candidates = HypothesisKey.objects.newest(campaign.pk, keys, up_to, EACH)
    rows = visible_trials(campaign, role, up_to).filter(number__in=set(candidates) - set(leave_out))
    hypotheses = rows.values_list("number", Left("hypothesis", sketch.TEXT_CHARACTERS))
    ranked = []
    for number, hypothesis in hypotheses if candidates else ():
        found = sketch.words(hypothesis)
        likeness = max(sketch.likeness(found, other) for other in wanted)
        if likeness >= at_least:
            ranked.append(Alike(number, likeness))
    return sorted(ranked, key=lambda one: (-one.likeness, -one.number))[:count]
