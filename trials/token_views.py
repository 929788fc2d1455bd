"""The page of one's own tokens: make one, see it once, revoke it."""

from __future__ import annotations

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from trials.access import may_launch
from trials.models import ApiToken
from trials.services.tokens import MOST_DAYS, NAME_LENGTH, TokenError, make_token, revoke_token
from trials.vocab import Scope

SHOWN = 100


class TokenForm(forms.Form):
    """What a new token is for and how long it lasts."""

    name = forms.CharField(max_length=NAME_LENGTH, help_text="where it will be used")
    days = forms.IntegerField(min_value=1, max_value=MOST_DAYS, initial=90, help_text="until it expires")
    steer = forms.BooleanField(required=False, label="May steer", help_text="launch, pause, resume and stop")

    def scopes(self) -> list[str]:
        """Of a valid form."""
        return [str(Scope.READ), *([str(Scope.STEER)] if self.cleaned_data["steer"] else [])]


def _owner(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied("log in to see your tokens")
    return request.user


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """One's own tokens, newest first. The answer to a POST is the only one that ever holds the secret."""
    user, secret = _owner(request), ""
    form = TokenForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        try:
            secret = make_token(user, asked["name"], form.scopes(), asked["days"], actor=user.get_username())
        except TokenError as error:
            form.add_error(None, str(error))
        else:
            form = TokenForm()
    context = {
        "form": form,
        "secret": secret,
        "tokens": ApiToken.objects.filter(user=user)[:SHOWN],
        "may_launch": may_launch(user),
    }
    return render(request, "trials/tokens.html", context, status=422 if form.errors else 200)


@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """One's own token opens nothing from now on."""
    user = _owner(request)
    found = ApiToken.objects.select_related("user").filter(user=user, pk=pk).first()
    if found is None:
        raise Http404(f"you have no token {pk}")
    revoke_token(found, actor=user.get_username())
    return HttpResponseRedirect(reverse("trials:tokens"))
