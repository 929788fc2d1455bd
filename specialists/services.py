"""The loop's hands: read the situation, start sessions, submit what they propose, end the search."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial

from django.conf import settings
from django.db import close_old_connections, transaction

from evaluators import services as evaluators
from evaluators.preflight import refusal
from evaluators.registry import profile_of
from evaluators.sizing import projected_size
from specialists import accounts, checkpoints, dispatch, loop, quotas, sessions, turns
from specialists.budgets import Budget
from specialists.lease import Lease, LeaseLost
from specialists.library import TrialLibrary, source_reader
from specialists.models import Session
from specialists.proposals import BadProposal, Bench, NoProposal, Proposal, Request, SessionFailed, check
from specialists.proposers.registry import get_proposer
from specialists.rosters import Role, role_from_json
from specialists.situation import situation
from specialists.vocab import REPEATABLE, Fault, SessionState
from specialists.workspace import encode, unified_diff
from trials.commits import after_commit
from trials.lineage import LineageSlice, build_slice, told_of_twin
from trials.logcontext import about
from trials.models import Campaign, Evaluation
from trials.patience import until_answered
from trials.repeated import similar
from trials.services import approvals, campaigns, leases, repeats, submissions
from trials.services.events import append_event
from trials.vocab import CampaignState, EventKind, Purpose

logger = logging.getLogger(__name__)


def advance(campaign_id: int) -> None:
    """Fill every free slot, or end the search when its limits say so."""
    while _step(campaign_id):
        pass


@transaction.atomic
def _step(campaign_id: int) -> bool:
    """One decision under the campaign's lock; True when another may follow at once."""
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    if campaign.state == CampaignState.FINALISING:
        _finish_when_sealed(campaign)
        return False
    at = situation(campaign)
    decision = loop.decide(at)
    if isinstance(decision, loop.Repeat):
        send = dispatch.evaluation(campaign)
        return repeats.order(campaign.pk, decision.count, enqueue=send) > 0
    if isinstance(decision, loop.StartSession):
        _start_session(campaign, decision)
        return loop.leaves_room(at)
    if isinstance(decision, loop.Ask):
        subject = decision.subject
        approvals.ask_for_budget(campaign, subject, checkpoints.used(campaign, campaign.trial_count)[subject])
    if isinstance(decision, loop.Fail):
        campaigns.change_state(campaign.pk, CampaignState.FAILED, actor="loop", reason=decision.reason)
        after_commit(dispatch.campaign_ended, campaign.pk)
    if isinstance(decision, loop.Finish):
        submissions.order_sealed(
            campaign.pk, reason=decision.reason, actor="loop", enqueue=dispatch.evaluation(campaign)
        )
    return False


def _finish_when_sealed(campaign: Campaign) -> None:
    waiting = Evaluation.objects.unjudged().filter(campaign=campaign, purpose=Purpose.SEALED)
    if not waiting.exists():
        campaigns.change_state(campaign.pk, CampaignState.FINISHED, actor="loop", reason=campaign.state_reason)
        after_commit(dispatch.campaign_ended, campaign.pk)


def _start_session(campaign: Campaign, decision: loop.StartSession) -> None:
    now = campaign.held_since
    session = Session(
        campaign=campaign,
        number=decision.number,
        role=decision.role,
        up_to=decision.up_to,
        seed=decision.seed,
        started_at=now,
        lease_expires_at=now + sessions.wait(),
    )
    sessions.start(session)
    payload = {"session": session.number, "role": session.role, "up_to": session.up_to, "seed": session.seed}
    append_event(campaign, EventKind.SESSION_STARTED, "loop", payload, at=now)
    after_commit(dispatch.session, session)


def run_session(session_id: int) -> None:
    """One agent session: slice, proposal, submission. A message is a ticket for one session of its queue, whose turn it
    is; a second delivery changes nothing."""
    session = turns.claim(session_id)
    if session is not None:
        with about(campaign=session.campaign.slug, session=session.number):
            _run(session)


def _run(session: Session) -> None:
    campaign = session.campaign
    role = next(role_from_json(role) for role in campaign.roles if role["name"] == session.role)
    view = build_slice(campaign, role.name, up_to=session.up_to)
    transcripts: list[str] = []
    submitted = False

    def end(state: SessionState, note: str, fault: Fault | str = "") -> None:
        fault = fault if campaign.agent else ""
        told, transcript = view.text(), "".join(transcripts[-1:])
        until_answered(
            lambda: sessions.close(session, state, note=note, fault=fault, view=told, transcript=transcript),
            f"closing {session}",
        )

    with Lease(session) as lease:
        request = _request(campaign, session, role, view)
        request = replace(request, held=lease.check, keep=transcripts.append)
        if campaign.agent:
            request = replace(request, bench=_bench(request, campaign, session, view))
        try:
            answer = get_proposer(campaign.proposer).propose(request)
            if isinstance(answer, NoProposal):
                tried = "; ".join(f"{name}: {why}" for name, why in answer.tried.items())
                end(SessionState.NOTHING, f"{answer.reason}. {tried}")
            else:
                transcript = "".join(transcripts[-1:])
                submitted = until_answered(
                    lambda: _submit(session, request, answer, transcript), f"submitting of {session}"
                )
        except SessionFailed as error:
            end(SessionState.FAILED, str(error), error.fault)
        except (BadProposal, submissions.DuplicateSource) as error:
            end(SessionState.FAILED, f"{type(error).__name__}: {error}", Fault.MODEL)
        except (submissions.NotAccepting, LeaseLost) as error:
            end(SessionState.FAILED, str(error), Fault.CAMPAIGN)
        except Exception as error:
            logger.exception("session %s of campaign %s failed", session.number, campaign.slug)
            end(SessionState.FAILED, f"{type(error).__name__}: {error}", Fault.WORKER)
    if campaign.reproducible or not submitted:  # else its trial has taken its place, and nothing else may begin
        dispatch.advance(campaign.pk)


