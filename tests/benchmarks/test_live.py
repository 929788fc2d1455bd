"""A page of the benchmark follows the protocol: in order, nothing twice, gaps asked for."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.live import Page, percentile


class Recorded(Page):
    """Asks into a list instead of a socket."""

    asked: list[int]

    async def ask(self) -> None:
        self.asking = True
        self.asked.append(self.seq)


def after(*messages: dict[str, Any]) -> Recorded:
    async def take() -> Recorded:
        page = Recorded("", {}, 3)
        page.asked = []
        for at, message in enumerate(messages):
            await page.take(message, float(at))
        return page

    return asyncio.run(take())


def event(seq: int) -> dict[str, Any]:
    return {"type": "event", "seq": seq}


def head(seq: int) -> dict[str, Any]:
    return {"type": "head", "campaign": {"seq": seq}}


def test_a_page_applies_what_follows_and_asks_for_what_is_missing() -> None:
    page = after(event(4), event(4), event(2), event(7), event(8), event(5), event(6), head(8))
    assert (page.seq, page.came, page.twice, page.asked) == (6, {4: 0.0, 5: 5.0, 6: 6.0}, 0, [4, 6])
    frame = after({"type": "frame", "messages": [event(4), event(5), {"type": "progress"}, event(6)]}, head(6))
    assert (frame.seq, frame.came, frame.asked) == (6, {4: 0.0, 5: 0.0, 6: 0.0}, [])
    assert after({"type": "gap"}).asked == [3]


def test_percentiles_are_of_the_order() -> None:
    assert percentile([5.0, 1.0, 3.0, 2.0, 4.0], 0.5) == 3.0
    assert percentile(list(range(100)), 0.95) == 95
