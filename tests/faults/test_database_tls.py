"""A database that speaks nothing but TLS, checked against an authority, as ``DATABASE_URL`` of docs/operating.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.report import Report
from benchmarks.toy_site import ToySite
from tests import certificates
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _encrypted(toy_site: ToySite) -> None:
    if toy_site.database.tls is None:
        pytest.skip("PostgreSQL with TLS is not installed: as root, apt-get install postgresql")


def migrations(url: str) -> subprocess.CompletedProcess[str]:
    """A command that has to reach the database."""
    environment = os.environ | {"DATABASE_URL": url, "SECRET_KEY": "t" * 60}
    command = [sys.executable, "manage.py", "showmigrations", "trials"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_every_connection_of_a_search_is_encrypted(toy_site: ToySite) -> None:
    report = Report("growth", True)
    growth.many(report, toy_site, 40)
    first, last, whole = report.rows
    assert [first["size"], last["size"], whole["violations"], whole["verified"]] == [20, 40, [], True]
    assert last["count"] >= 1 and last["cpu_ms"] > 0 and last["workers_mb"] > 0
    with toy_site.connection() as connection:
        [campaign] = connection.execute("SELECT max(id) FROM trials_campaign").fetchone() or (0,)
        assert toy_site.where(connection, campaign)[:2] == (40, "finished")
        with pytest.raises(RuntimeError, match="the campaign is finished after 40 trials: all 40 trials are done"):
            toy_site.reached(connection, campaign, 41)
    log = (toy_site.database.folder / "server.log").read_text()
    made = [line for line in log.splitlines() if "connection authorized" in line]
    assert len(made) >= 8 and all("SSL enabled" in line for line in made)


def test_another_authority_or_no_encryption_is_refused_in_one_line(toy_site: ToySite, tmp_path: Path) -> None:
    url = toy_site.database.url
    assert migrations(url).returncode == 0
    other = certificates.make(tmp_path)
    for wrong in (
        url.replace(str(toy_site.database.tls), str(other)),
        url.replace("verify-full", "disable"),
        url.replace("@127.0.0.1", "@localhost"),  # the certificate is for the address alone
    ):
        done = migrations(wrong)
        assert done.returncode == 1 and done.stdout == ""
        [line] = done.stderr.strip().splitlines()
        assert "DATABASE_URL" in line and toy_site.database.password not in line
