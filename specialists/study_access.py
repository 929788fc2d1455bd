"""The only door to studies for views and sockets.

A study tells of its campaigns, so whoever sees it may see them all.
"""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import Http404

from specialists.models import Study, StudyCampaign
from trials.access import Viewer, visible_campaigns


def visible_studies(user: Viewer) -> QuerySet[Study]:
    """Studies of which ``user`` may see every campaign. Raises PermissionDenied."""
    hidden = StudyCampaign.objects.exclude(campaign__in=visible_campaigns(user))
    return Study.objects.exclude(pk__in=hidden.values("study"))


def access_study(user: Viewer, slug: str) -> Study:
    """The study with this slug. Raises PermissionDenied, and Http404 when it is not there or not visible."""
    study = visible_studies(user).select_related("created_by").filter(slug=slug).first()
    if study is None:
        raise Http404(f"there is no study {slug!r}")
    return study
