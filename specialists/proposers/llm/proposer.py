"""One session with a language model: tools, a bounded conversation, a structured proposal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Annotated, Any

from pydantic import Field
from pydantic_ai import Agent, ModelRetry, RunContext, Tool, ToolOutput, capture_run_messages
from pydantic_ai.exceptions import (
    AgentRunError,
    ContentFilterError,
    ModelAPIError,
    OutputTokenLimitExceeded,
    UsageLimitExceeded,
)
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import UsageLimits

from specialists.proposals import MAX_HYPOTHESIS, NoProposal, Proposal, Request, SessionFailed
from specialists.proposers.llm import plan
from specialists.proposers.llm.bridge import converse, here
from specialists.proposers.llm.client import PaidModel, connected, dumped
from specialists.proposers.llm.fence import Fence
from specialists.proposers.llm.prompt import instructions, opening
from specialists.proposers.llm.tools import CALLS_PER_TURN, TOOLS, Desk, answer
from specialists.proposers.llm.worktree import WorkTree
from specialists.redaction import redact, storable
from specialists.vocab import Fault

#: How often an answer that cannot be used goes back to the model before the session is stored as failed.
OUTPUT_RETRIES = 2
#: Calls in a row of one tool with arguments that do not fit its signature.
ARGUMENT_RETRIES = 4
MAX_EVIDENCE = 24
#: Tools that end a session.
ENDS = ("submit", "give_up")

Hypothesis = Annotated[str, Field(min_length=12, max_length=MAX_HYPOTHESIS)]
Delta = Annotated[float, Field(allow_inf_nan=False)]


class LlmProposer:
    """Holds a session with the role's model. Its answer depends on the model: it is never run twice."""

    def propose(self, request: Request) -> Proposal | NoProposal:
        """Raises SessionFailed for whatever ends a session without an answer of the agent."""
        try:
            connection = plan.connection()
        except plan.NotConfigured as error:
            raise SessionFailed(Fault.PROVIDER, str(error)) from error
        return converse(_Session(request, connection).run)


class _Session:
    """What the tools of one conversation work on. Plain methods run in the thread that started the session."""

    def __init__(self, request: Request, connection: plan.Connection) -> None:
        assert request.bench is not None
        self.request, self.bench, self.connection = request, request.bench, connection
        start = 0 if request.view.best is None else request.view.best.number
        tree = WorkTree(start, request.read_source(start), request.may_change)
        self.desk = Desk(request, request.bench, tree, Fence())
        self.model = self._paid()
        self._calls_in_turn, self._turn, self._warned = 0, -1, False
        self._unmade = ""

    def _paid(self) -> PaidModel:
        settings = self.bench.settings
        name = settings["models"][self.request.role.name]
        if settings["provider"] != self.connection.provider:
            raise SessionFailed(
                Fault.PROVIDER,
                f"LLM_PROVIDER is {self.connection.provider!r} here, this campaign was launched with "
                f"{settings['provider']!r}",
            )
        return PaidModel(
            connected(name, self.connection),
            self.bench.account,
            self.connection,
            name=name,
            table=settings["prices"],
            most=settings["max_output_tokens"],
        )

    async def run(self) -> Proposal | NoProposal:
        with capture_run_messages() as messages:
            try:
                return await self._converse()
            finally:
                self.request.keep(json.dumps(dumped(messages[self.model.recorded :])))

    async def _converse(self) -> Proposal | NoProposal:
        budgets = self.bench.settings["budgets"]
        try:
            done = await _agent().run(
                redact(opening(self.request, self.desk.tree, self.desk.fence, budgets)),
                model=self.model,
                instructions=instructions(self.request),
                deps=self,
                usage_limits=UsageLimits(request_limit=budgets["session"]["turns"]),
            )
        except UsageLimitExceeded as error:
            raise SessionFailed(Fault.BUDGET, str(error)) from error
        except ModelAPIError as error:
            raise SessionFailed(Fault.PROVIDER, redact(str(error))) from error
        except ContentFilterError as error:
            raise SessionFailed(Fault.MODEL, f"the model refused to answer: {redact(str(error))}") from error
        except OutputTokenLimitExceeded as error:
            raise SessionFailed(Fault.MODEL, f"the answer was cut at its token limit: {redact(str(error))}") from error
        except AgentRunError as error:
            raise SessionFailed(Fault.MODEL, f"{type(error).__name__}: {redact(str(error))}") from error
        return done.output

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """One tool, after those that the model asked for before it in the same turn."""
        self._enter_turn()
        self._calls_in_turn += 1
        if self._calls_in_turn > CALLS_PER_TURN:
            self._unmade = tool
            return f"Not done: more than {CALLS_PER_TURN} tool calls in one turn. Wait for the answers first."
        said, made = await here(answer, self.desk, tool, arguments)
        self._unmade = self._unmade or ("" if made else tool)
        return redact(said)

    def _enter_turn(self) -> None:
        if self._turn != self.model.turns:
            unknown = (name for name in self.model.called if name not in (*TOOLS, *ENDS))
            self._turn, self._calls_in_turn, self._unmade = self.model.turns, 0, next(unknown, "")

    def submission(self, hypothesis: str, expected_delta: float | None, evidence: Sequence[int]) -> Proposal:
        """What the model hands in. Raises ModelRetry with what has to be repaired first."""
        self._enter_turn()
        if self._unmade:
            raise ModelRetry(f"Not submitted: {self._unmade[:60]} of this turn was refused. Look at its answer first.")
        refused = self._refusal(hypothesis, evidence)
        if refused:
            told = self.desk.why("Not submitted. Repair what is wrong and submit again.", refused)
            raise ModelRetry(redact(told))
        repeated = "" if self._warned else self.desk.repeated(hypothesis)
        if repeated:
            self._warned = True
            told = "Not submitted yet: this was tried. Submit again if yours differs in what matters, else change it."
            raise ModelRetry(redact(f"{told}\n{repeated}"))
        return Proposal(
            hypothesis=redact(hypothesis.strip()),
            parent=self.desk.tree.parent,
            files=self.desk.tree.changed(),
            expected_delta=expected_delta,
            evidence=tuple(dict.fromkeys(evidence)),
        )

    def _refusal(self, hypothesis: str, evidence: Sequence[int]) -> str:
        if not hypothesis.strip():
            return "the hypothesis is empty"
        if storable(hypothesis) != hypothesis:
            return "the hypothesis holds characters that are no text"
        if len(evidence) > MAX_EVIDENCE:
            return f"{len(evidence)} trials are named as evidence, at most {MAX_EVIDENCE} are"
        hidden = self.bench.library.hidden(evidence)
        return f"evidence: trial {hidden} is not shown to you" if hidden is not None else self.desk.refusal()


