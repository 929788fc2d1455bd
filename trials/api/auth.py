"""Who asks: a token in the Authorization header, and nothing else. Cookies open no part of the interface."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.throttling import AuthRateThrottle

from trials.models import ApiToken
from trials.services.tokens import find_token
from trials.vocab import Scope


class Token(HttpBearer):
    """``Authorization: Bearer art_...`` of a token that was made for this scope; the request is its owner's then."""

    def __init__(self, scope: Scope = Scope.READ) -> None:
        super().__init__()
        self._scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        """The token; None makes an answer 401. Raises PermissionDenied for one that was made for something else."""
        found = find_token(token)
        if found is None:
            return None
        if not found.allows(self._scope):
            raise PermissionDenied(f"this token is for {', '.join(found.scopes)}, expected {self._scope}")
        request.user = found.user
        return found


def rate_limit() -> AuthRateThrottle:
    """So many requests a minute for each token, counted in the cache that all web processes share."""
    return AuthRateThrottle(settings.API_RATE)
