"""PostgreSQL and Valkey for one machine, from the wheels, started on demand.

One supervisor process per DATA_DIR owns both servers. Every process that uses them holds a shared lock for its life;
when nobody is left, the supervisor stops them. Nothing listens on TCP: the sockets lie in a folder of mode 0700.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from autoresearch_site.embedded.layout import DATABASE, POSTGRES_PORT, EmbeddedError, Layout
from autoresearch_site.embedded.users import attach, detach

__all__ = ["EmbeddedError", "Endpoints", "endpoints", "ensure", "release"]


@dataclass(frozen=True)
class Endpoints:
    """How to reach the embedded servers of one DATA_DIR."""

    database: dict[str, object]  # keys of Django's DATABASES entry, without ENGINE
    broker_url: str  # for Celery
    redis_url: str  # for redis-py and the channel layer


def endpoints(data_dir: Path) -> Endpoints:
    """The addresses that belong to ``data_dir`` (absolute): a pure function, nothing is read or started.

    The database password is not part of it: libpq reads it from ``DATA_DIR/pgpass`` when it connects.
    Raises EmbeddedError when a socket path in ``data_dir`` would exceed the system's limit.
    """
    layout = Layout(data_dir)
    layout.check()
    return Endpoints(
        database={
            "NAME": DATABASE,
            "USER": DATABASE,
            "PASSWORD": "",
            "HOST": str(layout.run),
            "PORT": str(POSTGRES_PORT),
            "OPTIONS": {"passfile": str(layout.pgpass)},
        },
        broker_url=f"redis+socket://{quote(str(layout.valkey_socket))}",
        redis_url=f"unix://{quote(str(layout.valkey_socket))}",
    )


def ensure(data_dir: Path, need_database: bool = True, need_broker: bool = True) -> Endpoints:
    """Start what is needed and not running, wait until it answers, and keep it running while this process lives.

    Takes about a millisecond when all is up. Raises EmbeddedError, in one line, when a server cannot be had.
    """
    found = endpoints(data_dir)
    needs = [name for name, wanted in (("database", need_database), ("broker", need_broker)) if wanted]
    if needs:
        attach(Layout(data_dir), needs)
    return found


def release(data_dir: Path) -> None:
    """Stop being a user; when this was the last one, return after the servers have stopped."""
    detach(Layout(data_dir))
