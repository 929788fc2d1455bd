"""Was this tried before? Earlier trials of a campaign with about the same hypothesis, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from trials.lineage import alike_trials
from trials.lineage.likeness import NEARLY_SAME
from trials.models import Campaign, Trial
from trials.standing import fate
from trials.statements import read

SHOWN = 5


@dataclass(frozen=True)
class Earlier:
    """A trial with a near-duplicate hypothesis. likeness: cosine of their words; fate: what became of it, in words."""

    number: int
    role: str
    likeness: float
    hypothesis: str
    standing: str
    score: float | None
    delta_vs_parent: float | None
    fate: str


def similar(campaign: Campaign, role: str, hypothesis: str, *, up_to: int | None = None) -> list[Earlier]:
    """At most SHOWN earlier trials that ``role`` may see, the most alike first, of equal ones the newest first.

    For proposers, before they submit. Costs the same in a campaign of any size (``trials.lineage.likeness``).
    """
    near = alike_trials(campaign, role, [hypothesis], up_to=up_to, count=SHOWN, at_least=NEARLY_SAME)
    if not near:
        return []
    numbers = [one.number for one in near]
    rows = read(Trial, "WHERE campaign_id = %s AND number = ANY(%s)", [campaign.pk, numbers])
    found = {trial.number: trial for trial in rows}
    return [_earlier(found[one.number], one.likeness) for one in near if one.number > 0]


def _earlier(trial: Trial, likeness: float) -> Earlier:
    return Earlier(
        number=trial.number,
        role=trial.role,
        likeness=round(likeness, 3),
        hypothesis=trial.hypothesis,
        standing=trial.standing,
        score=trial.score,
        delta_vs_parent=trial.delta_vs_parent,
        fate=fate(trial),
    )
