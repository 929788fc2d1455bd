"""What an agent can do in a session: look, search, edit its copy, check. Plain functions that answer in text.

No tool takes a role, a path or a score: the session's own are bound before the agent speaks. A refusal is an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specialists.proposals import Bench, NoBase, Request, TrialText
from specialists.proposers.llm.fence import BLOCK_CHARACTERS, Fence
from specialists.proposers.llm.worktree import EditRefused, WorkTree
from trials.vocab import LineagePolicy

LINES, MOST_LINES, MATCHES, LINE_CHARACTERS = 200, 800, 60, 300
#: Tool calls of one turn, and projections (each takes a sandbox for seconds) of one session.
CALLS_PER_TURN, PROJECTIONS = 24, 4
PARTS = ("outcome", "diff", "log")


@dataclass
class Desk:
    """One session's work: the tree, the fence, counters."""

    request: Request
    bench: Bench
    tree: WorkTree
    fence: Fence = field(default_factory=Fence)
    projections: int = 0
    read_trials: set[int] = field(default_factory=set)

    def list_files(self) -> str:
        """List the recipe's files: bytes, lines, whether they are yours to change, whether you have changed them."""
        changed = self.tree.changed()
        rows = []
        for name, text in sorted(self.tree.files.items()):
            owner = "yours" if name in self.request.role.surface else "not yours"
            if name in self.tree.surface and owner != "yours":
                owner += ", but you may change it where your idea needs it"
            state = ", changed" if name in changed else ""
            rows.append(f"{name}: {len(text.encode())} bytes, {text.count(chr(10)) + 1} lines, {owner}{state}")
        return self.fence.block("recipe files", "\n".join(rows))

    def read_file(self, name: str, start: int = 1, lines: int = LINES) -> str:
        """Read lines of a recipe file as your copy has it, numbered from 1.

        Args:
            name: A file that list_files names.
            start: The first line to show.
            lines: How many lines to show, at most 800.
        """
        text = self.tree.read(name).split("\n")
        first, count = max(1, start), max(1, min(lines, MOST_LINES))
        shown: list[str] = []
        room = BLOCK_CHARACTERS
        for number, line in enumerate(text[first - 1 : first - 1 + count], first):
            row = f"{number:5d}| {line}"
            room -= len(row) + 1
            if room < 0 and shown:
                break
            shown.append(row)
        last = first + len(shown) - 1
        more = f" Go on with start={last + 1}." if last < len(text) else ""
        head = f"{name} has {len(text)} lines; lines {first} to {last} follow.{more}"
        return f"{head}\n{self.fence.block(f'recipe file {name}', chr(10).join(shown))}"

    def search_files(self, text: str, name: str = "") -> str:
        """Find a literal text (not a pattern) in the recipe's files, letter case ignored.

        Args:
            text: What to look for.
            name: Only this file; all when empty.
        """
        if not text.strip():
            return "Nothing to look for: the text is empty."
        names = [name] if name else sorted(self.tree.files)
        found = [
            f"{each}:{number}: {line.strip()[:LINE_CHARACTERS]}"
            for each in names
            for number, line in enumerate(self.tree.read(each).split("\n"), 1)
            if text.lower() in line.lower()
        ]
        more = f" The first {MATCHES} follow." if len(found) > MATCHES else ""
        return f"{len(found)} lines match.{more}\n{self.fence.block('matching lines', chr(10).join(found[:MATCHES]))}"

    def search_trials(
        self, words: str = "", role: str = "", label: str = "", best_first: bool = False, below: int | None = None
    ) -> str:
        """Search earlier trials that you may see; a bounded number of rows, newest first.

        Args:
            words: Words that the hypothesis or the reason must all contain; any when empty.
            role: Only trials of this role.
            label: Only this label: keep, provisional, discard, crash, size_blocked, train_budget_overrun ...
            best_first: Order by score instead, best first.
            below: Only trial numbers below this: the way to the next page.
        """
        if self.request.view.policy == LineagePolicy.NONE:
            return "Earlier trials are not shown in this campaign."
        rows = self.bench.library.search(
            words[:200], role[:60], label[:24], best_first=best_first, below=below if below is None else max(0, below)
        )
        if not rows:
            return "No trial that you may see matches."
        return self.fence.block(f"{len(rows)} earlier trials", "\n".join(_row(row) for row in rows))

    def read_trial(self, number: int, part: str = "outcome", start: int = 0) -> str:
        """Read one earlier trial that you may see: its outcome, its diff against its parent, or its log.

        Args:
            number: The trial's number.
            part: outcome, diff or log.
            start: The first character to show of a diff or log, for the next page.
        """
        if part not in PARTS:
            return f"There is no part {part[:40]!r}, only {', '.join(PARTS)}."
        try:
            found = self.bench.library.trial(number)
        except LookupError as error:
            return f"{error}."
        self.read_trials.add(number)
        if part == "outcome":
            return self.fence.block(f"outcome of trial {number}", _outcome(found))
        text = found.diff if part == "diff" else found.log
        if not text:
            return f"Trial {number} has no {part} that you may see."
        start = max(0, start)
        rest = len(text) - start - BLOCK_CHARACTERS
        more = f" Go on with start={start + BLOCK_CHARACTERS}." if rest > 0 else ""
        page = text[start : start + BLOCK_CHARACTERS]
        return f"{len(text):,} characters.{more}\n{self.fence.block(f'{part} of trial {number}', page)}"

    def replace(self, name: str, old: str, new: str) -> str:
        """Replace one exact piece of text in a file of your surface; it must stand there exactly once.

        Args:
            name: A file of your surface.
            old: The text as it stands in the file, without line numbers, spacing included.
            new: What takes its place.
        """
        line = self.tree.replace(name, old, new)
        return f"{name}: replaced at line {line}. {self._syntax()}"

    def write_file(self, name: str, text: str) -> str:
        """Write a whole file of your surface anew.

        Args:
            name: A file of your surface.
            text: The complete new content.
        """
        self.tree.write(name, text)
        return f"{name}: {len(text.encode())} bytes written. {self._syntax()}"

    def rebase(self, trial: int) -> str:
        """Start over from the source of another trial that you may see; your edits so far are dropped.

        Args:
            trial: Its number; it becomes the parent of what you submit.
        """
        try:
            source = self.request.read_source(trial)
        except NoBase as error:
            return f"{error}."
        except LookupError:
            return f"trial {trial} is not shown to you."
        dropped = ", ".join(self.tree.changed())
        self.tree = WorkTree(trial, source, self.request.may_change)
        return f"Your work tree holds the source of trial {trial} now." + (f" Dropped: {dropped}." if dropped else "")

    def show_diff(self) -> str:
        """Show your edits so far as a unified diff against the parent."""
        diff = self.tree.diff()
        return self.fence.block("your edits", diff) if diff else "Nothing is changed yet."

    def check(self) -> str:
        """Check your edits at no cost: names, sizes, syntax, surface, and whether this source was tried before."""
        refused = self.refusal()
        return self.why("It would be refused.", refused) if refused else "It would be accepted."

    def why(self, told: str, reason: str) -> str:
        """Our words, then a reason that may quote a recipe or a log."""
        return f"{told}\n{self.fence.block('why', reason)}"

    def project_size(self) -> str:
        """Project the artifact's size: a few steps in a sandbox, some seconds; a few times a session."""
        refused = self._preflight()
        if refused:
            return self.why("Not projected.", refused)
        if self.projections >= PROJECTIONS:
            return f"Not projected: {PROJECTIONS} projections of this session are used."
        self.projections += 1
        return self.fence.block("size projection", self.bench.project_size(self.tree.files))

    def refusal(self) -> str:
        """Why the tree cannot be submitted as it is; empty when it can."""
        if not self.tree.changed():
            return "the work tree changes nothing"
        refused = self._preflight()
        if refused or self.request.view.policy == LineagePolicy.NONE:  # there, a twin would be news of another trial
            return refused
        twin = self.request.seen(self.tree.files)
        return "" if twin is None else f"{twin}: something has to differ"

    def repeated(self, hypothesis: str) -> str:
        """Earlier trials with nearly the same hypothesis, and what became of them, as data; empty where none is."""
        found = self.request.similar(hypothesis)
        rows = [
            f"trial {one.number} | {_flat(one.role)} | {_flat(one.hypothesis)} | {_flat(one.fate)}" for one in found
        ]
        return self.fence.block("earlier trials with nearly the same hypothesis", "\n".join(rows)) if rows else ""

    def _preflight(self) -> str:
        return self.bench.preflight(self.tree.files, self.tree.base)

    def _syntax(self) -> str:
        refused = self._preflight()
        return self.why("Now it would be refused.", refused) if refused else "Syntax is fine."


TOOLS = (
    "list_files",
    "read_file",
    "search_files",
    "search_trials",
    "read_trial",
    "replace",
    "write_file",
    "rebase",
    "show_diff",
    "check",
    "project_size",
)


def answer(desk: Desk, tool: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
    """Run one tool; what it says, and whether it was done. A refused edit or an unknown file is an answer, no end."""
    try:
        said: str = getattr(desk, tool)(**arguments)
    except EditRefused as error:
        return desk.fence.block("refused", str(error)), False
    return said, True


def _row(trial: TrialText) -> str:
    facts = " | ".join(f"{name} {_flat(value)}" for name, value in trial.facts.items())
    return f"{trial.number:04d} | {facts} | {_flat(trial.hypothesis)}"


def _outcome(trial: TrialText) -> str:
    lines = [f"trial {trial.number}", *(f"{name}: {_flat(value)}" for name, value in trial.facts.items())]
    if trial.hypothesis:
        lines.append(f"hypothesis: {trial.hypothesis}")
    if trial.excerpt:
        lines += ["where it failed:", trial.excerpt]
    return "\n".join(lines)


def _flat(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.replace("|", "/").split())[:LINE_CHARACTERS]
