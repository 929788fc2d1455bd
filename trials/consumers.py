"""Live pages: one socket per campaign page. The database answers "what came after N"; the hub only pushes early.

A socket has a short queue and a writer of its own, so that a slow tab holds up nobody and grows no memory: a full queue
is emptied and the tab is told of a gap; it hears no more until it asks what it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from typing import ClassVar

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.exceptions import PermissionDenied
from django.http import Http404

from trials.access import access_campaign
from trials.hub import FAILED, GAP, REFUSED, Hub, join

logger = logging.getLogger(__name__)
QUEUE_BYTES = 1_000_000
"""What waits for a tab that reads slowly. The texts themselves are the hub's, shared by all tabs."""


class CampaignConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Client: ``{"type": "catch_up", "after": N}``. Server: events (``trials.live.event_message``), progress, gap, in
    busy times several of them in order as ``{"type": "frame", "messages": [...]}``; a catch-up is answered by a frame
    with a page of events and ``{"type": "head", "campaign": counters, "more": bool}``."""

    groups: ClassVar[list[str]] = []
    channel_layer_alias = ""  # none of its own: the hub listens for all

    async def connect(self) -> None:
        self.slug: str = self.scope["url_route"]["kwargs"]["slug"]
        self.account: int = self.scope["user"].pk or 0
        self.waiting: deque[str] = deque()
        self.waiting_bytes = 0
        self.behind = False
        self.asked: int | None = None
        self.ending: int | None = None
        self.wake = asyncio.Event()
        self.hub: Hub | None = None
        self.writer: asyncio.Task[None] | None = None
        if not self.account:
            await self.close()
            return
        self.hub = await join(self.slug, self)  # before the look, so that no later restriction is missed
        try:
            await database_sync_to_async(access_campaign)(self.scope["user"], self.slug)
        except (PermissionDenied, Http404):
            await self.close()
            return
        await self.accept()
        self.writer = asyncio.create_task(self._write(), name=f"live-{self.slug}")

    async def disconnect(self, code: int) -> None:
        if self.hub is not None:
            await self.hub.leave(self)
        if self.writer is not None:
            self.writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.writer

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Remember what the tab asks for; anything but a catch-up closes the socket."""
        try:
            asked = json.loads(text_data or "")
            after = asked["after"] if asked["type"] == "catch_up" else None
        except (ValueError, KeyError, TypeError):
            after = None
        if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < 2**63:
            await self.close(code=4400)
            return
        self.asked = after
        self.wake.set()

    def give(self, text: str) -> None:
        """A push of the hub: queued, never awaited on the socket."""
        if self.behind:
            return
        if self.waiting and self.waiting_bytes + len(text) > QUEUE_BYTES:
            self.waiting.clear()
            self.waiting_bytes, self.behind, text = 0, True, GAP
        self.waiting.append(text)
        self.waiting_bytes += len(text)
        self.wake.set()

    def end(self, code: int) -> None:
        """Close the socket; nothing that waits is sent any more."""
        self.ending = code
        self.waiting.clear()
        self.wake.set()

    async def _write(self) -> None:
        """The only writer of this socket."""
        try:
            code = await self._serve()
        except PermissionDenied:
            code = REFUSED
        except OSError:  # the tab has gone: its disconnect is on the way
            return
        except Exception:
            logger.exception("live socket of campaign %s ended", self.slug)
            code = FAILED
        with contextlib.suppress(OSError):
            await self.close(code=code)

    async def _serve(self) -> int:
        """Pushes in order, then the page that was asked for, until the hub ends the socket; returns its code."""
        while self.ending is None:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                text = self.waiting.popleft()
                self.waiting_bytes -= len(text)
                await self.send(text_data=text)
            if self.asked is not None:
                await self._catch_up()
        return self.ending

    async def _catch_up(self) -> None:
        """Pushes that come meanwhile wait behind the answer, which holds whatever came before them."""
        assert self.hub is not None and self.asked is not None
        after, self.asked, self.behind = self.asked, None, False
        text = await self.hub.after(self, after)
        if self.ending is None:
            await self.send(text_data=text)
