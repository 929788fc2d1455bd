"""Fixtures that start the real site: uvicorn and Celery workers as processes of their own, on the test database."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from benchmarks.servers import NotThere, postgresql_with_tls
from benchmarks.toy_site import ToySite
from tests import certificates
from trials import clock

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60


def process_environment() -> dict[str, str]:
    """Environment for child processes: everything points at the test database."""
    chosen = connection.settings_dict
    url = (
        f"postgres://{quote(chosen['USER'])}@/{chosen['NAME']}?host={quote(str(chosen['HOST']), safe='')}"
        f"&port={chosen['PORT']}&passfile={quote(str(chosen['OPTIONS']['passfile']), safe='')}"
    )
    return os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings"}


LEDGER = (
    "trials_event", "trials_measurement", "trials_blob", "trials_siteevent", "trials_trial", "trials_approval",
)  # fmt: skip


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Between tests that commit, tables are emptied by TRUNCATE, which the ledger refuses: its owner says otherwise."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for table in LEDGER:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_no_truncate")


@contextmanager
def running(*arguments: str, log: Path, pass_fds: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the site, stopped at the end; its output goes to ``log``."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=process_environment(),
            stdout=out,
            stderr=out,
            pass_fds=pass_fds,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``ca.pem``, and ``server.pem`` and ``server.key`` for this address."""
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def toy_site(tls: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToySite]:
    """A site on servers of its own, without the test database; they speak nothing but TLS where PostgreSQL can."""
    try:
        postgresql_with_tls()
        secure = tls
    except NotThere:
        secure = None
    with ToySite(tmp_path_factory.mktemp("toy"), rabbitmq=False, tls=secure) as site:
        yield site


@pytest.fixture(scope="session")
def site_url(
    django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a running web process (uvicorn: pages, admin and sockets), with static files as users get them."""
    collect = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity=0"]
    subprocess.run(collect, cwd=ROOT, env=process_environment(), check=True)
    port, log = free_port(), tmp_path_factory.mktemp("site") / "web.log"
    arguments = ("uvicorn", "autoresearch_site.asgi:application", "--port", str(port), "--log-level", "warning")
    with running(*arguments, log=log) as process:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/login/", timeout=2)
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"the web process did not come up: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def workers(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    """Celery workers for all queues and the beat, on the test database; yields the folder of their logs."""
    from celery import current_app  # noqa: PLC0415 - Django must be set up first

    current_app.control.purge()
    worker = ("celery", "-A", "autoresearch_site", "worker", "--loglevel", "INFO", "-c", "2")
    beat = ("celery", "-A", "autoresearch_site", "beat", "--loglevel", "INFO", "-s", str(tmp_path / "schedule"))
    with (
        running(*worker, "-n", "a@test", "-Q", "agents,agents.models,default", log=tmp_path / "agents.log"),
        running(*worker, "-n", "e@test", "-Q", "evaluators.cpu", log=tmp_path / "evaluators.log"),
        running(*beat, log=tmp_path / "beat.log"),
    ):
        yield tmp_path


@pytest.fixture(autouse=True)
def _database_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test database was started a moment ago; leases that a test lets run out have run out all the same."""
    monkeypatch.setattr(clock, "serving_since", lambda: datetime(2000, 1, 1, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _plain_static_files() -> None:
    """Pages under test name static files without a manifest."""
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
