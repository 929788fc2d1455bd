"""Is the record as new as the notes outside the database say, and if not, does somebody accept that?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from django.db import transaction

from trials.models import Campaign, Event
from trials.services import witness
from trials.services.events import append_event, append_site_event, site_id
from trials.site_models import SiteEvent
from trials.vocab import EventKind, SiteEventKind


class RecordLost(RuntimeError):
    """The database lacks events that were committed: it was restored from an older backup, or somebody changed it."""


@dataclass(frozen=True)
class Loss:
    """One chain that is behind its note. found: number of its newest event now, 0 when the whole chain is gone."""

    chain: str
    noted: int
    noted_sha256: str
    found: int

    def __str__(self) -> str:
        if self.found >= self.noted:
            return f"{self.chain}: event {self.noted} is not the one that was committed"
        return f"{self.chain}: events {self.found + 1} to {self.noted} are missing"


def losses(newest: int | None = None) -> list[Loss]:
    """Chains that lack the event that their note speaks of. It only reads: a record without events has no notes.

    newest: look at so many notes only, those that were written last. A backup that is older than what was committed
    lacks what these speak of.
    """
    found: list[Loss] = []
    site = SiteEvent.objects.filter(seq=1).values_list("sha256", flat=True).first()
    for note in witness.noted(site, newest) if site else ():
        if note.chain == witness.SITE:
            there = SiteEvent.objects.filter(seq=note.seq, sha256=note.sha256).exists()
            last = SiteEvent.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
        else:
            slug = note.chain.rpartition(".")[0]
            campaign = next((one for one in Campaign.objects.filter(slug=slug) if one.chain == note.chain), None)
            last = 0 if campaign is None else campaign.last_seq
            there = Event.objects.filter(campaign=campaign, seq=note.seq, sha256=note.sha256).exists()
        if not there:
            found.append(Loss(note.chain, note.seq, note.sha256, last))
    return found


def require_whole() -> None:
    """Raises RecordLost, which names what is missing and how to accept it."""
    found = losses()
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise RecordLost(
            f"the record is older than what was committed: {found[0]}{more}; restore a newer backup, or accept the "
            "loss with: manage.py accept_restore"
        )


@transaction.atomic
def accept(actor: str) -> list[Loss]:
    """Put every loss on record as an event of its chain (of the site's where the campaign is gone); returns them."""
    site, found = site_id(), losses()
    for loss in found:
        payload = {"chain": loss.chain, "noted": loss.noted, "noted_sha256": loss.noted_sha256, "found": loss.found}
        transaction.on_commit(partial(witness.forget, site, loss.chain))  # before the notes of what follows
        slug = loss.chain.rpartition(".")[0]
        campaign = Campaign.objects.filter(slug=slug).first() if slug else None
        if campaign is not None and campaign.chain == loss.chain:
            append_event(Campaign.objects.locked(campaign.pk), EventKind.RESTORE_ACCEPTED, actor, payload)
        append_site_event(SiteEventKind.RESTORE_ACCEPTED, actor, payload)
    return found
