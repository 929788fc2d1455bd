"""Making, finding and revoking tokens. The secret is returned once and stored nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from trials.models import ApiToken
from trials.services.events import append_site_event
from trials.vocab import Scope, SiteEventKind

PREFIX = "art_"
SECRET_BYTES = 32
SHOWN = 8
NAME_LENGTH = 60
MOST_DAYS = 3650
MOST_TOKENS = 50
USE_NOTED_EVERY = timedelta(minutes=1)


class TokenError(ValueError):
    """A token cannot be made: the message says what was expected."""


@transaction.atomic
def make_token(user: User, name: str, scopes: Sequence[str], days: int | None, *, actor: str) -> str:
    """Store a new token of ``user``, for so many days (None: until it is revoked); returns it. Raises TokenError."""
    name = " ".join(name.split())
    known = [str(scope) for scope in Scope]
    if not 1 <= len(name) <= NAME_LENGTH:
        raise TokenError(f"name has {len(name)} characters, expected 1 to {NAME_LENGTH}")
    if not scopes or not set(scopes) <= set(known):
        raise TokenError(f"scopes are {', '.join(scopes) or 'none'}, expected some of {', '.join(known)}")
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise TokenError(f"days are {days}, expected 1 to {MOST_DAYS}")
    if ApiToken.objects.usable().filter(user=user).count() >= MOST_TOKENS:
        raise TokenError(f"{user.get_username()} has {MOST_TOKENS} tokens, expected fewer: revoke one")
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    now = timezone.now()
    made = ApiToken.objects.create(
        user=user,
        name=name,
        scopes=[scope for scope in known if scope in scopes],
        sha256=_hashed(secret),
        shown=secret[:SHOWN],
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    append_site_event(SiteEventKind.TOKEN_MADE, actor, _told(made))
    return secret


@transaction.atomic
def revoke_token(token: ApiToken, *, actor: str) -> None:
    """From now on it opens nothing. A second time changes nothing."""
    changed = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
    if changed:
        append_site_event(SiteEventKind.TOKEN_REVOKED, actor, _told(token))


def find_token(secret: str) -> ApiToken | None:
    """The usable token with this secret, with its owner; notes the use, once a minute at most."""
    found: ApiToken | None = ApiToken.objects.usable().select_related("user").filter(sha256=_hashed(secret)).first()
    if found is not None:
        now = timezone.now()
        if found.used_at is None or now - found.used_at > USE_NOTED_EVERY:
            ApiToken.objects.filter(pk=found.pk).update(used_at=now)
    return found


def _hashed(secret: str) -> str:
    return sha256(secret.encode(errors="replace")).hexdigest()


def _told(token: ApiToken) -> dict[str, object]:
    return {
        "token": token.pk,
        "user": token.user.get_username(),
        "name": token.name,
        "scopes": token.scopes,
        "expires_at": None if token.expires_at is None else token.expires_at.isoformat(),
    }
