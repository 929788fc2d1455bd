"""Live pages of many campaigns: told that something changed, never what; they ask, and read their figures again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any, ClassVar

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404

from specialists.operations import page
from specialists.studies.standing import group_name, head, places
from specialists.study_access import access_study
from trials import live
from trials.access import visible_campaigns

logger = logging.getLogger(__name__)
EVERY_SECONDS = 1.0  # at most one poke in so many seconds, however many campaigns run


class PokeConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Client: ``{"type": "catch_up", "after": N}``. Server: ``{"type": "changed"}``, and as the answer
    ``{"type": "head", "page": {seq, ...}}``.

    The socket listens to the campaigns that its page shows; which these are is read again when something changes.
    every: also poke the page after so many seconds without a change, where what it shows ages by itself.
    """

    groups: ClassVar[list[str]] = []
    every: ClassVar[float | None] = None

    async def connect(self) -> None:
        self.joined: set[str] = set()
        self.wake, self.poked, self.asked = asyncio.Event(), False, False
        self.writer: asyncio.Task[None] | None = None
        try:
            await self._look()
        except (PermissionDenied, Http404):
            await self.close()
            return
        await self.accept()
        self.writer = asyncio.create_task(self._write(), name=f"live-{self.scope['path']}")

    async def disconnect(self, code: int) -> None:
        if self.writer is not None:
            self.writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.writer
        for group in self.joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Remember that the tab asks; anything but a catch-up closes the socket."""
        try:
            asked = json.loads(text_data or "")["type"] == "catch_up"
        except (ValueError, KeyError, TypeError):
            asked = False
        if not asked:
            await self.close(code=4400)
            return
        self.asked = True
        self.wake.set()

    async def campaign_message(self, event: dict[str, Any]) -> None:
        """A push of one of the campaigns. How far a trial is changes nothing here."""
        if event["message"]["type"] != "progress":
            self.poked = True
            self.wake.set()

    async def _write(self) -> None:
        """The only writer of this socket."""
        try:
            while True:
                await self._wait()
                self.wake.clear()
                if self.asked:
                    self.asked = False
                    await self._send({"type": "head", "page": await self._look()})
                if self.poked:
                    self.poked = False
                    await self._send({"type": "changed"})
                    await asyncio.sleep(EVERY_SECONDS)
        except asyncio.CancelledError:
            raise
        except (PermissionDenied, Http404):
            await self.close(code=4403)
        except Exception:
            logger.exception("live socket %s ended", self.scope["path"])
            await self.close(code=1011)

    async def _send(self, message: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(message, separators=(",", ":")))

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self.wake.wait(), self.every)
        except TimeoutError:
            self.poked = True

    async def _look(self) -> dict[str, Any]:
        """How the page stands; joins the groups of what runs now. Raises PermissionDenied and Http404.

        Groups are joined before the figures are read, so that nothing falls between the two.
        """
        wanted = await self._wanted()
        for group in wanted - self.joined:
            await self.channel_layer.group_add(group, self.channel_name)
        for group in self.joined - wanted:
            await self.channel_layer.group_discard(group, self.channel_name)
        self.joined = wanted
        found: dict[str, Any] = await self._head()
        return found

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _wanted(self) -> set[str]:
        return self.groups_of(self._user())

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _head(self) -> dict[str, Any]:
        return self.head_of(self._user())

    def _user(self) -> Any:
        """Read again each time: a closed account sees nothing more."""
        session_user = self.scope["user"]
        return get_user_model().objects.filter(pk=session_user.pk).first() or session_user

    def groups_of(self, user: Any) -> set[str]:
        """Groups to listen to. Raises PermissionDenied and Http404."""
        raise NotImplementedError

    def head_of(self, user: Any) -> dict[str, Any]:
        """Where the page stands: ``seq`` and more. Raises PermissionDenied and Http404."""
        raise NotImplementedError


class StudyConsumer(PokeConsumer):
    """The page of a study."""

    @property
    def slug(self) -> str:
        return str(self.scope["url_route"]["kwargs"]["slug"])

    def groups_of(self, user: Any) -> set[str]:
        found = places(access_study(user, self.slug))
        running = {live.group_name(place.campaign.slug) for place in found if place.campaign is not None and place.live}
        return running | {group_name(self.slug)}

    def head_of(self, user: Any) -> dict[str, Any]:
        return head(access_study(user, self.slug))


class WorkersConsumer(PokeConsumer):
    """The page of workers and queues: all campaigns that are at work and visible, and the age of what it shows."""

    every: ClassVar[float | None] = 5.0

    def groups_of(self, user: Any) -> set[str]:
        return {live.group_name(slug) for slug in visible_campaigns(user).at_work().values_list("slug", flat=True)}

    def head_of(self, user: Any) -> dict[str, Any]:
        return {"seq": page.seq_of(user)}
