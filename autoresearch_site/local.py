"""Which of the embedded servers the settings point at, and starting those."""

from __future__ import annotations

import kombu
import kombu.exceptions
import redis
from django.conf import settings

from autoresearch_site import embedded


def uses_embedded_database() -> bool:
    """False when DATABASE_URL names another one."""
    return bool(settings.DATABASES["default"]["HOST"] == embedded.endpoints(settings.DATA_DIR).database["HOST"])


def uses_embedded_broker() -> bool:
    """False when both the queue (BROKER_URL) and the live channel (REDIS_URL) are elsewhere."""
    found = embedded.endpoints(settings.DATA_DIR)
    return found.broker_url == settings.BROKER_URL or found.redis_url == settings.REDIS_URL


def ensure_servers() -> None:
    """Start the servers that the settings need and that are not running; raises EmbeddedError."""
    embedded.ensure(settings.DATA_DIR, need_database=uses_embedded_database(), need_broker=uses_embedded_broker())


def check_broker() -> None:
    """Raise ConnectionError, in one line, when an external BROKER_URL (queue) or REDIS_URL (live channel) is dead."""
    found = embedded.endpoints(settings.DATA_DIR)
    try:
        if found.broker_url != settings.BROKER_URL:
            with kombu.Connection(
                settings.BROKER_URL, connect_timeout=5, ssl=settings.CELERY_BROKER_USE_SSL
            ) as connection:
                connection.connect()
        if found.redis_url != settings.REDIS_URL:
            with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=5) as client:
                client.ping()
    except (kombu.exceptions.OperationalError, redis.RedisError, OSError, KeyError, ValueError) as error:
        raise ConnectionError(f"the broker cannot be reached: {error} (expected at BROKER_URL and REDIS_URL)") from None
