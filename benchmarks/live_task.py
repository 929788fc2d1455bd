"""The other processes of ``benchmarks.live``: who records events, and a bare echo of the channel layer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import ClassVar

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402 - Django first
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.db import transaction  # noqa: E402
from django.urls import path  # noqa: E402

from trials.models import Campaign  # noqa: E402
from trials.services.events import append_event  # noqa: E402
from trials.vocab import EventKind  # noqa: E402

ECHO = "echo"


class Echo(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Whatever the group says, as it is."""

    groups: ClassVar[list[str]] = [ECHO]

    async def campaign_message(self, event: dict[str, object]) -> None:
        await self.send(text_data=json.dumps(event["message"]))


application = ProtocolTypeRouter({"websocket": URLRouter([path("echo", Echo.as_asgi())])})


def record(slug: str, rate: float, count: int) -> None:
    """Events of the campaign, one transaction each, ``rate`` a second (0: as fast as it goes).

    Each is a line: its number and the moment before its commit.
    """
    pk, begun = Campaign.objects.get(slug=slug).pk, time.monotonic()
    for turn in range(count):
        if rate:
            time.sleep(max(0.0, begun + turn / rate - time.monotonic()))
        with transaction.atomic():
            event = append_event(Campaign.objects.locked(pk), EventKind.SESSION_STARTED, "benchmark", {"session": turn})
            at = time.monotonic()
        sys.stdout.write(f"{event.seq} {at!r}\n")
        sys.stdout.flush()


async def echo(rate: float, count: int) -> None:
    """The same without a record: messages of the same size straight into the channel layer."""
    layer, begun = get_channel_layer(), time.monotonic()
    for turn in range(count):
        await asyncio.sleep(max(0.0, begun + turn / rate - time.monotonic()))
        at = time.monotonic()
        message = {"type": "event", "seq": turn, "filling": "x" * 500}
        await layer.group_send(ECHO, {"type": "campaign.message", "message": message})
        sys.stdout.write(f"{turn} {at!r}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    what, slug, rate, count = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    if what == "record":
        record(slug, rate, count)
    else:
        asyncio.run(echo(rate, count))
