"""The audit page of a campaign, its bundle as a download, and the verifier."""

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
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_safe

from trials import audit_page
from trials.access import access_campaign
from trials.bundles.export import VERIFIER, ExportError
from trials.bundles.redaction import known_profiles
from trials.services.exports import export_to

CHUNK = 1 << 18


@require_safe
def audit(request: HttpRequest, slug: str) -> HttpResponse:
    """State of the chain, how to take the record away and check it, and who did."""
    return render(request, "trials/audit.html", audit_page.context(access_campaign(request.user, slug)))


@require_safe
def verifier(request: HttpRequest) -> HttpResponse:
    """The program that checks bundles, as this site has it."""
    response = HttpResponse(VERIFIER.read_bytes(), content_type="text/x-python; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="verify_bundle.py"'
    return response


@require_GET
async def bundle(request: HttpRequest, slug: str) -> HttpResponseBase:
    """One campaign's bundle; ``?redact=names,sources``, also as ``?redact=names&redact=sources``, leaves something out.

    Made in a thread and a file of its own, so that neither other pages wait for it nor memory grows with it.
    """
    user = await request.auser()
    found = await sync_to_async(access_campaign)(user, slug)
    try:
        profiles = known_profiles(",".join(request.GET.getlist("redact")))
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
