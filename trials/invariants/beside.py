"""What stands beside the search follows from its events too: the campaign's weight, and logs whose bytes are gone."""

from __future__ import annotations

from collections.abc import Iterator

from trials.invariants.ledger import AT_ONCE, Told
from trials.invariants.violation import Violation
from trials.models import Campaign, Measurement, Trial
from trials.services.shares import weight_of


def check_beside(campaign: Campaign, told: Told) -> Iterator[Violation]:
    """The weight is the newest that was given; no log is without its bytes unless an event says that they went."""
    weight = weight_of(campaign)
    if weight != told.weight:
        yield Violation(campaign.slug, "weight", f"the weight is {weight}, its events say {told.weight}")
    for model in (Trial, Measurement):
        gone = model._default_manager.filter(campaign=campaign, log__data=b"").order_by("pk")
        for log in gone.values_list("log", flat=True).iterator(chunk_size=AT_ONCE):
            if log not in told.removed:
                yield Violation(campaign.slug, "logs", f"log {log[:12]} has no bytes, and no event says that they went")
