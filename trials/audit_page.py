"""All that the audit page of a campaign shows, at the same cost however long the search."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from trials.bundles.redaction import PROFILES
from trials.chain import chain_hash
from trials.models import Campaign, Event
from trials.services import witness
from trials.services.keys import key_on_record
from trials.site_models import SiteEvent
from trials.vocab import SiteEventKind

NEWEST = 100
EXPORTS = 10
#: What each redaction leaves out, as the form says it.
LEAVES_OUT = {
    "names": "people and workers",
    "prompts": "what agents were shown and asked",
    "sources": "files, diffs and logs",
}


def context(campaign: Campaign) -> dict[str, Any]:
    """Values for ``trials/audit.html``."""
    origin = campaign.bundle or {}
    events = Event.objects.filter(campaign=campaign).select_related("trial").order_by("-seq")
    newest = list(events[:NEWEST])[::-1]
    whole = all(_has_its_hash(event) for event in newest)
    follows = all(later.previous_sha256 == event.sha256 for event, later in pairwise(newest))
    first = SiteEvent.objects.filter(seq=1).values_list("sha256", flat=True).first()
    noted = next((note for note in witness.noted(first or "") if note.chain == campaign.chain), None)
    return {
        "campaign": campaign,
        "origin": origin,
        "key": origin["head"]["head_key"] if origin else key_on_record(),
        "name": f"{origin.get('slug', campaign.slug)}.zip",
        "rehashed": len(newest),
        "holds": whole and follows and (not newest or newest[-1].sha256 == campaign.head_sha256),
        "noted": noted,
        "profiles": [
            {"name": name, "leaves_out": LEAVES_OUT[name], "gone": name in origin.get("redacted", ())}
            for name in PROFILES
        ],
        "exports": SiteEvent.objects.filter(
            kind=SiteEventKind.EXPORTED, body__contains=f'"campaign":"{campaign.slug}"'
        ).order_by("-seq")[:EXPORTS],
    }


def _has_its_hash(event: Event) -> bool:
    found = chain_hash(
        seq=event.seq,
        at=event.at,
        kind=event.kind,
        actor=event.actor,
        trial=None if event.trial is None else event.trial.number,
        body=event.body,
        previous=event.previous_sha256,
        salt=event.salt,
        redaction=event.redaction,
    )
    return found == event.sha256
