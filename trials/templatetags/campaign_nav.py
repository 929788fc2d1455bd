"""The row of pages of a campaign: one line here for each of them."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context
from django.urls import reverse

register = template.Library()

#: Name of the address, what stands on the tab, names of further pages that belong to it.
PAGES: list[tuple[str, str, tuple[str, ...]]] = [
    ("trials:campaign", "Overview", ()),
    ("trials:trials", "Trials", ("trials:trial",)),
    ("trials:lineage", "Lineage", ()),
    ("trials:frontier", "Frontier", ()),
    ("trials:failures", "Failures", ()),
    ("trials:roles", "Roles", ()),
    ("trials:throughput", "Throughput", ()),
    ("trials:compare", "Compare", ()),
    ("specialists:sessions", "Sessions", ("specialists:session",)),
    ("trials:report", "Report", ()),
    ("trials:audit", "Audit", ()),
]
#: What a released run of another system has no record of.
NOT_RELEASED = frozenset({"specialists:sessions"})


@register.inclusion_tag("trials/_campaign_nav.html", takes_context=True)
def campaign_nav(context: Context, campaign: Any) -> dict[str, Any]:
    """Links to the pages of ``campaign``, the one that is shown marked."""
    match = getattr(context.get("request"), "resolver_match", None)
    here = match.view_name if match else ""
    pages = [
        {"href": reverse(name, args=[campaign.slug]), "text": text, "here": here == name, "within": here in below}
        for name, text, below in PAGES
        if not (campaign.is_released_run and name in NOT_RELEASED)
    ]
    return {"pages": pages}
