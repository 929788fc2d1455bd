"""What the models of the record share."""

from __future__ import annotations

from typing import Any

HASH_LENGTH = 64


def choices(enum: Any) -> list[tuple[str, str]]:
    return [(member.value, member.value.replace("_", " ")) for member in enum]
