"""Sessions as rows: claimed by one worker, renewed, paid for, closed. Only here are sessions and accounts written."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Sum

from specialists.budgets import SCOPES, Budget, Refused, Spent, over
from specialists.models import Account, Call, Session
from specialists.proposals import CallRecord, Need, SessionFailed
from specialists.redaction import redact, storable
from specialists.vocab import Fault, SessionState
from trials import clock
from trials.canonical import dumps
from trials.models import Campaign, Trial
from trials.services import campaigns
from trials.services.blobs import put_blob
from trials.services.events import append_event
from trials.vocab import LIVE_CAMPAIGN_STATES, CampaignState, EventKind

NOTE_LENGTH = 4000
ERROR_LENGTH = 2000
#: Sessions in a row that failed, for reasons of the provider or for any, before the campaign is paused.
PROVIDER_FAILURES, FAILURES = 3, 10
TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")


def wait() -> timedelta:
    """How long a message may wait in its queue before it is sent again."""
    return timedelta(seconds=2 * settings.LOST_MESSAGE_SECONDS)


def lease() -> timedelta:
    """How long a silent worker is believed."""
    return timedelta(seconds=3 * settings.LEASE_SECONDS)


def expired() -> list[Session]:
    """Sessions whose message or worker was not heard of; after a start of the database all have time to speak up."""
    now = clock.now()
    if clock.serving_since() + lease() >= now:
        return []
    late = Session.objects.filter(state=SessionState.RUNNING, lease_expires_at__lt=now)
    return list(late.select_related("campaign"))


def claim(session_id: int) -> Session | None:
    """Take a session under a lease; None when another delivery has it or it is over."""
    worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    taken = Session.objects.filter(pk=session_id, state=SessionState.RUNNING, worker="").update(
        worker=worker, lease_expires_at=clock.now() + lease()
    )
    if not taken:
        return None
    return Session.objects.select_related("campaign").get(pk=session_id)


def renew(session: Session) -> bool:
    """Hold the session for another lease; False when it is over, or its campaign is."""
    held = Session.objects.filter(
        pk=session.pk, worker=session.worker, state=SessionState.RUNNING, campaign__state__in=LIVE_CAMPAIGN_STATES
    )
    return bool(held.update(lease_expires_at=clock.now() + lease()))


def holds(session: Session) -> bool:
    """Whether this claim of the session is still the one that counts."""
    return Session.objects.filter(pk=session.pk, worker=session.worker, state=SessionState.RUNNING).exists()


def release(session_id: int, worker: str) -> bool:
    """A worker fell silent: the session may be claimed again. False when it spoke or ended meanwhile."""
    now = clock.now()
    silent = Session.objects.filter(pk=session_id, worker=worker, state=SessionState.RUNNING, lease_expires_at__lt=now)
    return bool(silent.update(worker="", lease_expires_at=now + wait()))


@transaction.atomic
def close(
    session: Session,
    state: SessionState,
    *,
    note: str,
    fault: Fault | str = "",
    view: str,
    trial: Trial | None = None,
    transcript: str = "",
) -> bool:
    """End a session with an event; False when it had ended before. Trips the breaker where failures pile up.

    view: the exact lineage text; transcript: JSON, with a language model what its conversation ended with.
    """
    campaign: Campaign = Campaign.objects.locked(session.campaign_id)
    running = Session.objects.filter(pk=session.pk, worker=session.worker, state=SessionState.RUNNING)
    note = storable(redact(note))[:NOTE_LENGTH]
    shown = put_blob(view.encode())
    changed = running.update(
        state=state,
        note=note,
        fault=fault,
        trial=trial,
        ended_at=clock.now(),
        lineage_view_id=shown,
        reserved_tokens=0,
        reserved_usd=0,
    )
    if not changed:
        return False
    payload: dict[str, Any] = {
        "session": session.number,
        "role": session.role,
        "state": state,
        "note": note,
        "lineage_view": shown,
    }
    if campaign.agent:
        payload |= {"fault": fault} | _transcribe(session, transcript)
        _count_failures(campaign, state, fault)
    elif transcript:
        payload["transcript"] = _keep(session, transcript)
    append_event(campaign, EventKind.SESSION_ENDED, f"{campaign.proposer}:{session.role}", payload, trial)
    if campaign.agent:
        _trip_breaker(campaign, note)
    return True


def _transcribe(session: Session, tail: str) -> dict[str, Any]:
    """Store the manifest of a session's requests; returns what the event says of them."""
    calls = Call.objects.filter(session=session)
    totals = _totals(session)
    manifest = {
        "session": session.number,
        "role": session.role,
        "calls": [
            {
                "number": call.number,
                "model": call.model,
                "at": call.started_at.isoformat(),
                "seconds": call.seconds,
                "error": call.error,
                "cost": None if call.cost is None else f"{call.cost:f}",
                "body": call.body_id,
                **{name: getattr(call, name) for name in TOKENS},
            }
            for call in calls.order_by("number")
        ],
        "tail": json.loads(redact(tail)) if tail else [],
    }
    return {"transcript": _keep(session, dumps(manifest)), "usage": totals}


