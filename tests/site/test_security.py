"""The site's own defences: log-ins, cookies and redirects behind TLS, sizes of what comes in, known vulnerabilities."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axes.models import AccessAttempt
from django.conf import settings as configured
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.conftest import ROOT

PRODUCTION = {
    "BEHIND_TLS": "1",
    "HSTS_SECONDS": "31536000",
    "ALLOWED_HOSTS": "search.example.org",
    "CSRF_TRUSTED_ORIGINS": "https://search.example.org",
}
PASSWORD = "correct horse battery"


def in_production(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | PRODUCTION | {"DATA_DIR": str(tmp_path)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_djangos_own_check_finds_nothing_in_production(tmp_path: Path) -> None:
    done = in_production(tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0 and "no issues" in done.stdout, done.stdout + done.stderr


TLS = """
import json, django
django.setup()
from django.test import Client
host = {"Host": "search.example.org"}
plain = Client().get("/login/", headers=host)
probe = Client().get("/healthz", headers={"Host": "10.0.0.1"})
safe = Client().get("/login/", headers=host | {"X-Forwarded-Proto": "https"})
other = Client().get("/login/", headers={"Host": "evil.example.org", "X-Forwarded-Proto": "https"})
cookies = {name: bool(one["secure"]) for name, one in safe.cookies.items()}
print(json.dumps([plain.status_code, plain["Location"], probe.status_code, safe.status_code,
    safe["Strict-Transport-Security"], cookies, other.status_code]))
"""


def test_behind_tls_pages_are_redirected_and_cookies_are_safe(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "staticfiles.json").write_text((b'{"paths": {}, "version": "1.1", "hash": ""}').decode())
    code = "from django.conf import settings; settings.STORAGES['staticfiles']['BACKEND'] = " \
        "'django.contrib.staticfiles.storage.StaticFilesStorage'" + TLS  # fmt: skip
    done = in_production(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    plain, where, probe, safe, hsts, cookies, other = json.loads(done.stdout.splitlines()[-1])
    assert (plain, where) == (301, "https://search.example.org/login/")
    assert (probe, safe, other) == (200, 200, 400)
    assert hsts == "max-age=31536000"
    assert cookies == {"csrftoken": True}
    assert configured.SESSION_COOKIE_HTTPONLY and configured.SESSION_COOKIE_SAMESITE == "Lax"


@pytest.fixture
def anna(db: None, settings: Any) -> User:
    settings.AXES_FAILURE_LIMIT = 3
    return User.objects.create_superuser("anna", password=PASSWORD)


def tried(password: str, *, address: str = "192.0.2.1", name: str = "anna", path: str = "/login/") -> int:
    client = Client(REMOTE_ADDR=address)
    return client.post(path, {"username": name, "password": password}).status_code


def test_guessing_passwords_is_slowed_down_for_name_and_address(anna: User) -> None:
    assert [tried("wrong") for _ in range(3)] == [200, 200, 429]
    locked = Client(REMOTE_ADDR="192.0.2.1").post("/login/", {"username": "anna", "password": PASSWORD})
    assert locked.status_code == 429 and "Too many attempts" in locked.content.decode()
    assert "15 min 00 s" in locked.content.decode()
    assert tried(PASSWORD, path="/admin/login/") == 429
    assert tried(PASSWORD, address="192.0.2.2") == 302, "another place is not locked"
    assert tried("wrong", name="bert") == 200, "nor is another name"
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert tried(PASSWORD) == 302


def test_a_log_in_forgets_earlier_failures(anna: User) -> None:
    for _ in range(3):
        assert [tried("wrong"), tried("wrong"), tried(PASSWORD)] == [200, 200, 302]
    kept = AccessAttempt.objects.values_list("post_data", flat=True)
    assert not any("wrong" in text for text in kept)


@pytest.fixture
def link(site_url: str) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection(urlsplit(site_url).netloc, timeout=60)
    yield made
    made.close()


def test_a_body_that_is_too_large_is_cut_off(link: http.client.HTTPConnection) -> None:
    most = configured.MAX_BODY_BYTES
    chunk = b"x" * 65_536
    link.putrequest("POST", "/login/")
    link.putheader("Transfer-Encoding", "chunked")
    link.putheader("Content-Type", "multipart/form-data; boundary=b")
    link.endheaders()
    for _ in range(most // len(chunk) + 1):  # the length is not said beforehand
        link.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    answer = link.getresponse()
    assert answer.status == 413 and answer.read() == f"the body is larger than {most} bytes\n".encode()
    link.close()
    link.putrequest("POST", "/api/v1/campaigns")
    link.putheader("Content-Length", str(most + 1))
    link.endheaders()  # not a byte of it is waited for
    assert link.getresponse().status == 413
    link.close()
    link.request("POST", "/login/", body=b"x" * 1000)
    assert link.getresponse().status == 403, "what is small enough is looked at: here the CSRF token is missing"


def vulnerable(name: str, *vulns: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": list(vulns)}


def test_a_known_vulnerability_fails_the_audit_unless_it_is_accepted_with_a_reason() -> None:
    loader = SourceFileLoader("audit", str(ROOT / "scripts" / "audit"))
    spec = spec_from_loader("audit", loader)
    assert spec is not None
    audit = module_from_spec(spec)
    loader.exec_module(audit)
    hole = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"]}
    report = {"dependencies": [vulnerable("toy", hole), vulnerable("fine"), {"name": "own", "skip_reason": "unknown"}]}
    status, said = audit.verdict(report, {})
    assert status == 1 and said[0] == "toy 1.0: PYSEC-2026-1, fixed in 1.1"
    assert said[-1] == "audit: 2 packages checked, 1 unknown to the index, 1 open"
    known = audit.accepted("# comment\n\nCVE-2026-1 the parser is not used\nCVE-2020-9 was fixed\n")
    status, said = audit.verdict(report, known)
    assert status == 0 and said[0].endswith("(accepted: the parser is not used)")
    assert said[1] == "CVE-2020-9 is accepted and no longer found"
    status, said = audit.verdict({"dependencies": [{"name": "own", "skip_reason": "unknown"}]}, {})
    assert status == 0 and "nothing was checked" in said[0]
    with pytest.raises(ValueError, match="without a reason"):
        audit.accepted("CVE-2026-1\n")
    assert audit.accepted((ROOT / "scripts" / "audit-accepted.txt").read_text()) == {}
    assert audit.ask(Path("/nowhere/pip-audit")) is None
