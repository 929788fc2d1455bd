"""What a fresh DATA_DIR needs before the site can serve: tables, static files, an administrator. All is repeatable."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand

from autoresearch_site.embedded.layout import EmbeddedError, Layout, Lock
from autoresearch_site.local import uses_embedded_database
from autoresearch_site.secrets_store import once

ADMIN = "admin"


@dataclass(frozen=True)
class Administrator:
    """The administrator's log-in; ``password`` is empty when somebody changed it since it was made."""

    username: str
    password: str


def prepare_site() -> Administrator:
    """Tables, static files and the administrator; seconds the first time, a fraction of one later."""
    if uses_embedded_database():
        migrate_embedded()
    else:
        call_command("migrate", interactive=False, verbosity=0)
    check_record()
    call_command("signing_key", adopt=True, verbosity=0)
    collect_static()
    return administrator()


def check_record() -> None:
    """Raises CommandError when the database lacks events that were committed: an older backup was restored."""
    call_command("check_record", verbosity=0)


def migrate_embedded() -> None:
    """Apply pending migrations to the embedded database, once also when several commands start together.

    Up to date is what the migration files' names say (kept beside the database): no query is made then.
    """
    if not uses_embedded_database():
        return
    cluster = Layout(settings.DATA_DIR).postgres / "PG_VERSION"
    names = [f"{cluster.stat().st_mtime_ns} {cluster.stat().st_ino}"]
    for application in apps.get_app_configs():
        names += sorted(f"{application.label}/{path.name}" for path in Path(application.path).glob("migrations/*.py"))
    with _unless_done("migrated", names) as stale:
        if stale:
            call_command("migrate", interactive=False, verbosity=0)


def collect_static() -> None:
    """Collect, hash and compress the static files into STATIC_ROOT when one of their sources changed."""
    names = [settings.STORAGES["staticfiles"]["BACKEND"], str(settings.STATIC_ROOT)]
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            names.append(f"{name} {status.st_size} {status.st_mtime_ns}")
    with _unless_done("static", names) as stale:
        if stale or not Path(settings.STATIC_ROOT).is_dir():
            call_command("collectstatic", interactive=False, clear=True, verbosity=0)


def administrator() -> Administrator:
    """The account ``admin``, made with a random password at the first call.

    The database holds its hash only; ``DATA_DIR/admin-password.txt`` (mode 0600) keeps the text for later starts.
    """
    password = once(settings.DATA_DIR / "admin-password.txt", lambda: secrets.token_urlsafe(15))
    users = get_user_model().objects
    account = users.filter(username=ADMIN).first()
    if account is None:
        account = users.create_superuser(username=ADMIN, email="", password=password)
    return Administrator(ADMIN, password if account.check_password(password) else "")


def say_login(command: BaseCommand, admin: Administrator) -> str:
    """One line with the log-in."""
    known = admin.password or "as you set it"
    return f"{command.style.SUCCESS('log in')}  {admin.username}  password {known}"


@contextmanager
def _unless_done(step: str, facts: list[str]) -> Iterator[bool]:
    """Whether ``step`` has to be done for these ``facts``; when the body ends well, it is noted as done."""
    layout = Layout(settings.DATA_DIR)
    layout.make()
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    stamp = layout.run / f"{step}.done"
    if _text(stamp) == digest:
        yield False
        return
    lock = Lock(layout.run / f"{step}.lock")
    try:
        if not lock.take(timeout=300.0):
            raise EmbeddedError(f"another process has been busy with {step} in {settings.DATA_DIR} for 300 s")
        yield _text(stamp) != digest
        stamp.write_text(digest)
    finally:
        lock.close()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
