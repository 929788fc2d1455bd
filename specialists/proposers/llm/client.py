"""Requests to a model: paid for, retried, written down. The wire is the business of pydantic-ai and its clients."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from time import monotonic
from typing import Any

import anyio
from openai import AsyncOpenAI
from openai.resources.chat import AsyncCompletions
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelRateLimitError,
    ModelServerError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
)
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers import Provider
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from specialists.proposals import Account, CallRecord, Need, SessionFailed, Usage
from specialists.proposers.llm import prices
from specialists.proposers.llm.bridge import here
from specialists.proposers.llm.plan import Connection
from specialists.redaction import redact
from specialists.vocab import Fault

#: An answer must have at least this many tokens of room, or the request is not worth its price.
LEAST_ANSWER = 512
#: Seconds between tries: doubled each time and drawn evenly below that; more where the provider asks for more.
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_ASKED = 1.0, 60.0, 600.0
#: Texts have at least this many bytes per token, code about 3: only what is new since the last answer is estimated.
BYTES_PER_TOKEN = 3
PASSING = (ModelRateLimitError, ModelServerError, ModelUnavailableError, ModelConnectionError)
PASSING_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
#: Clients that a process keeps, one for each model that its sessions have spoken with lately.
KEPT_CLIENTS = 16


class BrokenOff(ModelConnectionError):
    """An answer ended before the model had finished it."""


@dataclass(frozen=True)
class _Try:
    """One request on the wire: the answer or what went wrong, and what was charged for."""

    response: ModelResponse | None
    used: RequestUsage
    error: Exception | None

    @property
    def why(self) -> str:
        return "" if self.error is None else redact(_told(self.error))


class _Prepared(Model):
    """Describes tools in a provider's way once, not for every request: they are the same in all sessions."""

    _described: tuple[Any, Any] = (None, None)

    def customize_request_parameters(self, model_request_parameters: ModelRequestParameters) -> ModelRequestParameters:
        tools = (model_request_parameters.function_tools, model_request_parameters.output_tools)
        before, ready = self._described
        if before != tools:
            ready = super().customize_request_parameters(model_request_parameters)
            self._described = (tools, ready)
        return replace(model_request_parameters, function_tools=ready.function_tools, output_tools=ready.output_tools)


_sent = AsyncCompletions.create


class _Completions(AsyncCompletions):
    """Messages and tools go on the wire as they are: the client would go through each of their fields for every
    request. It insists on messages; those of ``extra_body`` take their place."""

    async def create(self, **asked: Any) -> Any:
        whole = {"messages": asked["messages"], **({"tools": tools} if (tools := asked.pop("tools", None)) else {})}
        asked |= {"messages": [], "extra_body": {**(asked.get("extra_body") or {}), **whole}}
        return await _sent(self, **asked)


class _Anthropic(_Prepared, AnthropicModel):
    pass


class _OpenAI(_Prepared, OpenAIChatModel):
    pass


def connect(model: str, connection: Connection) -> Model:
    """The provider's client for one model; its own retries are off."""
    key, address = connection.key, connection.base_url or None
    if connection.provider == "anthropic":
        claude = AnthropicProvider(api_key=key, base_url=address)
        claude.client.max_retries = 0
        return _Anthropic(model, provider=claude)
    provider: Provider[AsyncOpenAI]
    if connection.provider == "openai":
        provider = OpenAIProvider(api_key=key, base_url=address)
    else:
        provider = OpenAICompatibleProvider("compatible", base_url=connection.base_url, api_key=key or None)
    client = provider.client
    client.max_retries = 0
    vars(client.chat)["completions"] = _Completions(client)  # a cached property, filled beforehand
    return _OpenAI(
        model, provider=provider, profile=OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
    )


def connected(model: str, connection: Connection) -> Model:
    """``connect``, once in a process: a client's certificates take longer to read than a request, and its connections
    stay open. For use in the loop of ``bridge`` only."""
    return _kept(os.getpid(), model, connection)


@lru_cache(maxsize=KEPT_CLIENTS)
def _kept(_process: int, model: str, connection: Connection) -> Model:
    return connect(model, connection)


