"""A hundred sessions with a scripted model, a fifth of its requests broken: is every session and dollar accounted for?

Real workers, broker, database and sandboxes; the model is a server of the tests that speaks the wire protocol. Trials
are short: the script that fits a line. The model's edits print all that they find of their surroundings, and the key
is looked for in the database, the logs, the bundle and that output.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import django

from benchmarks.report import Report, Target, at_most, run
from tests.specialists.llm_server import Asked, Broken, ModelServer, Reply, Use

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-ant-benchmark-77aa31f0c4e2"
MODEL = "claude-opus-4-8"
SESSIONS, QUICK_SESSIONS = 100, 20
FAULTS = 0.2
BREAKS = [
    Broken("status", 429, retry_after="1"),
    Broken("status", 500),
    Broken("status", 529),
    Broken("stream_error"),
    Broken("cut"),
    Broken("silent_end"),
    Broken("garbage"),
    Reply("I would rather talk about it."),
    Reply("", [Use("submit", '{"hypothesis": "cut in the mid')]),
    Reply("", [Use("no_such_tool", {"x": 1})]),
]
TELLS = 'import os\nprint("ENVIRONMENT", dict(os.environ), open("/proc/self/environ").read())\n'
_FOLDER = tempfile.TemporaryDirectory(prefix="ar-bench-")
os.environ |= {
    "DATA_DIR": _FOLDER.name,
    "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings",
    "AUTORESEARCH_ENVIRONMENTS": str(ROOT / "tests" / "evaluators" / "scripts"),
    "LLM_PROVIDER": "anthropic",
    "LLM_MODEL": MODEL,
    "ANTHROPIC_API_KEY": KEY,
}
django.setup()

from django.db import connection  # noqa: E402 - Django first

from autoresearch_site.bootstrap import migrate_embedded  # noqa: E402
from autoresearch_site.local import ensure_servers  # noqa: E402
from autoresearch_site.stack import Stack  # noqa: E402
from specialists.launch import LaunchSettings, launch_campaign  # noqa: E402
from specialists.models import Account, Call, Session  # noqa: E402
from specialists.proposals import Usage  # noqa: E402
from specialists.proposers.llm import prices  # noqa: E402
from trials.models import Blob, Campaign, Trial  # noqa: E402
from trials.services.blobs import get_blob, get_text  # noqa: E402
from trials.vocab import LIVE_CAMPAIGN_STATES  # noqa: E402


def script(asked: Asked) -> Reply | Broken:
    """Changes the rate of the line, a little otherwise in every session."""
    draw = random.Random(asked.number)
    if draw.random() < FAULTS:
        return draw.choice(BREAKS)
    if asked.turns == 0:
        return Reply("", [Use("read_file", {"name": "model.py"}), Use("search_trials", {"best_first": True})])
    if "replaced at line" not in str(asked.body["messages"]):
        new = f"{TELLS if asked.number % 3 == 0 else ''}RATE = 0.0{draw.randrange(10**6):06d}"
        uses = [Use("rebase", {"trial": 0}), Use("replace", {"name": "model.py", "old": "RATE = 0.05", "new": new})]
        return Reply("Another rate.", uses)
    return Reply("", [Use("submit", {"hypothesis": "Another rate may fit better.", "evidence": [0]})])


def measure(report: Report) -> None:
    """One campaign of so many trials; rows of figures, targets of zero."""
    wanted = QUICK_SESSIONS if report.quick else SESSIONS
    ensure_servers()
    migrate_embedded()
    with ModelServer(script) as server:
        os.environ["LLM_BASE_URL"] = server.url
        began = time.monotonic()
        with Stack(Path(_FOLDER.name), web=False) as stack:
            chosen = LaunchSettings("fit_line", roster="generic-10", proposer="llm", trials=wanted, slots=4, usd=500.0)
            campaign = _ended(launch_campaign(chosen, actor="benchmark"), stack)
        seconds = time.monotonic() - began
        charged, asked = list(server.charged), len(server.asked)
    calls = Call.objects.filter(session__campaign=campaign)
    cost = sum((call.cost or Decimal(0) for call in calls), Decimal(0))
    unended = Session.objects.filter(campaign=campaign, state="running").count()
    states = Counter(Session.objects.filter(campaign=campaign).values_list("state", "fault"))
    printed = sum("ENVIRONMENT" in get_text(sha) for sha in Trial.objects.values_list("log_id", flat=True) if sha)
    report.rows.append(
        {
            "campaign": campaign.state,
            "reason": campaign.state_reason,
            "sessions": sum(states.values()),
            **{" ".join(filter(None, name)): count for name, count in sorted(states.items())},
            "requests": calls.count(),
            "failed requests": calls.exclude(error="").count(),
            "US dollars": float(cost),
            "seconds": round(seconds, 1),
            "trials that printed their environment": printed,
        }
    )
    account = Account.objects.get(campaign=campaign, role="")
    missing = Session.objects.filter(campaign=campaign, transcript__isnull=True).count()
    report.targets |= {
        "sessions_not_accounted_for": at_most(unended + missing, 0),
        "requests_not_recorded": at_most(asked - calls.count(), 0),
        "usd_off_the_servers_count": at_most(float(abs(cost - _priced(campaign, charged))), 0.0),
        "usd_off_the_account": at_most(float(abs(cost - account.cost)), 0.0),
        "places_with_the_key": at_most(len(_leaks(campaign)), 0),
        "sessions_too_few": Target(max(0, wanted - sum(states.values())), 0, sum(states.values()) >= wanted),
    }


def _ended(campaign: Campaign, stack: Stack) -> Campaign:
    while campaign.state in LIVE_CAMPAIGN_STATES and campaign.state != "paused":
        stack.check()
        time.sleep(0.5)
        campaign.refresh_from_db()
    return campaign


def _priced(campaign: Campaign, charged: list[dict[str, int]]) -> Decimal:
    used = [Usage(row["input"], row["cache_read"], row["cache_write"], row["output"]) for row in charged]
    return sum((prices.cost(campaign.agent["prices"], MODEL, usage) or Decimal(0) for usage in used), Decimal(0))


def _leaks(campaign: Campaign) -> list[str]:
    """Where the key stands: blobs, rows, logs, the bundle."""
    found = [f"blob {sha}" for sha in Blob.objects.values_list("pk", flat=True) if KEY.encode() in get_blob(sha)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'trials_blob'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s', [f"%{KEY}%"])
            found += [f"table {table}"] * bool(cursor.fetchone()[0])
    logs = (Path(_FOLDER.name) / "log").glob("*")
    found += [f"log {log.name}" for log in logs if KEY.encode() in log.read_bytes()]
    bundle = Path(_FOLDER.name) / "bundle.zip"
    command: list[Any] = [sys.executable, "manage.py", "export_bundle", campaign.slug, "-o", bundle]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(bundle) as opened:
        found += [f"bundle {name}" for name in opened.namelist() if KEY.encode() in opened.read(name)]
    return found


if __name__ == "__main__":
    sys.exit(run("llm_sessions", measure))
