"""The only door to campaigns and trials for views and sockets: whoever asks gets the row, a 404 or a refusal."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.core.exceptions import PermissionDenied
from django.http import Http404

from trials.models import Campaign, Trial
from trials.querysets import CampaignQuerySet

Viewer = AbstractBaseUser | AnonymousUser


def visible_campaigns(user: Viewer) -> CampaignQuerySet:
    """Campaigns that ``user`` may see: all but those that others restricted. Raises PermissionDenied."""
    if not (user.is_authenticated and user.is_active):
        raise PermissionDenied("log in to see campaigns")
    found: CampaignQuerySet = Campaign.objects.all()
    return found if sees_every_campaign(user) else found.shown_to(user.pk)


def sees_every_campaign(user: Viewer) -> bool:
    """Whether nothing is hidden from ``user``: figures of the whole site name every campaign."""
    return _has(user, "trials.see_every_campaign")


def _has(user: Viewer, permission: str) -> bool:
    return bool(user.is_active) and isinstance(user, PermissionsMixin) and user.has_perm(permission)


def viewers(slug: str, accounts: Collection[int]) -> tuple[Campaign | None, set[int]]:
    """The campaign with this slug, None where there is none, and which of these accounts (by key) may see it now."""
    campaign = Campaign.objects.select_related("best_trial").with_restriction().filter(slug=slug).first()
    active = get_user_model().objects.filter(pk__in=accounts, is_active=True)
    if campaign is None:
        return None, set()
    if not campaign.restricted:
        return campaign, set(active.values_list("pk", flat=True))
    return campaign, {user.pk for user in active if visible_campaigns(user).filter(pk=campaign.pk).exists()}


def access_campaign(user: Viewer, slug: str) -> Campaign:
    """The campaign with this slug. Raises PermissionDenied, and Http404 when it is not there or not visible."""
    rows = visible_campaigns(user).select_related("created_by", "best_trial", "share")
    campaign = rows.filter(slug=slug).first()
    if campaign is None:
        raise Http404(f"there is no campaign {slug!r}")
    found: Campaign = campaign
    return found


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
