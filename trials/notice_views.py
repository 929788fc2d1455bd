"""The page of one's own webhooks: add one, see its secret once, try it, remove it; what was sent and how it went."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from trials.access import visible_campaigns
from trials.notice_models import Delivery, Webhook
from trials.outbound import URL_LENGTH
from trials.services import notices
from trials.tasks import deliver
from trials.vocab import Notice

SHOWN, CAMPAIGNS = 40, 200
KINDS = {
    Notice.BEST: "a new best",
    Notice.FINISHED: "the end of a campaign",
    Notice.STALLED: "nothing recorded for half an hour",
    Notice.BREAKER: "a pause after failures in a row",
}


class WebhookForm(forms.Form):
    """Where to, of what, of which campaign."""

    url = forms.CharField(max_length=URL_LENGTH, label="Address", help_text="https://, reachable from the site")
    campaign = forms.SlugField(required=False, help_text="empty: every campaign that you see")
    kinds = forms.MultipleChoiceField(
        choices=[(str(kind), text) for kind, text in KINDS.items()],
        initial=[str(kind) for kind in KINDS],
        widget=forms.CheckboxSelectMultiple,
        label="Tell of",
    )


def _person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied("log in to be told")
    return request.user


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def webhooks(request: HttpRequest) -> HttpResponse:
    """One's own webhooks. The answer to a POST is the only one that ever holds the secret."""
    user, made = _person(request), None
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = _make(user, form)
        form = form if made is None else WebhookForm()
    context = {
        "form": form,
        "made": made,
        "webhooks": Webhook.objects.filter(user=user).select_related("campaign"),
        "deliveries": Delivery.objects.filter(webhook__user=user).select_related("campaign", "webhook")[:SHOWN],
        "campaigns": visible_campaigns(user).values_list("slug", flat=True)[:CAMPAIGNS],
        "kinds": {str(kind): text for kind, text in KINDS.items()},
    }
    return render(request, "trials/webhooks.html", context, status=422 if form.errors else 200)


def _make(user: User, form: WebhookForm) -> Webhook | None:
    """None where the form has an error now."""
    asked: dict[str, Any] = form.cleaned_data
    campaign = None
    if asked["campaign"]:
        campaign = visible_campaigns(user).filter(slug=asked["campaign"]).first()
        if campaign is None:
            form.add_error("campaign", f"there is no campaign {asked['campaign']!r}")
            return None
    try:
        return notices.make_webhook(user, asked["url"], asked["kinds"], campaign)
    except notices.NoticeError as error:
        form.add_error("url", str(error))
        return None


def _own(request: HttpRequest, pk: int) -> Webhook:
    found = Webhook.objects.filter(user=_person(request), pk=pk).first()
    if found is None:
        raise Http404(f"you have no webhook {pk}")
    return found


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """One's own webhook hears nothing from now on."""
    notices.drop_webhook(_own(request, pk))
    return HttpResponseRedirect(reverse("trials:webhooks"))


@require_POST
def try_out(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a test message to one's own webhook."""
    deliver.delay(notices.send_test(_own(request, pk)).pk)
    messages.success(request, "A test is on its way: what came of it stands below.")
    return HttpResponseRedirect(reverse("trials:webhooks"))
