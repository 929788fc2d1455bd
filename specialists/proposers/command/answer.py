"""What an agent left in its work tree -> a proposal, or one clear reason why it is none. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from evaluators.child.frames import FrameError, unpack_files
from specialists.proposals import MAX_HYPOTHESIS, BadProposal, NoProposal, Proposal
from specialists.proposers.command.prompt import PROMPT, PROPOSAL, PROPOSAL_TEXT

OWN = (PROMPT, PROPOSAL, PROPOSAL_TEXT)
REASON_LENGTH = 600
_FIELD = re.compile(r"\s*(parent|expected_delta)\s*:\s*(\S+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Left:
    """What came back. odd: name -> what is wrong with that file; strangers: names of files that were not there."""

    status: int
    files: Mapping[str, bytes]
    odd: Mapping[str, str]
    strangers: tuple[str, ...]


def unpack(payload: bytes, wanted: Collection[str]) -> Left:
    """Read what a sandbox sent. Raises BadProposal for anything that its own program would not send."""
    try:
        files = unpack_files(payload)
        report = json.loads(files.pop(""))
        odd = {str(name): str(why)[:200] for name, why in report["odd"].items() if name in wanted}
        strangers = tuple(_clean(str(name))[:200] for name in report["strangers"])
        status = int(report["status"])
    except (FrameError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadProposal(f"the sandbox sent what its own program would not send: {type(error).__name__}") from error
    return Left(status, {name: body for name, body in files.items() if name in wanted}, odd, strangers)


def proposal(
    left: Left,
    *,
    parent: int,
    before: Mapping[str, str],
    known: Collection[int],
    secrets: Collection[str],
    notes: Mapping[str, Any],
) -> Proposal | NoProposal:
    """The edit against the parent's files ``before`` and what the agent says of it.

    known: numbers of trials that may be named as evidence. secrets: values that may stand nowhere in it. Raises
    BadProposal.
    """
    changed = _changed(left, before)
    said = _said(left)
    if not changed:
        if nothing := said.get("nothing"):
            return NoProposal(_clean(str(nothing))[:REASON_LENGTH])
        raise BadProposal("the agent changed no file of the recipe, expected an edit")
    if not said:
        raise BadProposal(
            f"{PROPOSAL} {left.odd.get(PROPOSAL, 'is missing')}, expected a JSON object with a hypothesis"
        )
    hypothesis = said.get("hypothesis")
    if not isinstance(hypothesis, str) or not _clean(hypothesis):
        raise BadProposal(f"{PROPOSAL} has no hypothesis, expected one sentence")
    if said.get("parent", parent) != parent:
        raise BadProposal(
            f"{PROPOSAL} says parent {str(said['parent'])[:20]}, expected {parent}, whose files it was given"
        )
    for where, text in (*changed.items(), (PROPOSAL, hypothesis)):
        if any(secret in text for secret in secrets):
            raise BadProposal(f"{where} holds the value of a variable that was passed to the agent")
    return Proposal(
        hypothesis=_clean(hypothesis)[:MAX_HYPOTHESIS],
        parent=parent,
        files=changed,
        expected_delta=_delta(said.get("expected_delta")),
        evidence=_evidence(said.get("evidence"), known),
        notes={**notes, "left_over": list(left.strangers)},
    )


def _changed(left: Left, before: Mapping[str, str]) -> dict[str, str]:
    """Files that differ from the parent's. Raises BadProposal for one that is gone, odd, new, or no text."""
    changed: dict[str, str] = {}
    for name in sorted(before):
        body = left.files.get(name)
        if body is None:
            raise BadProposal(f"{name} {left.odd.get(name, 'is missing')}, expected every file of the recipe")
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadProposal(f"{name} is not UTF-8 at byte {error.start}, expected text") from None
        if text != before[name]:
            changed[name] = text
    new = next((name for name in left.strangers if name.endswith(".py")), None)
    if new is not None:
        raise BadProposal(f"{new} does not belong to the recipe, expected edits of its files only")
    return changed


def _said(left: Left) -> Mapping[str, Any]:
    """PROPOSAL.json, or else what PROPOSAL.md says; empty when there is neither. Raises BadProposal."""
    if (body := left.files.get(PROPOSAL)) is not None:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadProposal(f"{PROPOSAL} is no JSON: {str(error)[:120]}") from None
        if not isinstance(found, dict):
            raise BadProposal(f"{PROPOSAL} holds a {type(found).__name__}, expected a JSON object")
        return found
    if (body := left.files.get(PROPOSAL_TEXT)) is not None and PROPOSAL not in _broken(left):
        return _from_text(body.decode("utf-8", "replace"))
    return {}


def _broken(left: Left) -> set[str]:
    return {name for name, why in left.odd.items() if why != "is missing"}


def _from_text(text: str) -> dict[str, Any]:
    """``parent: 3`` and ``expected_delta: -0.01`` on lines of their own; the rest is the hypothesis."""
    found: dict[str, Any] = {}
    rest = []
    for line in text.splitlines():
        if match := _FIELD.fullmatch(line):
            found[match[1].lower()] = _number(match[2])
        elif not line.startswith("#"):
            rest.append(line)
    return {**found, "hypothesis": " ".join(rest)}


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _delta(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise BadProposal(f"expected_delta is {str(value)[:40]!r}, expected a finite number or null")
    return float(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of more digits than a float holds
        return False


def _evidence(value: object, known: Collection[int]) -> tuple[int, ...]:
    """Numbers of trials that the agent has seen; whatever else is named is left out."""
    if not isinstance(value, list):
        return ()
    return tuple(sorted({number for number in value if type(number) is int and number in known}))


def _clean(text: str) -> str:
    """One line that any database and page can hold: no control characters, no half of a pair."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
