"""A stored conversation as a page shows it, every text bounded: it was written by a model or by others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from specialists.models import Call, Session
from trials.services.blobs import get_blob
from trials.trial_page import cut_middle

PART_CHARACTERS, PARTS = 6_000, 60
TITLES = {
    "user-prompt": "To the model",
    "system-prompt": "System",
    "tool-return": "Answer of tool",
    "retry-prompt": "Returned to the model",
    "retry-feedback": "Returned to the model",
    "text": "The model",
    "thinking": "Thinking",
    "tool-call": "Call of tool",
}


def shown_call(call: Call) -> dict[str, Any]:
    """One request: its row, and the parts of what was sent and received."""
    body = json.loads(get_blob(call.body_id))
    sent, received = list(_parts(body.get("sent", []))), list(_parts(body.get("received", [])))
    instructions = next((str(message["instructions"]) for message in body["sent"] if message.get("instructions")), "")
    if instructions and call.number == 1:
        sent.insert(0, {"title": "Instructions", "tool": "", "text": cut_middle(instructions, PART_CHARACTERS)})
    return {"row": call, "parts": (sent + received)[:PARTS], "hidden": max(0, len(sent) + len(received) - PARTS)}


def shown_tail(session: Session) -> list[dict[str, Any]]:
    """What was added after the last request; for agents without requests, all that was kept of their work."""
    if session.transcript_id is None:
        return []
    kept = json.loads(get_blob(session.transcript_id))
    if "calls" in kept:
        return list(_parts(kept["tail"]))[:PARTS]
    return [
        {"title": name, "tool": "", "text": cut_middle(_text(said), PART_CHARACTERS)} for name, said in kept.items()
    ]


def _text(said: object) -> str:
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, indent=1)


def _parts(messages: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for message in messages:
        for part in message.get("parts", []):
            kind = str(part.get("part_kind", ""))
            said = part.get("args") if kind == "tool-call" else part.get("content")
            yield {
                "title": TITLES.get(kind, kind),
                "tool": str(part.get("tool_name") or "")[:80],
                "text": cut_middle(_text(said), PART_CHARACTERS),
            }