def _request(campaign: Campaign, session: Session, role: Role, view: LineageSlice) -> Request:
    return Request(
        role=role,
        view=view,
        read_source=source_reader(campaign, view),
        seen=twin_finder(campaign, role.name, view.up_to),
        seed=session.seed,
        limits=campaign.spec["profile"]["limits"],
        environment=campaign.environment,
        may_change=campaign.may_change(role.surface),
        similar=cache(partial(similar, campaign, role.name, up_to=view.up_to)),
    )


def _bench(request: Request, campaign: Campaign, session: Session, view: LineageSlice) -> Bench:
    """What a language model works with."""
    environment, profile = profile_of(campaign.environment, campaign.profile)
    budgets = {scope: Budget.from_json(data) for scope, data in campaign.agent["budgets"].items()}
    return Bench(
        settings=campaign.agent,
        title=environment.spec.title,
        joins=environment.spec.joins,
        library=TrialLibrary(campaign, view),
        account=accounts.SessionAccount(session, budgets, request.held),
        preflight=lambda files, parent: refusal(environment.spec, encode(files), encode(parent), request.may_change),
        project_size=lambda files: projected_size(
            environment, profile, encode(files), seed=campaign.seed, minimum_level=campaign.minimum_level
        ),
    )


def twin_finder(campaign: Campaign, role: str, up_to: int | None) -> Callable[[Mapping[str, str]], str | None]:
    """Says in words that a source was submitted before, naming the trial only where the role may know of it."""

    def seen(files: Mapping[str, str]) -> str | None:
        number = submissions.find_source(campaign.pk, encode(files))
        return None if number is None else told_of_twin(campaign, role, number, up_to)

    return seen


def _submit(session: Session, request: Request, proposal: Proposal, transcript: str) -> bool:
    """False where the session no longer counts."""
    campaign, role, view = session.campaign, request.role, request.view
    parent = request.read_source(proposal.parent)
    files = check(proposal, parent, campaign.may_change(role.surface))
    calls = accounts.booked(session) if campaign.agent else []
    submission = submissions.Submission(
        role=role.name,
        hypothesis=proposal.hypothesis.strip(),
        files=encode(files),
        diff=unified_diff(parent, files),
        lineage_view=view.text(),
        parent=proposal.parent,
        seed=campaign.seed,
        expected_delta=proposal.expected_delta,
        proposal={
            "transforms": list(proposal.transforms),
            "evidence": list(proposal.evidence),
            "notes": dict(proposal.notes),
            "similar": [
                {"trial": earlier.number, "likeness": earlier.likeness}
                for earlier in request.similar(proposal.hypothesis)
            ],
            "session": session.number,
            **(sessions.paid(calls) if campaign.agent else {}),
        },
        surface=role.surface,
        crossed=sorted(name for name in files if files[name] != parent.get(name) and name not in role.surface),
    )
    with transaction.atomic():
        locked: Campaign = Campaign.objects.locked(campaign.pk)
        if not sessions.holds(session):
            return False
        trial = submissions.submit_to(
            locked,
            submission,
            actor=f"{campaign.proposer}:{role.name}",
            enqueue=dispatch.evaluation(campaign),
            accepted=_accepted(campaign),
        )
        sessions.submitted(locked, session, trial, transcript, calls)
    return True


def _accepted(campaign: Campaign) -> set[CampaignState]:
    """What is in flight finishes when a campaign is paused, and a session that was paid for is in flight."""
    if campaign.proposer in REPEATABLE:
        return {CampaignState.RUNNING}
    return {CampaignState.RUNNING, CampaignState.PAUSED}


def tick() -> None:
    """Whatever a lost message, a dead worker or a passed deadline left behind goes on."""
    steps: list[Callable[[], object]] = [
        partial(leases.give_back, order.pk, order.attempt, f"worker {order.worker} stopped answering")
        for order in leases.expired()
    ]
    steps += [partial(_take_over, session) for session in sessions.expired()]
    steps += [partial(_go_on, campaign) for campaign in Campaign.objects.at_work()]
    for step in steps:
        try:
            step()
        except Exception:  # one campaign that cannot go on holds up no other
            logger.exception("a step of the tick failed")
            close_old_connections()


def _go_on(campaign: Campaign) -> None:
    """One campaign, as far as it can go now."""
    with about(campaign=campaign.slug):
        _step_by_tick(campaign)


def _step_by_tick(campaign: Campaign) -> None:
    quotas.hold(campaign)
    send = dispatch.evaluation(campaign)
    for evaluation_id in leases.take_unsent(campaign.pk, timedelta(seconds=settings.LOST_MESSAGE_SECONDS)):
        send(evaluation_id)
    evaluators.explain_waits(campaign)
    evaluators.judge_measured(campaign.pk)
    advance(campaign.pk)


def _take_over(session: Session) -> None:
    """A session's message was lost or its worker fell silent: send it again, or close it where it was paid for."""
    if session.worker and session.campaign.proposer not in REPEATABLE:
        view = build_slice(session.campaign, session.role, up_to=session.up_to)
        note = f"worker {session.worker} stopped answering"
        fault = Fault.WORKER if session.campaign.agent else ""
        sessions.close(session, SessionState.FAILED, note=note, fault=fault, view=view.text())
    elif sessions.release(session.pk, session.worker):
        dispatch.session(session)
