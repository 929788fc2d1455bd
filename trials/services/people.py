"""What people write around the record: notes, stars, who may see a campaign."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from trials import live
from trials.commits import after_commit
from trials.models import Campaign, Note, Restriction, Star, Trial
from trials.services import words
from trials.services.events import append_site_event
from trials.vocab import SiteEventKind

NOTE_CHARACTERS = 10_000
MOST_READERS = 500


class NoteError(ValueError):
    """A note cannot be stored: the message says what was expected."""


class NoteConflict(NoteError):
    """Somebody else has written since: ``current`` is what stands there now."""

    def __init__(self, current: Note) -> None:
        who = current.author.get_username() if current.author else "somebody"
        super().__init__(f"{who} has changed this note meanwhile, expected version {current.version}")
        self.current = current


class UnknownPeople(ValueError):
    """Names that nobody here has."""


def current_note(trial: Trial) -> Note | None:
    """The newest version of the note on a trial."""
    found: Note | None = Note.objects.filter(trial=trial).select_related("author").first()
    return found


def write_note(trial: Trial, text: str, *, after: int, author: User) -> Note:
    """Store a version of a note; ``after``: the version that the author saw, 0 for none.

    Earlier versions stay. Raises NoteConflict when that is not the newest any more, NoteError for a text that is too
    long or does not differ.
    """
    text = text.replace("\r\n", "\n").replace("\0", "\N{REPLACEMENT CHARACTER}").strip()
    if len(text) > NOTE_CHARACTERS:
        raise NoteError(f"the note has {len(text):,} characters, expected {NOTE_CHARACTERS:,} at most")
    standing = current_note(trial)
    version = 0 if standing is None else standing.version
    if standing is not None and version != after:
        raise NoteConflict(standing)
    if text == ("" if standing is None else standing.text):
        raise NoteError("the note is as it was, expected a change")
    try:
        with transaction.atomic():
            note = Note.objects.create(trial=trial, version=version + 1, text=text, author=author, at=timezone.now())
            words.note(trial.pk, text)
            return note
    except IntegrityError:
        collided = current_note(trial)
        if collided is None:
            raise
        raise NoteConflict(collided) from None


def set_star(trial: Trial, user: User, *, wanted: bool) -> None:
    """Star a trial, or take the star away; a second time changes nothing."""
    if wanted:
        Star.objects.get_or_create(trial=trial, user=user)
    else:
        Star.objects.filter(trial=trial, user=user).delete()


@transaction.atomic
def restrict(campaign: Campaign, names: Sequence[str] | None, *, actor: str) -> None:
    """Show a campaign to its launcher, to these people and to who may see all; None: to everybody.

    An event of the site's ledger; open pages of whoever is left out end. Raises UnknownPeople.
    """
    wanted = None if names is None else list(dict.fromkeys(names))
    if wanted is None:
        Restriction.objects.filter(campaign=campaign).delete()
    else:
        if len(wanted) > MOST_READERS:
            raise UnknownPeople(f"{len(wanted)} readers, expected {MOST_READERS} at most")
        people = list(User.objects.filter(username__in=wanted))
        if missing := sorted(set(wanted) - {user.get_username() for user in people}):
            raise UnknownPeople(f"nobody is called {', '.join(missing[:5])}, expected names of people with an account")
        Restriction.objects.get_or_create(campaign=campaign)[0].readers.set(people)
    payload = {"campaign": campaign.slug, "readers": wanted}
    append_site_event(SiteEventKind.VISIBILITY_CHANGED, actor, payload)
    after_commit(live.publish_restriction, campaign.slug)
