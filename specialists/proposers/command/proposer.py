"""The command line of an agent as a proposer."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Any

from django.conf import settings

from specialists.proposals import BadProposal, NoProposal, Proposal, Request
from specialists.proposers.command import answer, config, session
from specialists.proposers.command.prompt import prompt

#: Shorter values of variables are words that occur anywhere.
LEAST_SECRET = 8
MARK = "[value removed]"
LAST_WORDS = 300


def configured() -> config.Config:
    """The agent of this process's environment. Raises NotConfigured."""
    return config.read(os.environ, private=(settings.DATA_DIR, settings.BASE_DIR))


class CommandProposer:
    """Starts the agent on the best trial's files. Not repeatable: an agent may answer the same request differently."""

    def propose(self, request: Request) -> Proposal | NoProposal:
        """What the agent left, read by answer.py. Raises BadProposal, NotConfigured, AgentUnavailable."""
        best = request.view.best
        if best is None:
            return NoProposal("no trial has been measured yet")
        chosen = configured()
        secrets = [value for value in chosen.secret.values() if len(value) >= LEAST_SECRET]
        before = request.read_source(best.number)
        task = prompt(request, best.number, sorted(before))
        done = session.Run()
        try:
            session.run(done, chosen, before, request.role.surface, task, request.held)
        finally:
            request.keep(json.dumps(_transcript(chosen, task, done, secrets), ensure_ascii=False))
        if done.left is None or done.left.status != 0:
            raise BadProposal(done.why or _unhappy(done, secrets))
        return answer.proposal(
            done.left,
            parent=best.number,
            before=before,
            known={entry.number for entry in request.view.entries()},
            secrets=secrets,
            notes={"agent": chosen.as_json(), "seconds": done.seconds, "cpu_seconds": done.cpu_seconds},
        )


def _unhappy(done: session.Run, secrets: Collection[str]) -> str:
    """How an agent ended that did not end well, with its last words."""
    assert done.left is not None
    status = done.left.status
    how = f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
    lines = [line for line in _text(done.log, secrets).splitlines() if line.strip()]
    return f"the agent {how}" + (f": {lines[-1].strip()[-LAST_WORDS:]}" if lines else "")


def _text(log: bytes, secrets: Collection[str]) -> str:
    """What the agent printed, without what it must not tell and without characters that no database holds."""
    text = log.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    for secret in secrets:
        text = text.replace(secret, MARK)
    return text


def _transcript(chosen: config.Config, task: str, done: session.Run, secrets: Collection[str]) -> dict[str, Any]:
    """What is stored with the session, whatever came of it."""
    return {
        "agent": chosen.as_json(),
        "prompt": task,
        "log": _text(done.log, secrets),
        "status": None if done.left is None else done.left.status,
        "ended": done.why,
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "isolation": None if done.isolation is None else done.isolation.to_json(),
        "reached": done.reached,
        "refused": done.refused,
        "left_over": [] if done.left is None else list(done.left.strangers),
    }
