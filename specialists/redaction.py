"""Keys of this process never leave it in a text: not in a prompt, a transcript, a note, an event or a log line."""

from __future__ import annotations

import logging
import os
import re

MARK = "[key removed]"
#: Variables of the environment whose values are secret, by name.
SECRET_NAMES = re.compile(r"(API_?KEY|_KEY|TOKEN|SECRET|PASSWORD|DATABASE_URL|BROKER_URL|REDIS_URL)$", re.IGNORECASE)
#: Shorter values are words that occur anywhere.
LEAST_LENGTH = 8


def secrets_of_environment() -> list[str]:
    """Values that must not be written anywhere, longest first."""
    found = {value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= LEAST_LENGTH}
    return sorted(found, key=len, reverse=True)


def redact(text: str) -> str:
    """``text`` without any secret value of this process's environment."""
    for secret in secrets_of_environment():
        if secret in text:
            text = text.replace(secret, MARK)
    return text


def storable(text: str) -> str:
    """``text`` without what a database refuses: NUL and halves of surrogate pairs become question marks."""
    return text.replace("\x00", "?").encode("utf-8", "replace").decode()


class RedactingFormatter(logging.Formatter):
    """A log line, tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
