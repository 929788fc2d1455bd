"""Launching and steering a campaign: validation, the starting trial, pause, resume, stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.module_loading import import_string

from evaluators.contract import Environment, EnvironmentSpec
from evaluators.registry import ENVIRONMENTS
from specialists import accounts, checkpoints, dispatch, quotas
from specialists.proposers.catalog import applies
from specialists.proposers.command.config import NotConfigured
from specialists.proposers.command.proposer import configured
from specialists.roster_store import find_roster, rosters_of
from specialists.rosters import Roster, RosterError, check
from specialists.starts import Start, StartError, start_of
from specialists.vocab import CATALOGUED, ProposerName
from specialists.workspace import decode
from trials.access import visible_campaigns
from trials.commits import after_commit
from trials.models import Approval, Campaign, Evaluation
from trials.services import answers, campaigns, maintenance, remeasures, shares, submissions
from trials.vocab import Answer, CampaignState, Enforcement, KeepRule, LineagePolicy

LEVELS = ("L2", "L3", "L4")
MAX_TRIALS, MAX_SLOTS, MAX_HOURS = 1_000_000, 512, 24.0 * 365
BASELINE_ROLE = "baseline"
#: Keep rules that measure again whatever improves; that proves nothing where the score is a script's own word.
MEASURES_AGAIN = frozenset({KeepRule.VERIFIED})


class LaunchError(ValueError):
    """A setting cannot be used: ``field`` names it, the message says what was expected."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


@dataclass(frozen=True)
class LaunchSettings:
    """What a person chooses at launch. Hours are wall-clock; ``level`` is the least isolation that is accepted.

    start_from: ``SLUG`` or ``SLUG:TRIAL`` of a campaign whose keep is the starting recipe; empty: the environment's.
    weight: what its use counts for where campaigns compete for evaluators.
    usd: money for language models, None: as the environment says (docs/llm.md).
    approve_keeps: a person is asked before a keep becomes the base; approve_trials, approve_hours, approve_usd: and
    before more than each so much is used (0: nobody is).
    Without a roster the environment's first is taken; without a keep rule ``verified``, or ``strict`` where scores are
    a script's own word.
    """

    environment: str
    profile: str = "cpu"
    roster: str = ""
    proposer: str = ProposerName.CATALOG
    lineage: str = LineagePolicy.SHARED
    keep_rule: str = ""
    enforcement: str = Enforcement.STRICT
    trials: int = 60
    hours: float = 24.0
    no_improvement_hours: float = 4.0
    slots: int = 2
    weight: int = shares.LEAST
    seed: int = 0
    reproducible: bool = False
    start_from: str = ""
    level: str = "L2"
    name: str = ""
    usd: float | None = None
    approve_keeps: bool = False
    approve_trials: int = 0
    approve_hours: float = 0.0
    approve_usd: float = 0.0


def validate(chosen: LaunchSettings, user: User | None = None) -> tuple[Environment, Roster, Start]:
    """Environment, roster and start of valid settings. Raises LaunchError for the first that cannot be used.

    user: may start from campaigns that he sees; None, a command, from any.
    """
    environment = ENVIRONMENTS.get(chosen.environment)
    _one_of("environment", chosen.environment, ENVIRONMENTS)
    assert environment is not None
    _one_of("profile", chosen.profile, environment.spec.profiles)
    roster = _roster(chosen.roster, environment.spec)
    _one_of("proposer", chosen.proposer, [str(name) for name in ProposerName])
    _one_of("lineage", chosen.lineage, [str(policy) for policy in LineagePolicy])
    _believable(chosen.keep_rule, environment.spec)
    _one_of("keep_rule", keep_rule_of(chosen, environment.spec), [str(rule) for rule in KeepRule])
    _one_of("enforcement", chosen.enforcement, [str(each) for each in Enforcement])
    _one_of("level", chosen.level, LEVELS)
    _between("trials", chosen.trials, 1, MAX_TRIALS)
    _between("slots", chosen.slots, 1, MAX_SLOTS)
    _between("weight", chosen.weight, shares.LEAST, shares.MOST)
    _between("hours", chosen.hours, 0.01, MAX_HOURS)
    _between("no_improvement_hours", chosen.no_improvement_hours, 0.01, MAX_HOURS)
    _between("seed", chosen.seed, 0, 2**31 - 1)
    _checkpoints(chosen)
    start = _start(chosen, environment.spec, user)
    if chosen.proposer in CATALOGUED:
        _in_catalogue(environment.spec, start)
    if chosen.proposer == ProposerName.COMMAND:
        _has_agent(chosen)
    agent_plan(chosen, roster)
    if (halted := maintenance.current()) is not None:
        raise LaunchError("maintenance", f"nothing is launched {halted}, expected its end")
    _within_quota(quotas.check, user)
    return environment, roster, start


