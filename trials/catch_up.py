"""What came after a number: the answer to tabs that have just come or missed something, for all who ask at once.

One look at the database serves everybody who asks at the same time: the campaign and the accounts are read once, and an
event that several of them lack is read and encoded once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile
from typing import Any

from trials.access import viewers
from trials.live import campaign_head, event_message
from trials.models import Campaign, Event

PAGE = 200
"""Events in one answer at most; its head says whether there are more."""
FRAME_BYTES = 256_000
"""Bytes of a frame at most, but for a message that is longer by itself."""

Asked = tuple[int, int]
"""The key of an account, and the number of the last event that its tab has applied."""


def encoded(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def frame(texts: Iterable[str]) -> str:
    """Encoded messages, in order, as one."""
    return f'{{"type":"frame","messages":[{",".join(texts)}]}}'


def frames(texts: Sequence[str]) -> list[str]:
    """Encoded messages, in order, as few frames as FRAME_BYTES allow; a message alone needs none."""
    found, left = [], list(texts)
    while left:
        fits = _fitting(left)
        found.append(left[0] if fits == 1 else frame(left[:fits]))
        del left[:fits]
    return found


def _fitting(texts: Iterable[str]) -> int:
    """How many of the first texts a frame holds: one at least. They are ASCII: a character is a byte."""
    ends = accumulate(len(text) + 1 for text in texts)
    return max(1, sum(1 for _ in takewhile(lambda end: end <= FRAME_BYTES, ends)))


def answers(slug: str, asked: Sequence[Asked]) -> list[str | None]:
    """For each question one frame: a page of the events with higher numbers, as many as it holds, then the head. None:
    may not look."""
    campaign, allowed = viewers(slug, {account for account, _ in asked})
    if campaign is None:
        return [None] * len(asked)
    pages = _pages(campaign, {after for account, after in asked if account in allowed})
    return [pages[after] if account in allowed else None for account, after in asked]


def _pages(campaign: Campaign, afters: Iterable[int]) -> dict[int, str]:
    """A frame for each number. Events are read in stretches of a page: a number inside of one is answered from it."""
    head, last = campaign_head(campaign), campaign.last_seq
    stretch: list[tuple[int, str]] = []
    found = {}
    for after in sorted(afters):
        if after < last and not (stretch and after < stretch[-1][0]):
            events = Event.objects.after(campaign.pk, after)[:PAGE]
            stretch = [(event.seq, encoded(event_message(event, event.trial))) for event in events]
        page = [(seq, text) for seq, text in stretch if seq > after]
        page = page[: _fitting(text for _, text in page)]
        ending = {"type": "head", "campaign": head, "more": bool(page) and page[-1][0] < last}
        found[after] = frame([*(text for _, text in page), encoded(ending)])
    return found
