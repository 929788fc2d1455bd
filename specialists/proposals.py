"""What an agent is asked and what it says, validated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from specialists.rosters import Role
from trials.lineage import LineageSlice

MAX_HYPOTHESIS = 600
MAX_FILE_BYTES = 200_000


class BadProposal(ValueError):
    """The proposal breaks a rule of the campaign; the message says which and what was expected."""


def _nothing(*_: object) -> None:
    """For who has no session behind the request."""


@dataclass(frozen=True)
class Request:
    """Everything a proposer may use. It reads no database, no clock and no randomness but ``seed``.

    read_source: trial number -> file name -> text, for trials of the slice and the start.
    seen: what may be told of the trial that has exactly these files already, None when there is none.
    limits: the profile's limits as JSON (``artifact_bytes``, ``train_units``, ``eval_units`` ...).
    environment: name of the environment that measures.
    may_change: files that an edit may touch; more than the role's surface where surfaces are advice.
    held: raises once the session no longer counts; asked now and then by proposers that work for minutes.
    keep: takes the transcript of the session (JSON text), stored whatever becomes of it.
    """

    role: Role
    view: LineageSlice
    read_source: Callable[[int], Mapping[str, str]]
    seen: Callable[[Mapping[str, str]], str | None]
    seed: int
    limits: Mapping[str, Any] = field(default_factory=dict)
    environment: str = ""
    may_change: Sequence[str] = ()
    held: Callable[[], None] = _nothing
    keep: Callable[[str], None] = _nothing


@dataclass(frozen=True)
class Proposal:
    """One edit. ``files`` are the changed files only (name -> new text); ``parent`` is the trial it is based on.

    transforms: names of the program transformations applied, in order; evidence: numbers of the trials it rests on.
    """

    hypothesis: str
    parent: int
    files: Mapping[str, str]
    expected_delta: float | None = None
    transforms: Sequence[str] = ()
    evidence: Sequence[int] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NoProposal:
    """The role has nothing left to try; ``tried`` says why each idea was passed over."""

    reason: str
    tried: Mapping[str, str] = field(default_factory=dict)


class Proposer(Protocol):
    def propose(self, request: Request) -> Proposal | NoProposal:
        """One proposal for one role.

        One that is listed in ``vocab.REPEATABLE`` may be called again with the same request and must answer the same.
        """


def check(proposal: Proposal, parent: Mapping[str, str], surface: Sequence[str]) -> Mapping[str, str]:
    """The complete source after the edit (file name -> text).

    Raises BadProposal: empty hypothesis, change outside ``surface``, no change, oversized file, expected delta not
    finite.
    """
    if not proposal.hypothesis.strip():
        raise BadProposal("the hypothesis is empty, expected one sentence")
    if proposal.expected_delta is not None and not math.isfinite(proposal.expected_delta):
        raise BadProposal(f"expected_delta is {proposal.expected_delta}, expected a finite number")
    outside = sorted(set(proposal.files) - set(surface))
    if outside:
        raise BadProposal(f"{outside[0]} is outside the role's surface, expected one of {', '.join(surface)}")
    for name, text in proposal.files.items():
        if len(text.encode()) > MAX_FILE_BYTES:
            raise BadProposal(f"{name} has {len(text.encode())} bytes, expected at most {MAX_FILE_BYTES}")
    if all(parent.get(name) == text for name, text in proposal.files.items()):
        raise BadProposal("the edit changes nothing")
    return {**parent, **proposal.files}