def _within_quota(ask: Callable[[User | None], None], user: User | None) -> None:
    try:
        ask(user)
    except quotas.QuotaReached as error:
        raise LaunchError("quota", str(error)) from error


def _checkpoints(chosen: LaunchSettings) -> dict[str, Any]:
    """Where a person is asked. Raises LaunchError."""
    _between("approve_trials", chosen.approve_trials, 0, MAX_TRIALS)
    _between("approve_hours", chosen.approve_hours, 0, MAX_HOURS)
    _between("approve_usd", chosen.approve_usd, 0, 1e9)
    if chosen.approve_usd and chosen.proposer != ProposerName.LLM:
        raise LaunchError("approve_usd", f"what {chosen.proposer} costs is not known here, expected no amount")
    return checkpoints.chosen_at_launch(
        chosen.approve_keeps, trials=chosen.approve_trials, hours=chosen.approve_hours, usd=chosen.approve_usd
    )


def _roster(name: str, spec: EnvironmentSpec) -> Roster:
    roster = find_roster(spec, name)
    if roster is None:
        _one_of("roster", name, rosters_of(spec))
    assert roster is not None
    try:
        check(roster, spec)
    except RosterError as error:
        raise LaunchError("roster", f"{roster.name}: {error}") from error
    return roster


def agent_plan(chosen: LaunchSettings, roster: Roster) -> dict[str, Any]:
    """What is fixed for language models; empty for other proposers. Raises LaunchError."""
    if chosen.proposer != ProposerName.LLM:
        if chosen.usd is not None:
            raise LaunchError("usd", f"{chosen.proposer} costs nothing, expected no amount")
        return {}
    if chosen.reproducible:
        raise LaunchError("reproducible", "a language model does not repeat itself, expected off")
    make_plan = import_string("specialists.proposers.llm.plan.make_plan")  # the price table, for those who need it
    try:
        made: dict[str, Any] = make_plan([role.name for role in roster.roles], chosen.usd)
    except ValueError as error:
        raise LaunchError("proposer", str(error)) from error
    return made


def keep_rule_of(chosen: LaunchSettings, spec: EnvironmentSpec) -> str:
    """The keep rule that is chosen, or the default of the environment."""
    return chosen.keep_rule or (KeepRule.VERIFIED if spec.score_source == "evaluator" else KeepRule.STRICT)


def _believable(keep_rule: str, spec: EnvironmentSpec) -> None:
    if keep_rule in MEASURES_AGAIN and spec.score_source != "evaluator":
        expected = f"{KeepRule.STRICT}: scores of {spec.name} come from a script's {spec.score_source}"
        raise LaunchError("keep_rule", f"{keep_rule!r} is impossible here, expected {expected}")


def _start(chosen: LaunchSettings, spec: EnvironmentSpec, user: User | None) -> Start:
    among = Campaign.objects.all() if user is None else visible_campaigns(user)
    try:
        return start_of(chosen.start_from, spec, chosen.profile, reproducible=chosen.reproducible, among=among)
    except StartError as error:
        raise LaunchError("start_from", str(error)) from error
    except ValueError as error:
        raise LaunchError("environment", str(error)) from error


def _in_catalogue(spec: EnvironmentSpec, start: Start) -> None:
    """The catalogue has something to propose; without it the search would end with its first trial."""
    if not applies(spec.name, decode(start.files)):
        what = f"the catalogue has no edit of {', '.join(spec.files)[:100]}"
        raise LaunchError("proposer", f"{what}, expected a proposer that can write its own")


def _has_agent(chosen: LaunchSettings) -> None:
    """This process's environment names an agent, as that of the workers has to."""
    try:
        configured()
    except NotConfigured as error:
        raise LaunchError("proposer", str(error)) from error
    if chosen.reproducible:
        raise LaunchError("reproducible", "an agent does not repeat itself, expected the proposer catalog")


def _one_of(field: str, value: str, allowed: Any) -> None:
    if value not in allowed:
        raise LaunchError(field, f"{value!r} is unknown, expected one of {', '.join(sorted(allowed)) or 'none'}")


