"""``manage.py screenshots``: the command as people start it, on the test database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, process_environment
from tests.factories import make_campaign, run_trial
from tests.specialists.studies import launched
from trials.templatetags.campaign_nav import PAGES

PNG = b"\x89PNG"


def screenshots(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "screenshots", *arguments]
    return subprocess.run(command, cwd=ROOT, env=process_environment(), capture_output=True, text=True, check=False)


def test_every_page_becomes_a_picture(transactional_db: None, tmp_path: Path) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    study = launched()
    done = screenshots("-o", str(tmp_path), "--campaign", campaign.slug, "--look", "phone")
    assert done.returncode == 0, done.stderr
    expected = {"login", "campaigns", "launch", "workers", "tokens", "webhooks", "studies", f"study-{study.slug}"}
    expected |= {f"{campaign.slug}-{name}" for name in ("readers", "trial-0", "note-0")}
    expected |= {f"{campaign.slug}-{name.partition(':')[2]}" for name, _, _ in PAGES}
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}-phone.png" for name in expected}
    assert all(path.read_bytes().startswith(PNG) and path.stat().st_size > 5_000 for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("--campaign", "none"), "there is no campaign 'none'"), (("--look", "sepia"), "there is no look 'sepia'")],
)
def test_what_is_not_there_is_said(
    transactional_db: None, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = screenshots("-o", str(tmp_path), *arguments)
    assert done.returncode == 1 and told in done.stderr and "Traceback" not in done.stderr
