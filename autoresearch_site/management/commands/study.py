"""``manage.py study ENV --arms A,B``: run a study to its end and print what the comparison came to."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from autoresearch_site.stack import Stack, StackError
from specialists.models import Study
from specialists.studies.plan import ARMS, CATALOG_VS_LLM, ROSTER, TESTS, StudySettings
from specialists.studies.reports import current_report
from specialists.studies.services import launch_study
from specialists.studies.standing import places
from specialists.studies.tables import lines
from specialists.vocab import StudyState

POLL_SECONDS = 1.0


class Command(BaseCommand):
    help = (
        "Launch campaigns that differ in one thing, repeat them with different seeds, and compare them. Given again, "
        "it goes on where it ended; finished campaigns are never repeated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        fallback = StudySettings(environment="", arms=())
        known = ", ".join((*ARMS, CATALOG_VS_LLM, f"{ROSTER}NAME"))
        parser.add_argument("environment")
        parser.add_argument("--arms", required=True, help=f"comma-separated, the one on trial first: {known}")
        for name in ("profile", "proposer", "level", "name"):
            parser.add_argument(f"--{name}", default=getattr(fallback, name))
        parser.add_argument("--keep-rule", default=fallback.keep_rule, help="verified (the default) or strict")
        parser.add_argument("--repeats", type=int, default=fallback.repeats, help="campaigns of each arm")
        parser.add_argument("--trials", type=int, default=fallback.trials, help="of each campaign")
        parser.add_argument("--hours", type=float, default=fallback.hours, help="at most, of each campaign")
        parser.add_argument("--slots", type=int, default=settings.EVALUATOR_SLOTS, help="of each campaign")
        parser.add_argument("--parallel", type=int, default=fallback.parallel, help="campaigns at once")
        parser.add_argument("--seed", type=int, default=fallback.seed, help="of the first repeat")
        parser.add_argument("--reproducible", action="store_true")
        parser.add_argument("--usd", type=float, help="US dollars for language models, each campaign")
        parser.add_argument("--test", default=fallback.test, help=f"named beforehand: {', '.join(TESTS)}")
        parser.add_argument("--alpha", type=float, default=fallback.alpha, help="error of all comparisons together")
        parser.add_argument("--no-wait", action="store_true", help="only launch; workers elsewhere do the rest")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, no_wait: bool, arms: str, **options: Any) -> None:
        values = {name: options[name] for name in StudySettings.__dataclass_fields__ if name != "arms"}
        named = tuple(name.strip() for name in arms.split(",") if name.strip())
        chosen = StudySettings(arms=named, **values)
        try:
            if no_wait:
                study = launch_study(chosen, actor="command")
                printed = {"study": study.slug, "state": study.state, "url": study.get_absolute_url()}
                self.stdout.write(json.dumps(printed) if options["json"] else "\n".join(lines(printed)))
                return
            with Stack(settings.DATA_DIR, web=False) as stack:
                study = wait_for(launch_study(chosen, actor="command"), stack)
                report = current_report(study)
        except (StackError, OSError, ValueError) as error:
            raise CommandError(" ".join(str(error).split())) from error
        if study.state == StudyState.FAILED:
            raise CommandError(f"study {study.slug} failed: {study.state_reason}; the same command goes on with it")
        self.stdout.write(json.dumps(report) if options["json"] else "\n".join(lines(report)))


def wait_for(study: Study, stack: Stack) -> Study:
    """Block until nothing more will come; progress goes to stderr. Raises StackError."""
    shown = ""
    while True:
        stack.check()
        study = Study.objects.get(pk=study.pk)
        found = places(study)
        running = [
            f"{place.arm} {place.repeat + 1} at {place.campaign.trial_count}/{place.campaign.max_trials}"
            for place in found
            if place.campaign is not None and place.live
        ]
        done = sum(place.complete for place in found)
        line = f"{study.slug}: {study.state}, {done}/{len(found)} campaigns, {', '.join(running) or 'none running'}"
        if line != shown:
            sys.stderr.write(line + "\n")
            shown = line
        if study.state != StudyState.RUNNING:
            return study
        time.sleep(POLL_SECONDS)
