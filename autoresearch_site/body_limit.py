"""No request body is larger than the site takes: cut off while it arrives, before it is kept anywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class BodyLimit:
    """An ASGI application that answers 413 in place of ``app`` once a body has more than ``most`` bytes.

    Django writes a body to a file before any view or middleware can refuse it, and its own limits leave uploaded files
    out; a body without a declared length is counted as it comes.
    """

    def __init__(self, app: App, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._declared(scope) > self.most:
            await self._refuse(send)
            return
        counted, too_large, answered = 0, False, False

        async def counting() -> Message:
            nonlocal counted, too_large
            message = await receive()
            counted += len(message.get("body", b""))
            if counted > self.most:
                too_large = True
                return {"type": "http.disconnect"}
            return message

        async def sending(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        await self.app(scope, counting, sending)
        if too_large and not answered:
            await self._refuse(send)

    def _declared(self, scope: MutableMapping[str, Any]) -> int:
        lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        return max((int(value) for value in lengths if value.isdigit()), default=0)

    async def _refuse(self, send: Send) -> None:
        text = f"the body is larger than {self.most} bytes\n".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": text})
