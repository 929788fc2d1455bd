"""Live pages: one socket per campaign page. The database answers "what came after N"; the group only pushes early.

Group messages are moved at once into a short queue of the socket's own and written by a task of its own, so that a slow
tab neither holds up the channel layer nor grows memory: a full queue is emptied and the tab is told of a gap. In busy
seconds messages are put together into frames, a few a second, which spares both ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from typing import Any, ClassVar

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404

from trials.access import access_campaign
from trials.live import RECHECK, campaign_head, event_message, group_name
from trials.models import Event

logger = logging.getLogger(__name__)
QUEUE_LENGTH = 256
PAGE = 200
ALONE = 40
"""So many messages in a second are sent one by one; more are put together."""
FRAME_SECONDS = 0.25
GAP: dict[str, Any] = {"type": "gap"}


class CampaignConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Client: ``{"type": "catch_up", "after": N}``. Server: events (``trials.live.event_message``), progress, gap, and
    after each page of a catch-up ``{"type": "head", "campaign": counters, "more": bool}``; in busy times several of
    them in order as ``{"type": "frame", "messages": [...]}``."""

    groups: ClassVar[list[str]] = []

    async def connect(self) -> None:
        self.slug: str = self.scope["url_route"]["kwargs"]["slug"]
        self.waiting: deque[dict[str, Any]] = deque()
        self.arrived: deque[float] = deque(maxlen=ALONE)
        self.framed_at = 0.0
        self.after: int | None = None
        self.wake = asyncio.Event()
        self.writer: asyncio.Task[None] | None = None
        try:
            await self._campaign_after(None)
        except (PermissionDenied, Http404):
            await self.close()
            return
        await self.channel_layer.group_add(group_name(self.slug), self.channel_name)
        await self.accept()
        self.writer = asyncio.create_task(self._write(), name=f"live-{self.slug}")

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(group_name(self.slug), self.channel_name)
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
        self.after = after
        self.wake.set()

    async def campaign_message(self, event: dict[str, Any]) -> None:
        """A push from the group: queued, never awaited on the socket."""
        self.arrived.append(time.monotonic())
        if len(self.waiting) >= QUEUE_LENGTH:
            self.waiting.clear()
            self.waiting.append(GAP)
        else:
            self.waiting.append(event["message"])
        self.wake.set()

    async def _write(self) -> None:
        """The only writer of this socket: pushes in order, then the page that was asked for."""
        try:
            while True:
                await self.wake.wait()
                self.wake.clear()
                if self.waiting:
                    await self._push()
                if self.after is not None:
                    after, self.after = self.after, None
                    for message in await self._campaign_after(after):
                        await self._send(message)
        except asyncio.CancelledError:
            raise
        except (PermissionDenied, Http404):
            await self.close(code=4403)
        except Exception:
            logger.exception("live socket of campaign %s ended", self.slug)
            await self.close(code=1011)

    def _busy(self) -> bool:
        """Whether more came within the last second than is sent one by one."""
        return len(self.arrived) == ALONE and time.monotonic() - self.arrived[0] < 1.0

    async def _push(self) -> None:
        """What waits, in order: one by one, or in busy times as one frame, a while after the one before.

        Raises PermissionDenied and Http404 where the user may not look any more.
        """
        busy = self._busy()
        if busy:
            await asyncio.sleep(max(0.0, self.framed_at + FRAME_SECONDS - time.monotonic()))
        messages = list(self.waiting)
        self.waiting.clear()
        if RECHECK in messages:
            await self._campaign_after(None)
            messages = [message for message in messages if message != RECHECK]
        if busy and len(messages) > 1:
            messages = [{"type": "frame", "messages": messages}]
        self.framed_at = time.monotonic()
        for message in messages:
            await self._send(message)

    async def _send(self, message: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(message, separators=(",", ":")))

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _campaign_after(self, after: int | None) -> list[dict[str, Any]]:
        """One page of events with a higher number than ``after``, then the head; for None only the right to look.

        The user is read again each time: a closed account sees nothing more. Raises PermissionDenied and Http404.
        """
        session_user = self.scope["user"]
        user = get_user_model().objects.filter(pk=session_user.pk).first() or session_user
        campaign = access_campaign(user, self.slug)
        if after is None:
            return []
        missed = after < campaign.last_seq
        events = list(Event.objects.after(campaign.pk, after)[:PAGE]) if missed else []
        more = bool(events) and events[-1].seq < campaign.last_seq
        messages = [event_message(event, event.trial) for event in events]
        return [*messages, {"type": "head", "campaign": campaign_head(campaign), "more": more}]