class PaidModel(WrapperModel):
    """A model whose every request is reserved, tried until it succeeds or is hopeless, and recorded.

    table: the campaign's prices; most: tokens of an answer; pause: seconds before try ``n`` (from 0).
    """

    def __init__(
        self,
        wrapped: Model,
        account: Account,
        connection: Connection,
        *,
        name: str,
        table: dict[str, Any],
        most: int,
        pause: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__(wrapped)
        self.account, self.connection = account, connection
        self.name, self.table, self.most = name, table, most
        self.recorded = 0  # messages of the conversation that are in the transcript
        self.turns = 0
        self.called: list[str] = []  # tools that the last answer asked for
        self._context = 0  # tokens of the conversation at the last answer
        self._pause = pause or _drawn

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Raises SessionFailed: a budget is used, the lease is lost, or the provider cannot serve."""
        new = messages[self.recorded :]
        estimate = self._context + _bytes(new, model_request_parameters if self.turns == 0 else None) // BYTES_PER_TOKEN
        for failed in range(self.connection.retries + 1):
            most = await here(self.account.reserve, self._need(estimate), self.most, LEAST_ANSWER)
            settings = ModelSettings(**(model_settings or {}), max_tokens=most, timeout=self.connection.silence)
            begun, at = monotonic(), datetime.now(UTC)
            done = await self._try(messages, settings, model_request_parameters)
            sent = messages[self.recorded :]
            self.recorded = len(messages)
            await self._write(at, monotonic() - begun, sent, done)
            if done.response is not None:
                self.turns += 1
                self.called = [part.tool_name for part in done.response.tool_calls]
                self.recorded += 1
                self._context = done.used.input_tokens + done.used.output_tokens
                if done.response.finish_reason == "content_filter":
                    raise SessionFailed(Fault.MODEL, f"the model refused: {(done.response.text or '')[:400]}")
                return done.response
            assert done.error is not None
            if not passing(done.error) or failed == self.connection.retries:
                raise SessionFailed(_fault(done.error), done.why) from done.error
            await anyio.sleep(pause_before(done.error, self._pause(failed)))
        raise AssertionError("the last try returns or raises")

    async def _try(
        self, messages: list[ModelMessage], settings: ModelSettings, parameters: ModelRequestParameters
    ) -> _Try:
        """A stream is read to its end: nothing is acted upon that was not finished."""
        used = RequestUsage()
        try:
            with anyio.fail_after(self.connection.seconds):
                if not self.connection.stream:
                    response = await self.wrapped.request(messages, settings, parameters)
                else:
                    async with self.wrapped.request_stream(messages, settings, parameters) as stream:
                        try:
                            async for _ in stream:
                                pass
                        finally:
                            used = stream.usage  # what was said so far is paid for
                        response = stream.get()
        except (ModelAPIError, UnexpectedModelBehavior, TimeoutError) as error:
            return _Try(None, used, error)
        if response.finish_reason is None:
            return _Try(None, response.usage, BrokenOff(self.name, "the answer ended before the model had finished it"))
        return _Try(response, response.usage, None)

    def _need(self, tokens_in: int) -> Callable[[int], Need]:
        def need(answer: int) -> Need:
            usd = prices.cost(self.table, self.name, Usage(input_tokens=tokens_in, output_tokens=answer))
            return Need(tokens_in + answer, usd)

        return need

    async def _write(self, at: datetime, seconds: float, sent: Sequence[ModelMessage], done: _Try) -> None:
        usage = Usage(
            done.used.input_tokens, done.used.cache_read_tokens, done.used.cache_write_tokens, done.used.output_tokens
        )
        free = done.error is not None and not (usage.input_tokens or usage.output_tokens)
        cost = Decimal(0) if free else prices.cost(self.table, self.name, usage)
        received = [] if done.response is None else [done.response]
        body = json.dumps({"sent": dumped(sent), "received": dumped(received)})
        await here(self.account.record, CallRecord(self.name, at, seconds, usage, cost, done.why, body))


def passing(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    status = getattr(error, "status_code", None)
    if status is not None:
        return status in PASSING_STATUSES
    return isinstance(error, (*PASSING, TimeoutError)) or type(error) in (ModelAPIError, UnexpectedModelBehavior)


def pause_before(error: Exception, drawn: float) -> float:
    """Seconds to wait: at least what the provider asked for, within reason."""
    asked = getattr(error, "retry_after", None) or 0.0
    return max(drawn, min(float(asked), LONGEST_ASKED))


def _drawn(failed: int) -> float:
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**failed)
    return random.uniform(longest / 2, longest)  # noqa: S311 - so that sessions do not come back all at once


def _fault(error: Exception) -> Fault:
    return Fault.PROVIDER if isinstance(error, ModelAPIError | TimeoutError) or passing(error) else Fault.MODEL


def _told(error: Exception) -> str:
    words = str(error) or "no answer in time"
    return f"{type(error).__name__.lstrip('_')}: {words}"[:1500]


def dumped(messages: Sequence[ModelMessage]) -> Any:
    """Messages as JSON values, complete."""
    return ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")


def _bytes(messages: Sequence[ModelMessage], parameters: ModelRequestParameters | None) -> int:
    tools = [] if parameters is None else [*parameters.function_tools, *parameters.output_tools]
    schemas = sum(len(json.dumps(tool.parameters_json_schema)) + len(tool.description or "") for tool in tools)
    return len(ModelMessagesTypeAdapter.dump_json(list(messages))) + schemas
