"""Keeping the newest report of each study, as ``trials.services.reports`` does for campaigns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from specialists.models import Study, StudyReport
from specialists.studies.standing import group_name, seq_of
from trials import live
from trials.commits import after_commit

VERSION = 1  # of the definitions in ``report``: a report of another version is computed again
WAITS = timedelta(minutes=15)
"""How long a request stands before it may be repeated: a worker may have been lost with it."""
_LOCK = 7_305_301


def stored_report(study: Study) -> StudyReport | None:
    """The newest report that was computed, of whatever state; None before the first."""
    return StudyReport.objects.filter(study=study, seq__gt=0, version=VERSION).first()


def current_report(study: Study) -> dict[str, Any]:
    """The report of the study as it is now: the stored one, or computed and stored."""
    build = import_string("specialists.studies.report.build_report")  # scipy, for those who need it
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, study.pk % 2**31])
        stored = stored_report(study)
        if stored is not None and stored.seq == seq_of(study):
            body: dict[str, Any] = stored.body
            return body
        body = build(Study.objects.get(pk=study.pk))
        StudyReport.objects.update_or_create(
            study=study,
            defaults={"seq": body["at_event"], "version": VERSION, "body": body, "computed_at": timezone.now()},
        )
        return body


def compute(study_id: int) -> None:
    """What the task does: bring the stored report up to date, take the request off the row, tell open pages."""
    study = Study.objects.get(pk=study_id)
    try:
        current_report(study)
    finally:
        StudyReport.objects.filter(study=study).update(requested_at=None)
    live.push(group_name(study.slug), {"type": "changed"})


@transaction.atomic
def request_report(study: Study, enqueue: Callable[[int], object]) -> bool:
    """Ask for a fresh report unless somebody has; True when this call did."""
    stored, _ = StudyReport.objects.select_for_update().get_or_create(study=study)
    if _waits(stored) or (stored.version == VERSION and stored.seq == seq_of(study)):
        return False
    StudyReport.objects.filter(pk=stored.pk).update(requested_at=timezone.now())
    after_commit(enqueue, study.pk)
    return True


def is_pending(study: Study) -> bool:
    """Whether a worker has been asked and has not answered yet."""
    row = StudyReport.objects.filter(study=study).only("requested_at").first()
    return row is not None and _waits(row)


def _waits(row: StudyReport) -> bool:
    return row.requested_at is not None and timezone.now() - row.requested_at < WAITS
