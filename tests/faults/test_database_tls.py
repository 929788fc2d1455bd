"""A database that speaks nothing but TLS, checked against an authority, as ``DATABASE_URL`` of docs/operating.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    with toy_site.workers(toy_site.redis, 2) as pids, toy_site.connection() as connection:
        [campaign] = toy_site.launch(toy_site.redis, trials=30, slots=4)
        found = toy_site.cost(campaign, 5, 30, pids)
        secure = connection.execute(
            "SELECT ssl, count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
            "WHERE backend_type = 'client backend' GROUP BY ssl"
        ).fetchall()
        toy_site.ended([campaign])
        with pytest.raises(RuntimeError, match="the campaign is finished after 30 trials: all 30 trials are done"):
            toy_site.reached(connection, campaign, 31)
    assert [ssl for ssl, _ in secure] == [True] and secure[0][1] >= 3
    assert 20 <= found.trials <= 25 and found.wall_ms > 0 and found.cpu_ms > 0


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
