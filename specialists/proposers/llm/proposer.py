"""One session with a language model: tools, a bounded conversation, a structured proposal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any

from asgiref.sync import async_to_sync, sync_to_async
from pydantic import Field
from pydantic_ai import Agent, ModelRetry, Tool, ToolOutput, capture_run_messages
from pydantic_ai.exceptions import (
    AgentRunError,
    ContentFilterError,
    ModelAPIError,
    OutputTokenLimitExceeded,
    UsageLimitExceeded,
)
from pydantic_ai.messages import ModelMessage
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import UsageLimits

from specialists.proposals import MAX_HYPOTHESIS, NoProposal, Proposal, Request, SessionFailed
from specialists.proposers.llm import plan
from specialists.proposers.llm.client import PaidModel, connect, dumped
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
        return async_to_sync(_Session(request, connection).run)()


class _Session:
    def __init__(self, request: Request, connection: plan.Connection) -> None:
        assert request.bench is not None
        self.request, self.bench, self.connection = request, request.bench, connection
        start = 0 if request.view.best is None else request.view.best.number
        tree = WorkTree(start, request.read_source(start), request.may_change)
        self.desk = Desk(request, request.bench, tree, Fence())
        self._calls_in_turn, self._turn, self._warned = 0, -1, False

    async def run(self) -> Proposal | NoProposal:
        settings = self.bench.settings
        name = settings["models"][self.request.role.name]
        if settings["provider"] != self.connection.provider:
            raise SessionFailed(
                Fault.PROVIDER,
                f"LLM_PROVIDER is {self.connection.provider!r} here, this campaign was launched with "
                f"{settings['provider']!r}",
            )
        wrapped = connect(name, self.connection)
        model = PaidModel(
            wrapped,
            self.bench.account,
            self.connection,
            name=name,
            table=settings["prices"],
            most=settings["max_output_tokens"],
        )
        agent = self._agent(model)
        with capture_run_messages() as messages:
            try:
                async with wrapped:
                    return await self._converse(agent, model)
            finally:
                self.request.keep(self._tail(messages, model))

    async def _converse(self, agent: Agent[None, Proposal | NoProposal], model: PaidModel) -> Proposal | NoProposal:
        budgets = self.bench.settings["budgets"]
        turns = budgets["session"]["turns"]
        try:
            done = await agent.run(
                redact(opening(self.request, self.desk.fence, budgets)),
                usage_limits=UsageLimits(request_limit=turns),
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

    def _agent(self, model: PaidModel) -> Agent[None, Proposal | NoProposal]:
        return Agent(
            model,
            output_type=[
                ToolOutput[Proposal](self.submit, name="submit"),
                ToolOutput[NoProposal](self.give_up, name="give_up"),
            ],
            instructions=instructions(self.request),
            tools=[self._tool(name, model) for name in TOOLS],
            model_settings=ModelSettings(cache=True),
            retries={"tools": ARGUMENT_RETRIES, "output": OUTPUT_RETRIES},
            end_strategy="early",
            name=self.request.role.name,
        )

    def _tool(self, name: str, model: PaidModel) -> Tool[None]:
        """A method of the desk as the model sees it: same name, arguments and description; calls one after another."""
        method: Callable[..., str] = getattr(self.desk, name)

        @wraps(method)
        async def called(**arguments: Any) -> str:
            if not self._may_call(model):
                return f"Not done: more than {CALLS_PER_TURN} tool calls in one turn. Wait for the answers first."
            return redact(await sync_to_async(answer, thread_sensitive=True)(self.desk, name, arguments))

        return Tool(called, takes_ctx=False, name=name, sequential=True, docstring_format="google")

    def _may_call(self, model: PaidModel) -> bool:
        if model.turns != self._turn:
            self._turn, self._calls_in_turn = model.turns, 0
        self._calls_in_turn += 1
        return self._calls_in_turn <= CALLS_PER_TURN

    async def submit(
        self, hypothesis: Hypothesis, expected_delta: Delta | None = None, evidence: list[int] | None = None
    ) -> Proposal:
        """Submit the work tree as one trial; ends the session.

        Args:
            hypothesis: One or two sentences: what is changed and why the score should move.
            expected_delta: By how much the score should move, signed as the score is; null when you cannot say.
            evidence: Numbers of the trials that this rests on.
        """
        refused = await sync_to_async(self._refusal, thread_sensitive=True)(hypothesis, evidence or [])
        if refused:
            told = self.desk.why("Not submitted. Repair what is wrong and submit again.", refused)
            raise ModelRetry(redact(told))
        repeated = "" if self._warned else await sync_to_async(self.desk.repeated, thread_sensitive=True)(hypothesis)
        if repeated:
            self._warned = True
            told = "Not submitted yet: this was tried. Submit again if yours differs in what matters, else change it."
            raise ModelRetry(redact(f"{told}\n{repeated}"))
        return Proposal(
            hypothesis=redact(hypothesis.strip()),
            parent=self.desk.tree.parent,
            files=self.desk.tree.changed(),
            expected_delta=expected_delta,
            evidence=tuple(dict.fromkeys(evidence or [])),
        )

    def _refusal(self, hypothesis: str, evidence: Sequence[int]) -> str:
        if not hypothesis.strip():
            return "the hypothesis is empty"
        if storable(hypothesis) != hypothesis:
            return "the hypothesis holds characters that are no text"
        if len(evidence) > MAX_EVIDENCE:
            return f"{len(evidence)} trials are named as evidence, at most {MAX_EVIDENCE} are"
        for number in evidence:
            try:
                self.bench.library.trial(number)
            except LookupError as error:
                return f"evidence: {error}"
        return self.desk.refusal()

    async def give_up(self, reason: Annotated[str, Field(min_length=8, max_length=600)]) -> NoProposal:
        """End the session without a trial, because nothing in your surface is worth one now.

        Args:
            reason: Why, in one or two sentences.
        """
        return NoProposal(redact(reason.strip()))

    @staticmethod
    def _tail(messages: Sequence[ModelMessage], model: PaidModel) -> str:
        return json.dumps(dumped(messages[model.recorded :]))
