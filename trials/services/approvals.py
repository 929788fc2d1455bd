"""Questions to a person: asked and closed, of a locked campaign. What follows from an answer: ``services.answers``."""

from __future__ import annotations

from typing import Any

from trials import checkpoints, clock
from trials.models import Approval, Campaign, Trial
from trials.services.events import append_event
from trials.vocab import Answer, EventKind, Label, Subject

REMARK_LENGTH = 300


def ask_for_keep(campaign: Campaign, trial: Trial, score: float) -> Approval:
    """A trial would be the best from now on, at this score: a person is asked first."""
    return _ask(campaign, Subject.KEEP, {"number": trial.number, "score": score}, trial=trial, score=score)


def ask_for_budget(campaign: Campaign, subject: str, used: float) -> Approval:
    """So much of a budget is used that a person is to say whether the search goes on."""
    return _ask(campaign, Subject(subject), {"used": used}, used=used)


def _ask(campaign: Campaign, subject: Subject, told: dict[str, Any], **values: Any) -> Approval:
    number, now = Approval.objects.filter(campaign=campaign).count(), clock.now()
    approval = Approval.objects.create(campaign=campaign, number=number, subject=subject, asked_at=now, **values)
    payload = {"approval": number, "subject": subject, "asked_at": now.isoformat(), **told}
    append_event(campaign, EventKind.APPROVAL_ASKED, "loop", payload, approval.trial)
    return approval


def close(campaign: Campaign, approval: Approval, answer: Answer, *, actor: str, remark: str = "") -> None:
    """Write an answer; what follows from it is the caller's."""
    approval.answer, approval.remark = answer, remark[:REMARK_LENGTH]
    approval.answered_at, approval.answered_seq = clock.now(), campaign.last_seq + 1
    payload: dict[str, Any] = {
        "approval": approval.number,
        "subject": approval.subject,
        "answer": answer,
        "remark": approval.remark,
        "answered_at": approval.answered_at.isoformat(),
    }
    if approval.trial is not None:
        payload["number"] = approval.trial.number
    append_event(campaign, EventKind.APPROVAL_ANSWERED, actor, payload, approval.trial)
    approval.save()


def close_of(campaign: Campaign, trial: Trial, answer: Answer, *, actor: str) -> None:
    """The question about this trial, if it still waits, needs no person any more."""
    for approval in Approval.objects.open(campaign.pk).filter(trial=trial):
        close(campaign, approval, answer, actor=actor)


def abandon(campaign: Campaign) -> None:
    """A campaign that ends waits for nobody: what a person was asked about stays as it is."""
    for approval in Approval.objects.open(campaign.pk):
        close(campaign, approval, Answer.ABANDONED, actor="loop")


def allowed(campaign: Campaign) -> dict[str, float]:
    """How much of each budget may be used before a person is asked; only budgets that have a checkpoint."""
    found = {}
    for name in checkpoints.BUDGETS:
        if name in campaign.checkpoints:
            last = Approval.objects.approved(campaign.pk, name).values_list("used", flat=True).first()
            found[str(name)] = (last or 0.0) + float(campaign.checkpoints[name])
    return found


def no_base(campaign: Campaign, trial: Trial) -> str:
    """Why nothing may be built on this trial; empty where something may."""
    if not campaign.approves_keeps or trial.label != Label.PROVISIONAL:
        return ""
    if trial.standing == Label.PROVISIONAL:
        return f"trial {trial.number} is not approved yet: a person decides what may be built on"
    refused = Approval.objects.filter(trial=trial, answer=Answer.REFUSED).exists()
    return f"trial {trial.number} was refused by a person: it may not be built on" if refused else ""