def _between(field: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise LaunchError(field, f"{value} is out of range, expected {low:g} to {high:g}")


def frozen_spec(spec: EnvironmentSpec, profile: str) -> dict[str, Any]:
    """What a campaign's record keeps of its environment: the specification, and under which licences it may travel."""
    frozen = spec.as_json(profile)
    licences = {"data": "not stated", "recipe": "not stated"} | dict(spec.licences)
    return frozen | {"licences": licences | {"trace": settings.TRACE_LICENCE}}


def launch_campaign(chosen: LaunchSettings, *, actor: str, user: User | None = None) -> Campaign:
    """Write the campaign, submit the starting recipe as trial 0 and set the loop going. Raises LaunchError."""
    environment, roster, begun = validate(chosen, user)
    plan = campaigns.CampaignPlan(
        name=chosen.name or f"{environment.spec.title} {chosen.profile}",
        environment=chosen.environment,
        profile=chosen.profile,
        spec=frozen_spec(environment.spec, chosen.profile),
        roster=roster.name,
        roles=[role.as_json() for role in roster.roles],
        proposer=chosen.proposer,
        lineage=chosen.lineage,
        keep_rule=keep_rule_of(chosen, environment.spec),
        enforcement=chosen.enforcement,
        minimum_level=chosen.level,
        seed=chosen.seed,
        reproducible=chosen.reproducible,
        max_trials=chosen.trials,
        max_hours=chosen.hours,
        slots=chosen.slots,
        no_improvement_hours=chosen.no_improvement_hours,
        origin=begun.origin,
        agent=agent_plan(chosen, roster),
        checkpoints=_checkpoints(chosen),
    )
    with transaction.atomic():
        _within_quota(quotas.take, user)
        campaign = campaigns.create_campaign(plan, actor=actor, user=user, weight=chosen.weight)
        start = submissions.Submission(
            role=BASELINE_ROLE,
            hypothesis=begun.hypothesis,
            files=begun.files,
            diff="",
            lineage_view="",
            parent=None,
            seed=chosen.seed,
        )
        submissions.submit_trial(campaign.pk, start, actor=actor, enqueue=dispatch.evaluation(campaign))
        after_commit(dispatch.advance, campaign.pk)  # the calibration starts beside it
    return Campaign.objects.get(pk=campaign.pk)


def pause(campaign: Campaign, *, actor: str) -> Campaign:
    """No further trial starts; what is in flight finishes. Raises trials.services.campaigns.WrongState."""
    return campaigns.change_state(campaign.pk, CampaignState.PAUSED, actor=actor, reason=f"paused by {actor}")


def resume(campaign: Campaign, *, actor: str) -> Campaign:
    """Go on after a pause. Raises WrongState, also while the launcher has used his hours or dollars."""
    if why := quotas.of_launcher(campaign):
        raise campaigns.WrongState(f"{campaign.slug} cannot go on, {why}: expected an admin to raise it")
    accounts.forgive(campaign)
    resumed = campaigns.change_state(campaign.pk, CampaignState.RUNNING, actor=actor, reason="")
    dispatch.advance(resumed.pk)
    return resumed


def stop(campaign: Campaign, *, actor: str) -> Campaign:
    """End the search now; trials in flight are cancelled and stay on record as such."""
    return campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor=actor, reason=f"stopped by {actor}")


def weigh(campaign: Campaign, weight: int, *, actor: str) -> Campaign:
    """Another weight from now on. Raises WrongState, trials.services.shares.BadWeight."""
    return campaigns.weigh(campaign.pk, weight, actor=actor)


def answer(
    campaign: Campaign, given: Answer, *, actor: str, numbers: Collection[int] | None = None, remark: str = ""
) -> list[Approval]:
    """A person answers what the campaign asks, and it goes on. See trials.services.answers."""
    answered = answers.answer(campaign.pk, given, actor=actor, numbers=numbers, remark=remark)
    dispatch.advance(campaign.pk)
    return answered


def remeasure(campaign: Campaign, number: int, seeds: int, *, actor: str) -> list[Evaluation]:
    """A trial is measured again on fresh seeds, beside the search. See trials.services.remeasures."""
    return remeasures.order(campaign.pk, number, seeds, actor=actor, enqueue=dispatch.evaluation(campaign))


def cancel_remeasure(campaign: Campaign, number: int, *, actor: str) -> int:
    """Give up what of it is not measured yet."""
    return remeasures.cancel(campaign.pk, number, actor=actor)


#: How people steer, by the word for it: on pages, by programs, on the command line.
STEERING = {"pause": pause, "resume": resume, "stop": stop}
