"""The quickstart's parts: its settings, what must hold before anything is started, its campaign, its progress."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from autoresearch_site.embedded.layout import Layout
from autoresearch_site.process import last_line
from autoresearch_site.stack import Stack, StackError, bind, serving
from evaluators.preflight import read_recipe
from evaluators.registry import profile_of
from evaluators.sandbox import reach
from specialists import launch
from specialists.launch import LaunchSettings, frozen_spec
from trials.canonical import sha256_of
from trials.models import Campaign, Trial
from trials.services.blobs import tree_sha256
from trials.services.reports import current_report
from trials.vocab import LIVE_CAMPAIGN_STATES, CampaignState, KeepRule

ENVIRONMENT, PROFILE, ROSTER = "parameter_golf", "cpu", "paper-ten"
_SITE_WITHIN = 90.0  # seconds
_LOOK = 0.3
_NO_LIMIT = 24.0 * 365  # hours; an interrupted demo may be resumed days later


class DemoError(RuntimeError):
    """The demo cannot run, or its campaign cannot end; the message is one line."""


@dataclass(frozen=True)
class DemoSettings:
    """``PORT``, ``DEMO_TRIALS``, ``DEMO_SEED`` and ``DEMO_EXIT`` of the environment."""

    port: int
    trials: int
    seed: int
    leave: bool

    @classmethod
    def read(cls) -> DemoSettings:
        """Raises DemoError that names the variable and what was expected."""
        leave = os.environ.get("DEMO_EXIT", "").strip().lower()
        if leave not in {"", "0", "false", "no", "1", "true", "yes"}:
            raise DemoError(f"DEMO_EXIT is {leave!r}, expected 1 or 0")
        return cls(
            port=_number("PORT", 8000, 1, 65535),
            trials=_number("DEMO_TRIALS", 60, 1, launch.MAX_TRIALS),
            seed=_number("DEMO_SEED", 0, 0, 2**31 - 1),
            leave=leave in {"1", "true", "yes"},
        )

    def launch_settings(self) -> LaunchSettings:
        """The campaign; slots and limits are fixed, so that only the seed decides what a search of N trials finds."""
        return LaunchSettings(
            environment=ENVIRONMENT,
            profile=PROFILE,
            roster=ROSTER,
            keep_rule=KeepRule.STRICT,  # confirmations would about double the minutes of a first look
            trials=self.trials,
            seed=self.seed,
            reproducible=True,
            slots=2,
            hours=_NO_LIMIT,
            no_improvement_hours=_NO_LIMIT,
            name=f"Demo {self.trials} trials seed {self.seed}",
        )


def _number(name: str, default: int, low: int, high: int) -> int:
    text = os.environ.get(name, "").strip() or str(default)
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise DemoError(f"{name} is {text!r}, expected a whole number from {low} to {high}")
    return int(text)


def check_host(chosen: DemoSettings) -> None:
    """All that can be wrong with this host, checked before anything starts: port, folder, recipe, data, sandbox.

    Raises DemoError, StackError, EmbeddedError, LookupError, OSError, ValueError, SandboxUnavailable, HarnessFault.
    """
    bind(chosen.port).close()
    Layout(settings.DATA_DIR).make()
    if other := serving(settings.DATA_DIR):
        raise StackError(f"DATA_DIR {settings.DATA_DIR} is served already, by {other}: stop that first")
    environment, profile = profile_of(ENVIRONMENT, PROFILE)
    read_recipe(environment.spec)
    launch.validate(chosen.launch_settings())
    environment.prepare(profile)
    reach(settings.EVALUATOR_LEVEL)


def last_campaign(chosen: DemoSettings) -> Campaign | None:
    """The newest demo campaign of these settings, this environment and recipe that ended well or is under way."""
    environment, _ = profile_of(ENVIRONMENT, PROFILE)
    plan = chosen.launch_settings()
    same = Campaign.objects.filter(
        name=plan.name,
        seed=plan.seed,
        max_trials=plan.trials,
        reproducible=True,
        bundle__isnull=True,
        spec_sha256=sha256_of(frozen_spec(environment.spec, PROFILE)),
        trials__number=0,
        trials__source_id=tree_sha256(read_recipe(environment.spec)),
        state__in=[*LIVE_CAMPAIGN_STATES, CampaignState.FINISHED],
    )
    found: Campaign | None = same.select_related("best_trial").order_by("-created_at").first()
    return found


def wait_for_site(stack: Stack) -> str:
    """The address, once the log-in page answers; raises StackError."""
    address = f"http://127.0.0.1:{stack.port}/"
    deadline = time.monotonic() + _SITE_WITHIN
    while True:
        stack.check()
        client = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=5.0)
        try:
            client.request("GET", "/login/")
            status = client.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            client.close()
        if status >= 500:
            log = settings.DATA_DIR / "log" / "web.log"
            raise StackError(f"the log-in page answers {status}, expected 200: {last_line(log)} (log: {log})")
        if status:
            return address
        if time.monotonic() > deadline:
            raise StackError(f"the site does not answer at {address} after {_SITE_WITHIN:.0f} s")
        time.sleep(0.1)


def follow(campaign: Campaign, stack: Stack, say: Callable[[str], None], *, leave_on_pause: bool) -> Campaign:
    """Block until the campaign ends (or pauses), one line per finished trial; returns it as it then is."""
    shown = set(Trial.objects.of(campaign.pk).finished().values_list("number", flat=True))
    if len(shown) > 1:
        say(f"{len(shown) - 1} of {campaign.max_trials} trials are on record, going on")
    state = campaign.state
    while True:
        stack.check()
        campaign = Campaign.objects.select_related("best_trial").get(pk=campaign.pk)
        low = next((number for number in range(len(shown) + 1) if number not in shown), 0)
        fresh = Trial.objects.of(campaign.pk).finished().filter(number__gte=low).exclude(number__in=shown)
        for trial in fresh.for_rows().order_by("finished_at"):
            shown.add(trial.number)
            say(trial_line(trial, campaign))
        if campaign.state != state:
            state = campaign.state
            say(" ".join(f"campaign {state} {campaign.state_reason}".split()))
        if state not in LIVE_CAMPAIGN_STATES or (leave_on_pause and state == CampaignState.PAUSED):
            return campaign
        time.sleep(_LOOK)


def trial_line(trial: Trial, campaign: Campaign) -> str:
    """``  7/60  keep   loss   val_bpb 2.1034 (-0.0123)``: number, label, role, score and its change against best."""
    line = f"{trial.number:>5}/{campaign.max_trials}  {trial.standing:<20} {trial.role:<20}"
    if trial.score is None:
        return f"{line} {trial.reason[:80]}"
    change = "" if trial.delta_vs_best is None else f" ({trial.delta_vs_best:+.4f})"
    return f"{line} {campaign.score_name} {trial.score:.4f}{change}"


def summary(campaign: Campaign) -> dict[str, Any]:
    """The figures of the last line of ``DEMO_EXIT=1``. Raises DemoError for a campaign that did not end well."""
    if campaign.state != CampaignState.FINISHED:
        raise DemoError(f"campaign {campaign.slug} is {campaign.state}: {campaign.state_reason or 'no reason given'}")
    report = current_report(campaign)
    names = ("campaign", "trials", "keeps", "start", "best", "labels", "hours", "relative_change_pct", "sealed")
    return {
        name: report[name] for name in (*names, "trials_per_hour", "parallel_efficiency", "infrastructure_failures")
    }


def say_progress(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
