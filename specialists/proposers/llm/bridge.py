"""Two threads of a session: one speaks with the provider, the other holds the database connection.

Each process has one event loop, in a thread of its own, for as long as it lives: clients, their certificates and their
open connections outlive the session that made them. The thread that runs a session waits meanwhile, and does whatever
the conversation needs of it, because it may read and write the record and start sandboxes.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
_Work = SimpleQueue[Callable[[], None] | None]

_starting = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a forked worker needs a thread of its own
_waiting: ContextVar[_Work] = ContextVar("waiting")


def converse(conversation: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run a conversation to its end in the process's loop; the calling thread does what ``here`` asks of it.

    Raises what the conversation raises. Where the calling thread is interrupted the conversation is cancelled.
    """
    work: _Work = SimpleQueue()

    async def begun() -> Answer:
        _waiting.set(work)
        return await conversation()

    over = asyncio.run_coroutine_threadsafe(begun(), _loop())
    over.add_done_callback(lambda _: work.put(None))
    try:
        while (call := work.get()) is not None:
            call()
        return over.result()
    finally:
        over.cancel()


async def here(function: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs) -> Answer:
    """Call a plain function in the thread that waits for this conversation; raises what it raises."""
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def call() -> None:
        try:
            said = function(*given, **named)
        except Exception as error:
            _settle(answer, answer.set_exception, error)
        else:
            _settle(answer, answer.set_result, said)

    _waiting.get().put(call)
    return await answer


def _settle(answer: asyncio.Future[Any], how: Callable[[Any], None], value: object) -> None:
    def unless_cancelled() -> None:
        if not answer.done():
            how(value)

    answer.get_loop().call_soon_threadsafe(unless_cancelled)


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="models", daemon=True).start()
        return loop
