"""The audit bundle of a campaign as a download."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET

from trials.access import access_campaign
from trials.bundles.export import ExportError
from trials.bundles.redaction import known_profiles
from trials.services.exports import export_to

CHUNK = 1 << 18


@require_GET
async def bundle(request: HttpRequest, slug: str) -> HttpResponseBase:
    """One campaign's bundle; ``?redact=names,sources`` leaves something out. Made in a thread and a file of its own, so
    that neither other pages wait for it nor memory grows with it."""
    user = await request.auser()
    found = await sync_to_async(access_campaign)(user, slug)
    try:
        profiles = known_profiles(request.GET.get("redact", ""))
        stream = await sync_to_async(_made, thread_sensitive=False)(found.slug, profiles, user.get_username())
    except (ValueError, ExportError) as error:
        return HttpResponse(f"{error}\n", status=400, content_type="text/plain; charset=utf-8")
    response = StreamingHttpResponse(_chunks(stream), content_type="application/zip")
    response["Content-Length"] = str(os.fstat(stream.fileno()).st_size)
    response["Content-Disposition"] = f'attachment; filename="{found.slug}.zip"'
    return response


def _made(slug: str, profiles: list[str], actor: str) -> IO[bytes]:
    """The bundle in a file that has no name any more."""
    folder = Path(settings.DATA_DIR) / "bundles"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as private:
            path = Path(private) / "bundle.zip"
            export_to(path, slug, profiles=profiles, actor=actor)
            return path.open("rb")
    finally:
        connection.close()  # this thread's own


async def _chunks(stream: IO[bytes]) -> AsyncIterator[bytes]:
    with stream:
        while block := await asyncio.to_thread(stream.read, CHUNK):
            yield block
