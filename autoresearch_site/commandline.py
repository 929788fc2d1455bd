"""What ``manage.py`` does around a command: servers and migrations before it, one clear line when it cannot run."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import django
import kombu.exceptions
import psycopg
import redis.exceptions
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line, get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from autoresearch_site.bootstrap import check_record, migrate_embedded
from autoresearch_site.embedded import EmbeddedError
from autoresearch_site.local import ensure_servers
from autoresearch_site.stack import StackError

# Django's own commands that need neither database nor broker; the site's say so with ``needs_servers = False``.
_WITHOUT_SERVERS = frozenset(
    {"help", "version", "makemigrations", "collectstatic", "findstatic", "check", "diffsettings", "startapp"}
)
# These look at migrations themselves, or should work when one of them is broken.
_WITHOUT_MIGRATE = frozenset({"migrate", "showmigrations", "sqlmigrate", "dbshell", "squashmigrations"})
# These prepare the database first and look at the record then, or are how a loss is looked into and accepted.
_WITHOUT_RECORD = _WITHOUT_MIGRATE | {"bootstrap", "demo", "check_record", "accept_restore", "shell"}
# What libpq says while connecting has no SQLSTATE; these are refusals by the server (PostgreSQL, appendix A).
_REFUSALS = frozenset({None, "28P01", "28000", "3D000", "53300", "57P03"})


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit status. Expected faults are one line on stderr and status 1."""
    if "DJANGO_AUTO_COMPLETE" not in os.environ:
        warnings.filterwarnings("ignore", message="Got an error checking a consistent migration history")
    try:
        _prepare(argv)
        execute_from_command_line(list(argv))
    except (EmbeddedError, StackError, ImproperlyConfigured, CommandError) as error:
        return _fail(argv, error, str(error))
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") not in _REFUSALS or not isinstance(error.__cause__, psycopg.Error):
            raise
        return _fail(argv, error, f"{_database_place()}: {error}")
    except (kombu.exceptions.OperationalError, redis.exceptions.ConnectionError) as error:
        return _fail(argv, error, f"the broker cannot be reached: {error} (expected at BROKER_URL and REDIS_URL)")
    except KeyboardInterrupt:
        return 130
    return 0


def _prepare(argv: Sequence[str]) -> None:
    name = next((argument for argument in argv[1:] if not argument.startswith("-")), "help")
    if "DJANGO_AUTO_COMPLETE" in os.environ or {"-h", "--help", "--version"} & set(argv[1:]):
        return
    if name in _WITHOUT_SERVERS and "--database" not in argv:
        return
    django.setup()
    os.environ["DATA_DIR"] = str(settings.DATA_DIR)  # absolute, for whoever reads the environment
    command = _command(name)
    if command is None or not getattr(command, "needs_servers", True):
        return
    ensure_servers()
    if name not in _WITHOUT_MIGRATE:
        migrate_embedded()
    if name not in _WITHOUT_RECORD:
        check_record()


def _command(name: str) -> BaseCommand | None:
    """The command object, or None for a name that Django will report as unknown."""
    where = get_commands().get(name)
    if where is None or isinstance(where, BaseCommand):
        return where
    return load_command_class(where, name)


def _database_place() -> str:
    chosen = connection.settings_dict
    if os.environ.get("DATABASE_URL", "").strip():
        return (
            f"the database {chosen['NAME']} at {chosen['HOST'] or 'localhost'} (DATABASE_URL) refuses or is not there"
        )
    return f"the embedded database in {chosen['HOST']} refuses its own password or is not there"


def _fail(argv: Sequence[str], error: Exception, text: str) -> int:
    if "--traceback" in argv:
        raise error
    sys.stderr.write(f"error: {' '.join(text.split())}\n")
    return 1
