"""``manage.py demo`` (``make demo``): the whole system on this machine, with a live campaign to watch."""

from __future__ import annotations

import json
import os
import signal
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from autoresearch_site import embedded
from autoresearch_site.bootstrap import prepare_site, say_login
from autoresearch_site.demo import (
    DemoError,
    DemoSettings,
    check_host,
    follow,
    last_campaign,
    say_progress,
    summary,
    wait_for_site,
)
from autoresearch_site.embedded import EmbeddedError
from autoresearch_site.local import ensure_servers
from autoresearch_site.process import die_with_parent
from autoresearch_site.stack import Stack, StackError
from evaluators.contract import HarnessFault
from evaluators.sandbox import SandboxUnavailable
from specialists import launch
from specialists.launch import LaunchError
from trials.models import Campaign
from trials.vocab import CampaignState

ACTOR = "demo"
LAST_LOOK = 3.0  # seconds
FAULTS = (DemoError, EmbeddedError, StackError, LaunchError, SandboxUnavailable, HarnessFault, LookupError, OSError)


class Command(BaseCommand):
    help = (
        "Site, workers and a live CPU campaign of Parameter Golf. Environment: PORT (8000), DEMO_TRIALS (60), "
        "DEMO_SEED (0), DEMO_EXIT=1 to end with the campaign."
    )
    needs_servers = False  # it starts them itself, after it has checked what it was given

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--with-parent", action="store_true", help="end when the process that started it ends")

    def handle(self, *, with_parent: bool, **options: Any) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup's wish
                signal.signal(signum, _interrupt)
        if with_parent:
            die_with_parent(signal.SIGTERM, parent=os.getppid())
        chosen = None
        try:
            chosen = DemoSettings.read()
            check_host(chosen)
            ensure_servers()
            self._run(chosen)
        except (*FAULTS, ValueError) as error:
            raise CommandError(" ".join(str(error).split())) from error
        except KeyboardInterrupt:
            say_progress(f"stopped; the data stay in {settings.DATA_DIR}, make demo goes on from there")
            if chosen is None or chosen.leave:
                raise
        finally:
            connections.close_all()
            embedded.release(settings.DATA_DIR)

    def _run(self, chosen: DemoSettings) -> None:
        admin = prepare_site()
        campaign = last_campaign(chosen)
        if campaign is not None and campaign.state == CampaignState.FINISHED:
            say_progress(f"campaign {campaign.slug} is finished and on record")
            if chosen.leave:
                self._print_summary(campaign)
                return
        with Stack(settings.DATA_DIR, web=True, port=chosen.port) as stack:
            address = wait_for_site(stack)
            campaign = campaign or launch.launch_campaign(chosen.launch_settings(), actor=ACTOR)
            if campaign.state == CampaignState.PAUSED:
                campaign = launch.resume(campaign, actor=ACTOR)
            self.stdout.write(f"{self.style.SUCCESS('site')}    {address.rstrip('/')}{campaign.get_absolute_url()}")
            self.stdout.write(say_login(self, admin))
            self.stdout.flush()
            campaign = follow(campaign, stack, say_progress, leave_on_pause=chosen.leave)
            if chosen.leave:
                time.sleep(LAST_LOOK)  # open pages get the last events before the site goes down
                self._print_summary(campaign)
                return
            say_progress("the campaign has ended; the site stays up until Ctrl-C")
            stack.wait()

    def _print_summary(self, campaign: Campaign) -> None:
        self.stdout.write(json.dumps(summary(campaign)))


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
