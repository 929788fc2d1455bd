"""What an agent is asked and what it says, validated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from specialists.rosters import Role
from specialists.vocab import Fault
from trials.lineage import LineageSlice
from trials.repeated import Earlier

MAX_HYPOTHESIS = 600
MAX_FILE_BYTES = 200_000


class BadProposal(ValueError):
    """The proposal breaks a rule of the campaign; the message says which and what was expected."""


class NoBase(LookupError):
    """A trial that may be read, and that nothing may be built on."""


class SessionFailed(RuntimeError):
    """A session ends without a proposal for a reason that is not its role's; the message goes into the record."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True)
class Usage:
    """Tokens of one request to a model. ``input_tokens`` includes those read from and written to a prompt cache."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class CallRecord:
    """One request to a model: what was added to the conversation, what came back, what it cost.

    error: why it failed, empty when it did not; cost: US dollars, None where no price is known; body: JSON text.
    """

    model: str
    started_at: datetime
    seconds: float
    usage: Usage
    cost: Decimal | None
    error: str
    body: str


@dataclass(frozen=True)
class Need:
    """The most that the next request may use: tokens in and out together, US dollars (None: not priced)."""

    tokens: int
    usd: Decimal | None


class Account(Protocol):
    """What a session pays with. Both methods raise once the session no longer holds its lease."""

    def reserve(self, need: Callable[[int], Need], most: int, least: int) -> int:
        """Set aside what a request needs; returns how many tokens its answer may have, ``least`` to ``most``.

        need: tokens of the answer -> Need. Raises SessionFailed (budget) where not even ``least`` fit.
        """

    def record(self, call: CallRecord) -> None:
        """Write down a request and what it used, in place of what was reserved."""


@dataclass(frozen=True)
class TrialText:
    """One trial as far as an agent may see it. Texts were written by others."""

    number: int
    facts: Mapping[str, Any]
    hypothesis: str = ""
    excerpt: str = ""
    diff: str = ""
    log: str = ""


class Library(Protocol):
    """Reads the record, exactly as far as the campaign's lineage policy allows."""

    def search(self, words: str, role: str, label: str, *, best_first: bool, below: int | None) -> Sequence[TrialText]:
        """Visible trials, newest or best first, a bounded number; ``below``: only numbers under it."""

    def trial(self, number: int) -> TrialText:
        """Raises LookupError, with the same words for a hidden trial as for one that does not exist."""

    def hidden(self, numbers: Sequence[int]) -> int | None:
        """The first of several trials that ``trial`` would refuse, None when it would show all of them."""


@dataclass(frozen=True)
class Bench:
    """What a proposer that works in steps may use besides.

    settings: what was fixed at launch (models, budgets, prices); title: of the environment; joins: files of nobody.
    preflight: complete files, parent's files -> why they would be refused, empty when they would not.
    project_size: complete files -> what can be said of the artifact's size, in words.
    """

    settings: Mapping[str, Any]
    title: str
    joins: Sequence[str]
    library: Library
    account: Account
    preflight: Callable[[Mapping[str, str], Mapping[str, str]], str]
    project_size: Callable[[Mapping[str, str]], str]


def _nothing(*_: object) -> None:
    """For who has no session behind the request."""


@dataclass(frozen=True)
class Request:
    """Everything a proposer may use. It reads no database, no clock and no randomness but ``seed``.

    read_source: trial number -> file name -> text, for visible trials and the start; raises LookupError, NoBase for one
    that nothing may be built on.
    seen: what may be told of the trial that has exactly these files already, None when there is none.
    similar: hypothesis -> earlier trials of about the same, as far as the role may see them, with what became of them.
    limits: the profile's limits as JSON (``artifact_bytes``, ``train_units``, ``eval_units`` ...).
    environment: name of the environment that measures. bench: for language models.
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
    bench: Bench | None = None
    similar: Callable[[str], Sequence[Earlier]] = lambda hypothesis: ()


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
