"""What every page may show, read when it is shown."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from trials.services import maintenance


def site(request: HttpRequest) -> dict[str, Any]:
    """``maintenance``: who has begun it and why, falsy while it is off."""
    return {"maintenance": SimpleLazyObject(maintenance.current)}
