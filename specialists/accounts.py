"""What sessions with a language model pay with: reserved before each request, written down after it.

Each is asked a few times for every trial, so all of it is prepared SQL. Rows are locked in one order by everybody: the
campaign where it is needed, the session, the account of the campaign (an empty role), the account of the role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from specialists.budgets import SCOPES, Budget, Refused, Spent, over
from specialists.models import Account, Call, Session
from specialists.proposals import CallRecord, Need, SessionFailed, Usage
from specialists.redaction import redact, storable
from specialists.vocab import Fault, SessionState
from trials.models import Campaign
from trials.services.blobs import BACK, part, storing
from trials.statements import change, first, rows

ERROR_LENGTH, MODEL_LENGTH = 2000, 120
TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")

_ACCOUNTS = """
SELECT id, requests, input_tokens + output_tokens AS tokens, cost FROM specialists_account
 WHERE campaign_id = %(campaign)s AND role IN ('', %(role)s) AND EXISTS (SELECT FROM own) ORDER BY role FOR UPDATE
"""
_HELD = f"""
WITH own AS MATERIALIZED (SELECT id FROM specialists_session WHERE id = %(session)s FOR UPDATE),
     held AS MATERIALIZED ({_ACCOUNTS})
SELECT id, requests, tokens, cost FROM held
"""  # noqa: S608 - words of this program
_USED = f"""
SELECT calls.*, others.* FROM (
  SELECT count(*), coalesce(sum(input_tokens + output_tokens), 0)::bigint, coalesce(sum(cost), 0)
    FROM specialists_call WHERE session_id = %(session)s
) AS calls CROSS JOIN (
  SELECT count(*) FILTER (WHERE role = %(role)s AND reserved_tokens > 0),
         coalesce(sum(reserved_tokens) FILTER (WHERE role = %(role)s), 0)::bigint,
         coalesce(sum(reserved_usd) FILTER (WHERE role = %(role)s), 0),
         count(*) FILTER (WHERE reserved_tokens > 0), coalesce(sum(reserved_tokens), 0)::bigint,
         coalesce(sum(reserved_usd), 0)
    FROM specialists_session
   WHERE campaign_id = %(campaign)s AND state = '{SessionState.RUNNING}' AND id <> %(session)s
) AS others
"""  # noqa: S608 - words of this program
_RESERVE = "UPDATE specialists_session SET reserved_tokens = %s, reserved_usd = %s WHERE id = %s"
_BOOK = f"""
WITH own AS (
  UPDATE specialists_session SET reserved_tokens = 0, reserved_usd = 0 WHERE id = %(session)s RETURNING id),
held AS MATERIALIZED ({_ACCOUNTS}),
booked AS (
  UPDATE specialists_account AS account SET
         requests = account.requests + 1,
         {", ".join(f"{name} = account.{name} + %({name})s" for name in TOKENS)},
         cost = account.cost + %(paid)s, unpriced = account.unpriced + %(unpriced)s
    FROM held WHERE account.id = held.id),
{storing("true")}
INSERT INTO specialists_call (session_id, number, model, started_at, seconds, {", ".join(TOKENS)}, cost, error, body_id)
SELECT %(session)s, (SELECT count(*) + 1 FROM specialists_call WHERE session_id = %(session)s), %(model)s, %(at)s,
       %(seconds)s, {", ".join(f"%({name})s" for name in TOKENS)}, %(cost)s, %(error)s, %(blob)s
RETURNING id, {BACK}
"""  # noqa: S608 - names of columns
#: Failures so far no longer count towards the breaker.
FORGIVE = """
UPDATE specialists_account SET failures = 0, provider_failures = 0
 WHERE campaign_id = %(campaign)s AND role = '' AND (failures > 0 OR provider_failures > 0)
"""
_FAIL = """
UPDATE specialists_account
   SET failures = failures + 1, provider_failures = CASE WHEN %s THEN provider_failures + 1 ELSE 0 END
 WHERE campaign_id = %s AND role = ''