def _keep(session: Session, transcript: str) -> str:
    """Store what the session's agent did; returns its hash."""
    stored = put_blob(transcript.encode())
    Session.objects.filter(pk=session.pk).update(transcript_id=stored)
    return stored


def _totals(session: Session) -> dict[str, Any]:
    """Sums over the requests of a session; ``cost`` as a decimal text in US dollars, null where any is unpriced."""
    sums = Call.objects.filter(session=session).aggregate(
        requests=Count("pk"), priced=Count("cost"), cost=Sum("cost"), **{name: Sum(name) for name in TOKENS}
    )
    found: dict[str, Any] = {name: sums[name] or 0 for name in ("requests", *TOKENS)}
    found["cost"] = f"{sums['cost'] or 0:f}" if sums["priced"] == sums["requests"] else None
    return found


def paid(session: Session) -> dict[str, float]:
    """What the session has paid for language models so far, as ``usd``; nothing where that is not known."""
    cost = _totals(session)["cost"] if session.campaign.agent else None
    return {} if cost is None else {"usd": float(cost)}


def _count_failures(campaign: Campaign, state: SessionState, fault: Fault | str) -> None:
    if fault == Fault.CAMPAIGN:
        return
    account = _account(campaign, "")
    failed = state == SessionState.FAILED and bool(fault)
    account.failures = account.failures + 1 if failed else 0
    account.provider_failures = account.provider_failures + 1 if failed and fault == Fault.PROVIDER else 0
    account.save()


def _trip_breaker(campaign: Campaign, note: str) -> None:
    """Several failures in a row pause the campaign loudly instead of burning its money."""
    account = _account(campaign, "")
    if account.provider_failures >= PROVIDER_FAILURES:
        why = f"{account.provider_failures} sessions in a row failed at the model's provider: {note}"
    elif account.failures >= FAILURES:
        why = f"{account.failures} sessions in a row failed: {note}"
    else:
        return
    if campaign.state == CampaignState.RUNNING:
        campaigns.change_state(campaign.pk, CampaignState.PAUSED, actor="breaker", reason=" ".join(why.split()))


def forgive(campaign: Campaign) -> None:
    """Failures before a person resumed the campaign no longer count towards the breaker."""
    Account.objects.filter(campaign=campaign, role="").update(failures=0, provider_failures=0)


def open_accounts(campaign: Campaign, role: str) -> None:
    """Of a locked campaign: rows that are only changed later, so that nobody waits in a circle for their making."""
    rows = [Account(campaign=campaign, role=name) for name in ("", role)]
    Account.objects.bulk_create(rows, ignore_conflicts=True)


