"""A model server on localhost that speaks the wire protocols of Anthropic (Messages) and OpenAI (Chat Completions).

What it answers is decided by a script, a function of the request; it counts what it has charged for. Streaming and not,
errors before, in and at the end of a stream.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as either protocol puts it. ``turns``: answers of the model so far; ``results``: of the last turn."""

    api: str
    model: str
    system: str
    opening: str
    tools: Mapping[str, Any]
    turns: int
    results: Sequence[str]
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    number: int


@dataclass(frozen=True)
class Use:
    """A tool call; ``arguments`` as text are sent as they are, valid JSON or not."""

    tool: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)

    @property
    def json(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True)
class Reply:
    """What the model says. stop: the protocol's own reason where it is not the usual one."""

    text: str = ""
    uses: Sequence[Use] = ()
    stop: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Broken:
    """What goes wrong. how: status, stream_error, cut, silent_end, garbage, hang."""

    how: str
    status: int = 500
    retry_after: str = ""
    message: str = "injected"


Script = Callable[[Asked], Reply | Broken]


class ModelServer:
    """Serves until the block ends. ``charged``: tokens of each answer that was billed, as reported to the client."""

    def __init__(self, script: Script, host: str = "127.0.0.1") -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.charged: list[dict[str, int]] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                _Exchange(server, self).run()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer((host, 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://{host}:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)

    def __enter__(self) -> ModelServer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class _Exchange:
    def __init__(self, server: ModelServer, handler: BaseHTTPRequestHandler) -> None:
        self.server, self.handler = server, handler
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.body: dict[str, Any] = json.loads(raw)
        self.anthropic = handler.path.endswith("/messages")
        self.size = len(raw)
        with server.lock:
            read = _read_anthropic if self.anthropic else _read_openai
            self.asked = read(self.body, dict(handler.headers), len(server.asked))
            server.asked.append(self.asked)

    def run(self) -> None:
        answer = self.server.script(self.asked)
        if isinstance(answer, Broken):
            self._break(answer)
            return
        self.server.stopping.wait(answer.seconds)
        self._charge(answer)
        if self.body.get("stream"):
            self._stream(self._events(answer))
        else:
            self._send(200, json.dumps(self._whole(answer)))

    def _usage(self, answer: Reply, *, done: bool = True) -> dict[str, Any]:
        total = max(8, self.size // 4)
        cached = total // 2 if "cache_control" in json.dumps(self.body) or not self.anthropic else 0
        out = max(1, sum(len(use.json) for use in answer.uses) // 4 + len(answer.text) // 4) if done else 1
        first = self.asked.turns == 0
        if self.anthropic:
            return {
                "input_tokens": total - cached,
                "cache_creation_input_tokens": cached if first else 0,
                "cache_read_input_tokens": 0 if first else cached,
                "output_tokens": out,
            }
        return {
            "prompt_tokens": total,
            "completion_tokens": out,
            "total_tokens": total + out,
            "prompt_tokens_details": {"cached_tokens": 0 if first else cached},
        }

    def _charge(self, answer: Reply, *, done: bool = True) -> None:
        usage = self._usage(answer, done=done)
        with self.server.lock:
            self.server.charged.append(
                {
                    "input": usage["input_tokens"]
                    + usage["cache_creation_input_tokens"]
                    + usage["cache_read_input_tokens"]
                    if self.anthropic
                    else usage["prompt_tokens"],
                    "cache_read": usage["cache_read_input_tokens"]
                    if self.anthropic
                    else usage["prompt_tokens_details"]["cached_tokens"],
                    "cache_write": usage["cache_creation_input_tokens"] if self.anthropic else 0,
                    "output": usage["output_tokens"] if self.anthropic else usage["completion_tokens"],
                }
            )

    # -- faults ---------------------------------------------------------------------------------------------------

    def _break(self, broken: Broken) -> None:
        partial = Reply(text="half an ans")
        if broken.how == "status":
            headers = {"Retry-After": broken.retry_after} if broken.retry_after else {}
            kind = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}.get(
                broken.status, "api_error"
            )
            error = {"type": kind, "message": broken.message}
            self._send(broken.status, json.dumps({"type": "error", "error": error}), headers)
        elif broken.how == "garbage":
            self._send(200, "<html>gateway</html>", {"Content-Type": "text/html"})
        elif broken.how == "hang":
            self.server.stopping.wait(60)
            self.handler.close_connection = True
        else:
            self._charge(partial, done=False) if self.anthropic else None
            self._stream(self._broken_events(partial, broken.how), finish=broken.how != "cut")

    def _broken_events(self, partial: Reply, how: str) -> Iterator[str]:
        events = list(self._events(partial))
        yield from events[: 3 if self.anthropic else 2]
        if how == "stream_error" and self.anthropic:
            yield _sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
        elif how == "stream_error":
            yield _sse({"error": {"message": "The server had an error", "type": "server_error", "code": None}})

    # -- answers --------------------------------------------------------------------------------------------------

    def _events(self, answer: Reply) -> Iterator[str]:
        return self._anthropic_events(answer) if self.anthropic else self._openai_events(answer)

    def _stop(self, answer: Reply) -> str:
        if answer.stop:
            return answer.stop
        if self.anthropic:
            return "tool_use" if answer.uses else "end_turn"
        return "tool_calls" if answer.uses else "stop"

    def _whole(self, answer: Reply) -> dict[str, Any]:
        name = f"{self.asked.number}"
        if self.anthropic:
            content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
            content += [
                {"type": "tool_use", "id": f"toolu_{name}_{i}", "name": use.tool, "input": json.loads(use.json)}
                for i, use in enumerate(answer.uses)
            ]
            return self._head(name) | {
                "content": content,
                "stop_reason": self._stop(answer),
                "usage": self._usage(answer),
            }
        calls = [
            {"id": f"call_{name}_{i}", "type": "function", "function": {"name": use.tool, "arguments": use.json}}
            for i, use in enumerate(answer.uses)
        ]
        message = {"role": "assistant", "content": answer.text or None} | ({"tool_calls": calls} if calls else {})
        return {
            "id": f"chatcmpl-{name}",
            "object": "chat.completion",
            "created": 1,
            "model": self.asked.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self._stop(answer)}],
            "usage": self._usage(answer),
        }

    def _head(self, name: str) -> dict[str, Any]:
        return {
            "id": f"msg_{name}",
            "type": "message",
            "role": "assistant",
            "model": self.asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(Reply(), done=False),
        }

    def _anthropic_events(self, answer: Reply) -> Iterator[str]:
        yield _sse({"type": "message_start", "message": self._head(str(self.asked.number))}, "message_start")
        blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        if answer.text:
            deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(answer.text)]
            blocks.append(({"type": "text", "text": ""}, deltas))
        for i, use in enumerate(answer.uses):
            start = {"type": "tool_use", "id": f"toolu_{self.asked.number}_{i}", "name": use.tool, "input": {}}
            blocks.append((start, [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(use.json)]))
        for index, (start, deltas) in enumerate(blocks):
            yield _sse({"type": "content_block_start", "index": index, "content_block": start}, "content_block_start")
            for delta in deltas:
                yield _sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
            yield _sse({"type": "content_block_stop", "index": index}, "content_block_stop")
        delta = {"stop_reason": self._stop(answer), "stop_sequence": None}
        usage = {"output_tokens": self._usage(answer)["output_tokens"]}
        yield _sse({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta")
        yield _sse({"type": "message_stop"}, "message_stop")

    def _openai_events(self, answer: Reply) -> Iterator[str]:
        def chunk(delta: Mapping[str, Any], stop: str | None = None) -> str:
            choices = [{"index": 0, "delta": delta, "finish_reason": stop}]
            return _sse(self._chunk() | {"choices": choices})

        yield chunk({"role": "assistant", "content": ""})
        for piece in _pieces(answer.text):
            yield chunk({"content": piece})
        for i, use in enumerate(answer.uses):
            head = {"index": i, "id": f"call_{self.asked.number}_{i}", "type": "function"}
            yield chunk({"tool_calls": [head | {"function": {"name": use.tool, "arguments": ""}}]})
            for piece in _pieces(use.json):
                yield chunk({"tool_calls": [{"index": i, "function": {"arguments": piece}}]})
        yield chunk({}, self._stop(answer))
        if self.body.get("stream_options", {}).get("include_usage"):
            yield _sse(self._chunk() | {"choices": [], "usage": self._usage(answer)})
        yield "data: [DONE]\n\n"

    def _chunk(self) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.asked.number}",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.asked.model,
        }

    def _send(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        data = text.encode()
        self.handler.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | dict(headers or {})).items():
            self.handler.send_header(name, value)
        self.handler.send_header("Content-Length", str(len(data)))
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def _stream(self, events: Iterator[str], *, finish: bool = True) -> None:
        """Chunked; without ``finish`` the connection is cut in the middle of it."""
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", "text/event-stream")
        self.handler.send_header("Transfer-Encoding", "chunked")
        self.handler.end_headers()
        try:
            for event in events:
                data = event.encode()
                self.handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.handler.wfile.flush()
            if finish:
                self.handler.wfile.write(b"0\r\n\r\n")
            else:
                self.handler.close_connection = True
        except OSError:
            self.handler.close_connection = True


