"""What the commands of this application share: seeds, and errors in one line."""

from __future__ import annotations

from argparse import ArgumentTypeError

from django.core.management.base import CommandError

MOST_SEED = 2**31 - 1


def seed(text: str) -> int:
    """A seed as ``launch`` takes it. Raises ArgumentTypeError, which is wrong usage."""
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > MOST_SEED:
        raise ArgumentTypeError(f"{text[:40]!r} is no seed, expected a whole number from 0 to {MOST_SEED}")
    return int(text)


def one_line(error: Exception) -> CommandError:
    """The error as the command's last word: one line, status 1."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return CommandError(f"{error.filename}: {error.strerror}")
    return CommandError(" ".join(str(error).split()) or type(error).__name__)