async def _submit(
    conversation: RunContext[_Session],
    hypothesis: Hypothesis,
    expected_delta: Delta | None = None,
    evidence: list[int] | None = None,
) -> Proposal:
    """Submit the work tree as one trial; ends the session. May stand behind the last edits in the same turn.

    Args:
        hypothesis: One or two sentences: what is changed and why the score should move.
        expected_delta: By how much the score should move, signed as the score is; null when you cannot say.
        evidence: Numbers of the trials that this rests on.
    """
    return await here(conversation.deps.submission, hypothesis, expected_delta, evidence or [])


async def _give_up(
    _conversation: RunContext[_Session], reason: Annotated[str, Field(min_length=8, max_length=600)]
) -> NoProposal:
    """End the session without a trial, because nothing in your surface is worth one now.

    Args:
        reason: Why, in one or two sentences.
    """
    return NoProposal(redact(reason.strip()))


@cache
def _agent() -> Agent[_Session, Proposal | NoProposal]:
    """The tools and their descriptions: the same in every session, and dearer to make than a request.

    Calls of one turn are made in the order in which the model asked for them, ``submit`` behind the edits before it.
    """
    return Agent(
        output_type=[
            ToolOutput[Proposal](_submit, name=ENDS[0]),
            ToolOutput[NoProposal](_give_up, name=ENDS[1]),
        ],
        deps_type=_Session,
        tools=[_tool(name) for name in TOOLS],
        model_settings=ModelSettings(cache=True),
        retries={"tools": ARGUMENT_RETRIES, "output": OUTPUT_RETRIES},
        end_strategy="graceful",
    )


def _tool(name: str) -> Tool[_Session]:
    """A method of the desk as the model sees it: same name, arguments and description; calls one after another."""
    method: Callable[..., str] = getattr(Desk, name)

    @wraps(method)
    async def called(conversation: RunContext[_Session], **arguments: Any) -> str:
        return await conversation.deps.call(name, arguments)

    return Tool(called, takes_ctx=True, name=name, sequential=True, docstring_format="google")
