"""What an agent is told. Pure: values in, text out. Everything that others wrote goes through the fence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from specialists.proposals import Request
from specialists.proposers.llm.fence import Fence
from specialists.proposers.llm.worktree import WorkTree

VIEW_CHARACTERS = 40_000
#: Own files are shown at once where all of them are no longer: every session reads them, and each turn costs money.
OWN_CHARACTERS = 48_000
#: Limits that say something about what an edit may cost; the rest is the host's business.
TOLD_LIMITS = ("artifact_bytes", "train_units", "eval_units", "train_seconds", "eval_seconds", "memory_bytes")
HOW_TO_WORK = """\
The recipe is a folder of Python files. An evaluator trains and scores it in a sandbox without network; the recipe never
reports its own score. An edit that breaks a limit, the syntax or the surface is a failed trial.

Work in this order: read the evidence that you are given; read your files and what they depend on; look at trials that
bear on your idea, failed ones too; decide on one idea that was not tried yet, or on the repair of a near miss; edit;
look at your own diff; run check (and project_size where a cap is near); submit. Tools that you call in one turn are run
in the order in which you call them, so a small edit and submit may be one turn: submit waits where an edit is refused.
One session is one trial: one clear, testable idea, however small or large the edit. Prefer ideas whose effect is larger
than the noise between equal trials. If many trials moved one knob a little, leave it.
submit ends the session. Its hypothesis is one or two plain sentences: what is changed and why the score should move.
Its evidence names the trials it rests on. If nothing is worth a trial, give_up says why."""


def instructions(request: Request) -> str:
    """The part that is the same in every session of a role, so that providers can cache it."""
    bench = request.bench
    assert bench is not None
    role, view = request.role, request.view
    limits = {name: request.limits[name] for name in TOLD_LIMITS if request.limits.get(name) is not None}
    return "\n".join(
        [
            f"You are the specialist '{role.name}' in an automatic search for a better training recipe.",
            f"Environment: {bench.title}. Score: {view.score_name}, {view.direction} is better.",
            f"Your subject: {role.preamble}",
            *([f"What is known of it: {role.priors}"] if role.priors else []),
            _surface(request),
            f"Files that belong to nobody and only join the others: {', '.join(bench.joins) or 'none'}.",
            f"Limits of one trial: {json.dumps(limits)}.",
            "",
            HOW_TO_WORK,
        ]
    )


def _surface(request: Request) -> str:
    own = ", ".join(request.role.surface)
    if set(request.may_change) <= set(request.role.surface):
        return f"Your surface, the only files that you may change: {own}."
    others = ", ".join(name for name in request.may_change if name not in request.role.surface)
    return (
        f"Your surface: {own}. Where your idea needs it you may also change: {others}; that is recorded as a crossing."
    )


def opening(request: Request, tree: WorkTree, fence: Fence, budgets: Mapping[str, Any]) -> str:
    """The first message: what data blocks are, the evidence, the state of the work tree, the own files."""
    session = budgets.get("session", {})
    view = request.view
    return "\n".join(
        [
            fence.explain(),
            "",
            f"Your work tree holds the source of trial {tree.parent}, the best so far. rebase changes that.",
            f"This session has at most {session.get('turns')} turns and {session.get('tokens')} tokens.",
            "",
            fence.block("evidence of earlier trials", view.text(), VIEW_CHARACTERS),
            *_own_files(request, tree, fence),
        ]
    )


def _own_files(request: Request, tree: WorkTree, fence: Fence) -> list[str]:
    own = {name: tree.files[name] for name in request.role.surface if name in tree.files}
    if sum(map(len, own.values())) > OWN_CHARACTERS:
        return []
    blocks = (fence.block(f"recipe file {name}", text, OWN_CHARACTERS) for name, text in own.items())
    return ["", "Your files as your work tree holds them now, whole and without line numbers:", *blocks]
