"""Which key the site signs with is on record: its first use, and every rotation, signed by the key that leaves."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.conf import settings
from django.db import transaction

from trials.bundles.signing import Signer, site_signer
from trials.canonical import dumps
from trials.services.events import append_site_event
from trials.site_models import SiteEvent
from trials.vocab import SiteEventKind

_KINDS = (SiteEventKind.KEY_ADOPTED, SiteEventKind.KEY_ROTATED)


def key_on_record() -> str:
    """Public key that the site's chain names last; empty before there is one."""
    last = SiteEvent.objects.filter(kind__in=_KINDS).order_by("-seq").first()
    return "" if last is None else str(last.payload["public"])


def adopt_key(actor: str) -> Signer:
    """The site's signer; its public key is put on record when the chain does not name it yet."""
    signer = site_signer()
    if key_on_record() != signer.public:
        append_site_event(SiteEventKind.KEY_ADOPTED, actor, {"public": signer.public})
    return signer


def rotate_key(actor: str) -> tuple[Signer, Signer]:
    """Replace the key by a fresh one, vouched for by the old; returns both. The old seed is gone afterwards.

    The file changes last before the commit, and back when that fails: chain and file name the same key.
    """
    before, path, seed = adopt_key(actor), Path(settings.SIGNING_KEY_FILE), secrets.token_hex(32)
    after, kept = Signer(bytes.fromhex(seed)), path.read_text(encoding="ascii")
    statement = {"from": before.public, "public": after.public}
    payload = statement | {"signature": before.sign(dumps(statement).encode())}
    try:
        with transaction.atomic():
            append_site_event(SiteEventKind.KEY_ROTATED, actor, payload)
            _replace(path, seed + "\n")
    except BaseException:
        _replace(path, kept)
        raise
    return before, after


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    fresh.replace(path)
