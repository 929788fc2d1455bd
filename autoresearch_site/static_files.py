"""Static files in front of Django: a page asks for a dozen, and each would take a turn in Django's one thread."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import Response, StaticFile

from autoresearch_site.body_limit import App, Receive, Send

Headers = list[tuple[bytes, bytes]]


class StaticFiles:
    """An ASGI application that answers for the files of STATIC_ROOT and hands all else to ``app``.

    Which files there are, their encodings, validators and lifetimes is WhiteNoise's to say, which headers make them
    safe Django's. What Django would redirect to https, and everything under DEBUG, goes to ``app``.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.files: dict[str, StaticFile] = {} if settings.DEBUG else WhiteNoiseMiddleware(app).files
        self.safe = _safe_headers()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        found = self.files.get(scope["path"]) if scope["type"] == "http" else None
        if found is None or not _may_answer(scope):
            await self.app(scope, receive, send)
            return
        response, body = await asyncio.to_thread(_read, found, scope)
        headers = [(name.lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": int(response.status), "headers": [*headers, *self.safe]})
        await send({"type": "http.response.body", "body": body})


def _may_answer(scope: MutableMapping[str, Any]) -> bool:
    """Whether the request came over https, where it has to."""
    return not settings.SECURE_SSL_REDIRECT or (b"x-forwarded-proto", b"https") in scope["headers"]


def _read(found: StaticFile, scope: MutableMapping[str, Any]) -> tuple[Response, bytes]:
    told = {f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1")
            for name, value in scope["headers"]}  # fmt: skip
    response = found.get_response(scope["method"], told)
    if response.file is None:
        return response, b""
    with response.file as file:
        return response, file.read()


def _safe_headers() -> Headers:
    """What Django's security middleware adds to an answer."""
    request = HttpRequest()
    if settings.SECURE_SSL_REDIRECT:
        request.META |= {"HTTP_X_FORWARDED_PROTO": "https"}
    response = SecurityMiddleware(lambda request: HttpResponse()).process_response(request, HttpResponse())
    added = {name: value for name, value in response.items() if name.lower() != "content-type"}
    return [(name.lower().encode(), value.encode()) for name, value in added.items()]