"""


def open_accounts(campaign: Campaign, role: str) -> None:
    """Of a locked campaign: rows that are only changed later, so that nobody waits in a circle for their making."""
    made = [Account(campaign=campaign, role=name) for name in ("", role)]
    Account.objects.bulk_create(made, ignore_conflicts=True)


def forgive(campaign: Campaign) -> None:
    """Failures so far no longer count towards the breaker: a person has resumed the campaign."""
    change(FORGIVE, {"campaign": campaign.pk})


def count_failure(campaign: Campaign, fault: Fault | str) -> Account:
    """Another session in a row has failed; returns the campaign's account."""
    change(_FAIL, [fault == Fault.PROVIDER, campaign.pk])
    account = first(Account, "WHERE campaign_id = %s AND role = ''", [campaign.pk])
    assert account is not None, "opened when the session was started"
    return account


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
        accounts = rows(_HELD, self._names())
        spent, held = self._used(accounts)
        answer = most
        while (refused := over(self.budgets, held, need(answer))) and answer > least:
            answer = max(least, answer // 2)
        if refused is None:
            wanted = need(answer)
            change(_RESERVE, [wanted.tokens, wanted.usd or Decimal(0), self.session.pk])
            return answer, None
        final = over(self.budgets, spent, need(least))
        if final is not None and final.scope != "session":  # not only because others are at work
            used_up, *_ = accounts[0 if final.scope == "campaign" else 1]
            Account.objects.filter(pk=used_up).update(closed=final.words[:200])
        return answer, refused

    def _names(self) -> dict[str, Any]:
        return {"session": self.session.pk, "campaign": self.session.campaign_id, "role": self.session.role}

    def _used(self, accounts: list[tuple[Any, ...]]) -> tuple[dict[str, Spent], dict[str, Spent]]:
        """By scope: what was used, and that with what requests under way of other sessions may use at most."""
        (_, *campaign), (_, *role) = accounts
        [figures] = rows(_USED, self._names())
        others = {"session": Spent(), "role": Spent(*figures[3:6]), "campaign": Spent(*figures[6:9])}
        spent = dict(zip(SCOPES, (Spent(*figures[:3]), Spent(*role), Spent(*campaign)), strict=True))
        return spent, {scope: used.plus(others[scope]) for scope, used in spent.items()}

    def record(self, call: CallRecord) -> None:
        """Written whoever holds the lease: what was used was used. Raises when it is lost."""
        used = {name: getattr(call.usage, name) for name in TOKENS}
        booked = {
            "model": call.model[:MODEL_LENGTH],
            "at": call.started_at,
            "seconds": round(call.seconds, 3),
            "cost": call.cost,
            "paid": call.cost or Decimal(0),
            "unpriced": int(call.cost is None and any(used.values())),
            "error": storable(redact(call.error))[:ERROR_LENGTH],
        }
        rows(_BOOK, self._names() | used | booked | part(redact(call.body).encode()))
        self.check()


@dataclass(frozen=True)
class Booked:
    """A request as the transcript's manifest has it."""

    number: int
    model: str
    at: datetime
    seconds: float
    error: str
    cost: Decimal | None
    body: str
    usage: Usage

    def as_json(self) -> dict[str, Any]:
        """``cost`` as a decimal text in US dollars."""
        plain = {name: getattr(self, name) for name in ("number", "model", "seconds", "error", "body")}
        tokens = {name: getattr(self.usage, name) for name in TOKENS}
        cost = None if self.cost is None else f"{self.cost:f}"
        return plain | tokens | {"at": self.at.isoformat(), "cost": cost}


_CALLS = f"""
SELECT number, model, started_at, seconds, error, cost, body_id, ARRAY[{", ".join(TOKENS)}]
  FROM {Call._meta.db_table} WHERE session_id = %s ORDER BY number
"""  # noqa: S608 - names of columns


def booked(session: Session) -> list[Booked]:
    """The requests of a session so far, in order."""
    return [
        Booked(number, model, at, seconds, error, cost, body, Usage(*tokens))
        for number, model, at, seconds, error, cost, body, tokens in rows(_CALLS, [session.pk])
    ]


def totals(calls: Sequence[Booked]) -> dict[str, Any]:
    """Sums over requests; ``cost`` as a decimal text in US dollars, null where any is unpriced."""
    found: dict[str, Any] = {"requests": len(calls)}
    found |= {name: sum(getattr(call.usage, name) for call in calls) for name in TOKENS}
    costs = [call.cost for call in calls if call.cost is not None]
    return found | {"cost": f"{sum(costs, Decimal(0)):f}" if len(costs) == len(calls) else None}
