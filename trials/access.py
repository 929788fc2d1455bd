"""The only door to campaigns and trials for views and sockets: whoever asks gets the row, a 404 or a refusal."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin, User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest

from trials.models import Campaign, Trial
from trials.querysets import CampaignQuerySet
from trials.share_models import Share
from trials.statements import columns, instance, rows

Viewer = AbstractBaseUser | AnonymousUser
_MODELS: tuple[type[Model], ...] = (Campaign, User, Trial, Share)


def visible_campaigns(user: Viewer) -> CampaignQuerySet:
    """Campaigns that ``user`` may see: all but those that others restricted. Raises PermissionDenied."""
    _refuse_nobody(user)
    assert user.pk is not None
    found: CampaignQuerySet = Campaign.objects.all()
    return found if sees_every_campaign(user) else found.shown_to(user.pk)


def _refuse_nobody(user: Viewer) -> None:
    if not (user.is_authenticated and user.is_active):
        raise PermissionDenied("log in to see campaigns")


def sees_every_campaign(user: Viewer) -> bool:
    """Whether nothing is hidden from ``user``: figures of the whole site name every campaign."""
    return _has(user, "trials.see_every_campaign")


def _has(user: Viewer, permission: str) -> bool:
    return bool(user.is_active) and isinstance(user, PermissionsMixin) and user.has_perm(permission)


def viewers(slug: str, accounts: Collection[int]) -> tuple[Campaign | None, set[int]]:
    """The campaign with this slug, None where there is none, and which of these accounts (by key) may see it now."""
    campaign, restricted = _campaign(slug)
    if campaign is None:
        return None, set()
    if restricted:
        active = get_user_model().objects.filter(pk__in=accounts, is_active=True)
        return campaign, {user.pk for user in active if visible_campaigns(user).filter(pk=campaign.pk).exists()}
    return campaign, {pk for (pk,) in rows("SELECT id FROM auth_user WHERE id = ANY(%s) AND is_active", [[*accounts]])}


def access_campaign(user: Viewer, slug: str) -> Campaign:
    """The campaign with this slug. Raises PermissionDenied, and Http404 when it is not there or not visible."""
    _refuse_nobody(user)
    found, restricted = _campaign(slug)
    if found is None or (restricted and not visible_campaigns(user).filter(pk=found.pk).exists()):
        raise Http404(f"there is no campaign {slug!r}")
    return found


def campaign_of(request: HttpRequest, slug: str) -> Campaign:
    """``access_campaign`` of who asks, once per request: what tells a page's version and the page are two functions."""
    found: Campaign | None = getattr(request, "_campaign", None)
    if found is None or found.slug != slug:
        found = request._campaign = access_campaign(request.user, slug)  # type: ignore[attr-defined]
    return found


def _campaign(slug: str) -> tuple[Campaign | None, bool]:
    """The campaign with its launcher, its best trial and its share, and whether it is hidden from anybody."""
    found = rows(_question(), [slug])
    if not found:
        return None, False
    *values, restricted = found[0]
    left = iter(values)
    campaign, launcher, best, share = (_next(model, left) for model in _MODELS)
    campaign.created_by, campaign.best_trial = launcher, best
    campaign._state.fields_cache["share"] = share  # None too: there is none
    return campaign, bool(restricted)


def _next(model: type[Model], values: Iterator[Any]) -> Any:
    """The row that the next values are; None where the join found none."""
    own = list(islice(values, len(model._meta.concrete_fields)))
    return None if own[0] is None else instance(model, own)


@cache
def _question() -> str:
    """Asked by every page and socket: prepared."""
    wanted = ", ".join(columns(model) for model in _MODELS)
    return (  # names of tables and columns
        f"SELECT {wanted}, EXISTS (SELECT FROM trials_restriction WHERE campaign_id = trials_campaign.id) "  # noqa: S608
        "FROM trials_campaign LEFT JOIN auth_user ON auth_user.id = trials_campaign.created_by_id "
        "LEFT JOIN trials_trial ON trials_trial.id = trials_campaign.best_trial_id "
        "LEFT JOIN trials_share ON trials_share.campaign_id = trials_campaign.id WHERE trials_campaign.slug = %s"
    )


def access_trial(user: Viewer, slug: str, number: int) -> Trial:
    """One trial of a visible campaign, with campaign and parent. Raises PermissionDenied and Http404."""
    campaign = access_campaign(user, slug)
    trial = Trial.objects.of(campaign.pk).select_related("parent").filter(number=number).first()
    if trial is None:
        raise Http404(f"campaign {slug!r} has no trial {number}")
    found: Trial = trial
    found.campaign = campaign
    if found.parent is not None:
        found.parent.campaign = campaign
    return found


def may_launch(user: Viewer) -> bool:
    """Whether ``user`` may launch campaigns."""
    return _has(user, "trials.add_campaign")


def may_steer(user: Viewer, campaign: Campaign) -> bool:
    """Whether ``user`` may pause, resume, stop and restrict a campaign: of others, or one that he launched himself."""
    own = campaign.created_by_id is not None and campaign.created_by_id == user.pk
    return _has(user, "trials.change_campaign") or (own and may_launch(user))


def may_note(user: Viewer) -> bool:
    """Whether ``user`` may write notes on trials that he sees."""
    return _has(user, "trials.add_note")
