"""One campaign's messages, once per process: a hub listens to the campaign's group and hands texts to all tabs.

A message is encoded when it arrives, whatever the number of tabs. The first ones of a quiet time go out at once; when
there are more of them than one by one is cheap, they go together, four times a second at most, as a frame or, where
that would be too long, as some. Nothing here waits for a tab: each has a bounded queue and a writer of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.core.exceptions import PermissionDenied

from trials.access import viewers
from trials.catch_up import Asked, answers, encoded, frames
from trials.live import RECHECK, group_name

logger = logging.getLogger(__name__)
ALONE = 40
"""So many messages in a second are sent one by one, and fewer where that would be more than DELIVERIES."""
DELIVERIES = 2_000
FRAME_SECONDS = 0.25
WAITING = 1_000
"""Messages between two frames; more become a gap."""
GAP = encoded({"type": "gap"})
REFUSED, FAILED = 4403, 1011


class Tab(Protocol):
    """What a hub wants of an open tab. Neither call waits."""

    account: int

    def give(self, text: str) -> None: ...

    def end(self, code: int) -> None: ...


class Hub:
    """The tabs of one campaign in this process. Found by ``join``, ends with the last tab that leaves."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.tabs: set[Tab] = set()
        self._starting = asyncio.Lock()
        self._channel = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: dict[object, str] = {}
        self._arrived: deque[float] = deque(maxlen=ALONE)
        self._sent_at = 0.0
        self._recheck = False
        self._wake, self._ask = asyncio.Event(), asyncio.Event()
        self._asked: list[tuple[Asked, asyncio.Future[str]]] = []

    async def start(self) -> None:
        """Listen to the group, once. Whatever is committed after this returns reaches the tabs or leaves a gap."""
        async with self._starting:
            if self._tasks:
                return
            layer = get_channel_layer()
            self._channel = await layer.new_channel()
            await layer.group_add(group_name(self.slug), self._channel)
            parts = (self._listen(), self._push(), self._answer())
            self._tasks = [asyncio.create_task(self._guard(part), name=f"hub-{self.slug}") for part in parts]

    async def leave(self, tab: Tab) -> None:
        """The tab hears nothing more; without tabs the hub ends."""
        self.tabs.discard(tab)
        if self.tabs:
            return
        hubs = _hubs.get(asyncio.get_running_loop(), {})
        if hubs.get(self.slug) is self:
            del hubs[self.slug]
        async with self._starting:
            if not self._tasks:
                return
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await get_channel_layer().group_discard(group_name(self.slug), self._channel)

    async def after(self, tab: Tab, number: int) -> str:
        """What came after this event, as one frame. Raises PermissionDenied where the account may not look any more."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked.append(((tab.account, number), future))
        self._ask.set()
        return await future

    def take(self, message: dict[str, Any]) -> None:
        """A message of the group. Of a trial's progress only the newest waits; too many are a gap."""
        if message == RECHECK:
            self._recheck = True
        else:
            self._arrived.append(time.monotonic())
            key = ("progress", message["trial"]) if message["type"] == "progress" else object()
            self._waiting.pop(key, None)
            if len(self._waiting) >= WAITING:
                self._waiting = {"gap": GAP}
            else:
                self._waiting[key] = encoded(message)
        self._wake.set()

    def busy(self) -> bool:
        """Whether more came within the last second than is sent one by one to so many tabs."""
        alone = min(ALONE, max(int(1 / FRAME_SECONDS), DELIVERIES // max(1, len(self.tabs))))
        return len(self._arrived) >= alone and time.monotonic() - self._arrived[-alone] < 1.0

    async def _guard(self, part: Coroutine[Any, Any, None]) -> None:
        """A hub of which a part has failed tells its tabs, which come again to a new one."""
        try:
            await part
        except Exception:
            logger.exception("the hub of campaign %s failed", self.slug)
            _hubs.get(asyncio.get_running_loop(), {}).pop(self.slug, None)
            for tab in self.tabs:
                tab.end(FAILED)

    async def _listen(self) -> None:
        layer = get_channel_layer()
        while True:
            self.take((await layer.receive(self._channel))["message"])

    async def _push(self) -> None:
        """What waits, in order: one by one, or in busy times as a frame, a while after the one before."""
        while True:
            await self._wake.wait()
            busy = self.busy()
            if busy:
                await asyncio.sleep(max(0.0, self._sent_at + FRAME_SECONDS - time.monotonic()))
            self._wake.clear()
            texts, self._waiting = list(self._waiting.values()), {}
            if self._recheck:
                self._recheck = False
                await self._look_again()
            if busy:
                texts = frames(texts)
            self._sent_at = time.monotonic()
            for text in texts:
                for tab in self.tabs:
                    tab.give(text)
                await asyncio.sleep(0)  # tabs that read take it before the next

    async def _look_again(self) -> None:
        """Tabs whose account may not see the campaign any more end before anything else is told."""
        _, allowed = await database_sync_to_async(viewers)(self.slug, {tab.account for tab in self.tabs})
        refused = {tab for tab in self.tabs if tab.account not in allowed}
        self.tabs -= refused
        for tab in refused:
            tab.end(REFUSED)

    async def _answer(self) -> None:
        """One look at the database for all that asked while the one before was under way."""
        while True:
            await self._ask.wait()
            self._ask.clear()
            asked, self._asked = self._asked, []
            try:
                found = await database_sync_to_async(answers)(self.slug, [question for question, _ in asked])
            except Exception as error:
                logger.exception("campaign %s: what its tabs missed could not be read", self.slug)
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), text in zip(asked, found, strict=True):
                if future.done():
                    continue
                if text is None:
                    future.set_exception(PermissionDenied(f"campaign {self.slug!r} is not visible"))
                else:
                    future.set_result(text)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Hub]] = WeakKeyDictionary()


async def join(slug: str, tab: Tab) -> Hub:
    """The hub of a campaign with this tab among its own; whoever joins leaves, whatever happens in between."""
    hubs = _hubs.setdefault(asyncio.get_running_loop(), {})
    hub = hubs.get(slug) or hubs.setdefault(slug, Hub(slug))
    hub.tabs.add(tab)
    try:
        await hub.start()
    except BaseException:
        await hub.leave(tab)
        raise
    return hub