def _account(campaign: Campaign, role: str) -> Account:
    """Locked until the end of the transaction, after the session's row where both are needed."""
    return Account.objects.select_for_update().get(campaign=campaign, role=role)


def _spent(account: Account) -> Spent:
    return Spent(account.requests, account.input_tokens + account.output_tokens, account.cost)


@dataclass
class SessionAccount:
    """See specialists.proposals.Account. ``check`` raises once the lease is lost."""

    session: Session
    budgets: Mapping[str, Budget]
    check: Callable[[], None]

    def reserve(self, need: Callable[[int], Need], most: int, least: int) -> int:
        """Under the campaign's account: what all running sessions may use together stays within every budget."""
        self.check()
        with transaction.atomic():
            answer, refused = self._reserved(need, most, least)
        if refused is not None:
            raise SessionFailed(Fault.BUDGET, refused.words)
        return answer

    def _reserved(self, need: Callable[[int], Need], most: int, least: int) -> tuple[int, Refused | None]:
        session = Session.objects.select_for_update().select_related("campaign").get(pk=self.session.pk)
        accounts = [_account(session.campaign, role) for role in ("", session.role)]
        spent = self._used(*accounts)
        held = self._with_reserved(spent)
        answer = most
        while (refused := over(self.budgets, held, need(answer))) and answer > least:
            answer = max(least, answer // 2)
        if refused is None:
            wanted = need(answer)
            session.reserved_tokens, session.reserved_usd = wanted.tokens, wanted.usd or Decimal(0)
            session.save(update_fields=["reserved_tokens", "reserved_usd"])
        elif final := over(self.budgets, spent, need(least)):  # not only because others are at work
            for account in accounts:
                if final.scope == ("role" if account.role else "campaign"):
                    account.closed = final.words[:200]
                    account.save()
        return answer, refused

    def _used(self, campaign: Account, role: Account) -> dict[str, Spent]:
        calls = Call.objects.filter(session=self.session).aggregate(
            requests=Count("pk"), tokens=Sum(F("input_tokens") + F("output_tokens")), cost=Sum("cost")
        )
        own = Spent(calls["requests"], calls["tokens"] or 0, calls["cost"] or Decimal(0))
        return dict(zip(SCOPES, (own, _spent(role), _spent(campaign)), strict=True))

    def _with_reserved(self, spent: Mapping[str, Spent]) -> dict[str, Spent]:
        """With what the requests under way of other sessions may use at most."""
        found = dict(spent)
        others = Session.objects.filter(campaign=self.session.campaign, state=SessionState.RUNNING)
        for other in others.exclude(pk=self.session.pk):
            for scope in SCOPES[1:] if other.role == self.session.role else SCOPES[2:]:
                found[scope] = found[scope].plus(other.reserved_tokens, other.reserved_usd)
        return found

    def record(self, call: CallRecord) -> None:
        """Written whoever holds the lease: what was used was used. Raises when it is lost."""
        with transaction.atomic():
            self._write(call)
        self.check()

    def _write(self, call: CallRecord) -> None:
        Session.objects.select_for_update().get(pk=self.session.pk)
        accounts = [_account(self.session.campaign, role) for role in ("", self.session.role)]
        used = {name: getattr(call.usage, name) for name in TOKENS}
        Call.objects.create(
            session=self.session,
            number=Call.objects.filter(session=self.session).count() + 1,
            model=call.model[:120],
            started_at=call.started_at,
            seconds=round(call.seconds, 3),
            cost=call.cost,
            error=storable(redact(call.error))[:ERROR_LENGTH],
            body_id=put_blob(redact(call.body).encode()),
            **used,
        )
        for account in accounts:
            account.requests += 1
            for name, tokens in used.items():
                setattr(account, name, getattr(account, name) + tokens)
            account.cost += call.cost or Decimal(0)
            account.unpriced += call.cost is None and any(used.values())
            account.save()
        Session.objects.filter(pk=self.session.pk).update(reserved_tokens=0, reserved_usd=0)
