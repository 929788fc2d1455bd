"""Every page as a picture, in each theme and width: the real site in a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.urls import reverse
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from autoresearch_site.sessions import SessionStore
from autoresearch_site.stack import bind
from specialists.models import Study
from trials.models import Campaign
from trials.templatetags.campaign_nav import NOT_RELEASED, PAGES

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
START_SECONDS, WAIT_MS = 60.0, 60_000
TALLEST, MOST_STUDIES = 3_200, 3
#: Whether a page is as it stays: every chart in sight is drawn or says that it has nothing to draw.
SETTLED = """() => [...document.querySelectorAll('[data-chart] .plot')]
  .filter((plot) => plot.getBoundingClientRect().top < innerHeight)
  .every((plot) => plot.querySelector('.main-svg') !== null || plot.hasAttribute('data-empty'))"""


@dataclass(frozen=True)
class Look:
    """One way to look at a page: theme and width in CSS pixels."""

    name: str
    theme: str
    width: int
    height: int


LOOKS = {
    look.name: look
    for look in (Look("light", "light", 1440, 900), Look("dark", "dark", 1440, 900), Look("phone", "light", 390, 844))
}


def pages(campaigns: list[Campaign]) -> Iterator[tuple[str, str]]:
    """Name and address of every page: those of the site, then those of each campaign with its best and newest trial."""
    yield "login", reverse("login")
    yield "campaigns", reverse("trials:campaigns")
    yield "launch", reverse("specialists:launch")
    yield "workers", reverse("specialists:workers")
    yield "tokens", reverse("trials:tokens")
    yield "webhooks", reverse("trials:webhooks")
    yield "studies", reverse("specialists:studies")
    for study in Study.objects.order_by("-pk")[:MOST_STUDIES]:
        yield f"study-{study.slug}", study.get_absolute_url()
    for campaign in campaigns:
        for name, _, _ in PAGES:
            if not (campaign.is_released_run and name in NOT_RELEASED):
                yield f"{campaign.slug}-{name.partition(':')[2]}", reverse(name, args=[campaign.slug])
        yield f"{campaign.slug}-readers", reverse("trials:readers", args=[campaign.slug])
        numbers = {0, campaign.last_number, campaign.best_trial.number if campaign.best_trial else 0}
        for number in sorted(number for number in numbers if 0 <= number <= campaign.last_number):
            yield f"{campaign.slug}-trial-{number}", reverse("trials:trial", args=[campaign.slug, number])
            yield f"{campaign.slug}-note-{number}", reverse("trials:note", args=[campaign.slug, number])


@contextmanager
def serving() -> Iterator[str]:
    """The address of a web process of its own on a free port. Raises RuntimeError when it does not answer."""
    with bind(0) as probe:
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "autoresearch_site.asgi:application", "--port", str(port),
               "--log-level", "warning"]  # fmt: skip
    process = subprocess.Popen(command, cwd=settings.BASE_DIR)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/login/", timeout=5)  # noqa: S310 - this host
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the web process does not answer at {address}: {error}") from error
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def log_in() -> SessionStore:
    """A session of the first administrator. Raises RuntimeError when there is none."""
    account = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if account is None:
        raise RuntimeError("there is no administrator: start the site once, or run manage.py createsuperuser")
    session = SessionStore()
    session[SESSION_KEY] = str(account.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = account.get_session_auth_hash()
    session.create()
    return session


def shoot(
    folder: Path, campaigns: list[Campaign], looks: Sequence[Look], say: Callable[[str], None]
) -> list[Path]:  # fmt: skip
    """Write every page in every look to ``folder``; returns the files. Raises RuntimeError for a page with an error."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted, session = list(pages(campaigns)), log_in()
    made: list[Path] = []
    try:
        with serving() as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            for look in looks:
                context = _context(browser, look, address, str(session.session_key))
                for name, path in wanted:
                    made.append(_shot(context, look, f"{address}{path}", folder / f"{name}-{look.name}.png"))
                    say(made[-1].name)
                context.close()
            browser.close()
    finally:
        session.delete()
    return made


def _context(browser: Browser, look: Look, address: str, key: str) -> BrowserContext:
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme="dark" if look.theme == "dark" else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(WAIT_MS)
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": address}])
    return context


def _shot(context: BrowserContext, look: Look, address: str, path: Path) -> Path:
    """The whole page, as high as it is up to TALLEST, so that charts below the fold are drawn too."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    answer = page.goto(address)
    if answer is None or answer.status >= 400:
        raise RuntimeError(f"{address} answers {'nothing' if answer is None else answer.status}")
    height = int(page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": look.width, "height": min(max(height, look.height), TALLEST)})
    page.wait_for_function(SETTLED)
    page.wait_for_timeout(400)
    page.screenshot(path=str(path))
    page.close()
    if errors:
        raise RuntimeError(f"{address}: {errors[0]}")
    return path
