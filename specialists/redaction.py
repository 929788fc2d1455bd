"""Keys of this process never leave it in a text: not in a prompt, a transcript, a note, an event or a log line."""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from typing import Any

from pythonjsonlogger.json import JsonFormatter as BaseJsonFormatter

MARK = "[key removed]"
#: Variables of the environment whose values are secret, by name.
SECRET_NAMES = re.compile(r"(API_?KEY|_KEY|TOKEN|SECRET|PASSWORD|DATABASE_URL|BROKER_URL|REDIS_URL)$", re.IGNORECASE)
#: Shorter values are words that occur anywhere.
LEAST_LENGTH = 8


@lru_cache(maxsize=1_000)
def _names_secret(name: bytes) -> bool:
    return SECRET_NAMES.search(os.fsdecode(name)) is not None


def secrets_of_environment() -> list[str]:
    """Values that must not be written anywhere, longest first."""
    values = {os.fsdecode(os.environb[name]) for name in os.environb if _names_secret(name)}
    return sorted((value for value in values if len(value) >= LEAST_LENGTH), key=len, reverse=True)


def redact(text: str) -> str:
    """``text`` without any secret value of this process's environment."""
    for secret in secrets_of_environment():
        if secret in text:
            text = text.replace(secret, MARK)
    return text


def storable(text: str) -> str:
    """``text`` without what a database refuses: NUL and halves of surrogate pairs become question marks."""
    return text.replace("\x00", "?").encode("utf-8", "replace").decode()


def _ids(record: logging.LogRecord) -> dict[str, Any]:
    """What the line is about (``trials.logcontext``)."""
    found: dict[str, Any] = getattr(record, "ids", {})
    return found


class RedactingFormatter(logging.Formatter):
    """A log line, tracebacks included, without secrets; what it is about stands behind the message."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        about = " ".join(f"{name}={value}" for name, value in _ids(record).items())
        return super().formatMessage(record) + (f" [{about}]" if about else "")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JsonFormatter(BaseJsonFormatter):
    """One line of JSON for each record, without secrets: ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``,
    ``message``, ``process``, ``exc_info`` (a traceback as text) and the ids that the line is about."""

    FIELDS = ("timestamp", "level", "logger", "message", "process", "exc_info")

    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s %(process)d",
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp=True,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        ids = log_data.get("ids") or {}
        known = {name: log_data[name] for name in self.FIELDS if name in log_data}
        return {name: redact(value) if isinstance(value, str) else value for name, value in (known | ids).items()}
