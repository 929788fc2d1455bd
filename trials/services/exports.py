"""Bundles leave the site: every export is a line of its chain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trials.bundles.export import export_bundle
from trials.bundles.files import whole_file
from trials.services.events import append_site_event
from trials.services.keys import adopt_key
from trials.vocab import SiteEventKind


def export_to(
    path: Path,
    slug: str,
    *,
    profiles: list[str],
    actor: str,
    report: Callable[[str, int], None] = lambda member, done: None,
) -> dict[str, Any]:
    """Write a campaign's bundle to ``path``, whole or not at all; returns its head.

    Raises Campaign.DoesNotExist, trials.bundles.export.ExportError, trials.bundles.signing.BadKey, OSError.
    """
    signer = adopt_key(actor)
    with whole_file(path) as stream:
        head = export_bundle(slug, stream, signer=signer, profiles=profiles, report=report)
    payload = {
        "campaign": slug,
        "seq": head["seq"],
        "head": head["sha256"],
        "manifest": head["manifest_sha256"],
        "redacted": head["redacted"],
    }
    append_site_event(SiteEventKind.EXPORTED, actor, payload)
    return head