def _sse(data: Mapping[str, Any], event: str = "") -> str:
    return (f"event: {event}\n" if event else "") + f"data: {json.dumps(data)}\n\n"


def _pieces(text: str, size: int = 400) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _flat(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_flat(part.get("text") or part.get("content") or "") for part in content or [])


def _read_anthropic(body: Mapping[str, Any], headers: Mapping[str, str], number: int) -> Asked:
    messages = body["messages"]
    last = messages[-1]["content"]
    results = [_flat(part["content"]) for part in last if isinstance(part, dict) and part.get("type") == "tool_result"]
    return Asked(
        api="anthropic",
        model=body["model"],
        system=_flat(body.get("system", "")),
        opening=_flat(messages[0]["content"]),
        tools={tool["name"]: tool["input_schema"] for tool in body.get("tools", [])},
        turns=sum(message["role"] == "assistant" for message in messages),
        results=results or [_flat(last)],
        headers=headers,
        body=body,
        number=number,
    )


def _read_openai(body: Mapping[str, Any], headers: Mapping[str, str], number: int) -> Asked:
    messages = body["messages"]
    system = [message for message in messages if message["role"] in ("system", "developer")]
    user = [message for message in messages if message["role"] == "user"]
    last: list[str] = []
    for message in reversed(messages):
        if message["role"] == "assistant":
            break
        last.insert(0, _flat(message["content"]))
    return Asked(
        api="openai",
        model=body["model"],
        system=_flat(system[0]["content"]) if system else "",
        opening=_flat(user[0]["content"]),
        tools={tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", [])},
        turns=sum(message["role"] == "assistant" for message in messages),
        results=last,
        headers=headers,
        body=body,
        number=number,
    )


@contextmanager
def serving(script: Script) -> Iterator[ModelServer]:
    with ModelServer(script) as server:
        yield server
