"""An agent's only way out: an HTTP proxy on a Unix socket that connects to named hosts and to nobody else.

The agent's sandbox has no network but a loopback of its own, so that neither the host's loopback nor a name server can
be reached. CONNECT and absolute requests (RFC 9110, 9112) are understood, one request a connection for the latter.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Sequence
from types import TracebackType

from evaluators.sandbox.leftovers import prefix

HEAD_BYTES = 1 << 16
PIECE = 1 << 16
CONNECT_SECONDS, IDLE_SECONDS = 30.0, 600.0
CONNECTIONS_AT_MOST = 64
TOLD_AT_MOST = 20
_CONNECT = re.compile(rb"CONNECT ([^ :]+):([0-9]{1,5}) HTTP/1\.[01]")
_ABSOLUTE = re.compile(rb"([A-Z]+) http://([^ :/?@]+)(?::([0-9]{1,5}))?(/[^ ]*)? HTTP/1\.[01]")
_DROPPED = (b"proxy-", b"connection:", b"keep-alive:")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False


class Proxy:
    """A context manager; ``path`` is the socket. ``reached`` and ``refused``: ``host:port``, for the record."""

    def __init__(self, hosts: Sequence[tuple[str, int]]) -> None:
        self._hosts = frozenset(hosts)
        self._folder = tempfile.mkdtemp(prefix=prefix("proxy"))
        self.path = f"{self._folder}/socket"
        self.reached: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self._lock = threading.Lock()
        self._open = threading.BoundedSemaphore(CONNECTIONS_AT_MOST)
        self._closed = threading.Event()
        self._server = _Server(self.path, self._handler())
        # The folder stays closed to others; the sandbox, which may have a uid of its own, is shown the socket alone.
        os.chmod(self.path, 0o666)  # noqa: S103
        self._thread = threading.Thread(target=self._server.serve_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    if not proxy._open.acquire(blocking=False):
                        return _answer(self.request, "503 Too many connections")
                    try:
                        proxy._serve(self.request)
                    finally:
                        proxy._open.release()

        return Handler

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(CONNECT_SECONDS)
        head, rest = _head(client)
        first, _, headers = head.partition(b"\r\n")
        if match := _CONNECT.fullmatch(first):
            name, port, forward = match[1], int(match[2]), b""
        elif match := _ABSOLUTE.fullmatch(first):
            name, port = match[2], int(match[3] or 80)
            kept = [line for line in headers.split(b"\r\n") if line and not line.lower().startswith(_DROPPED)]
            line = b" ".join((match[1], match[4] or b"/", b"HTTP/1.1"))
            forward = b"\r\n".join((line, *kept, b"Connection: close", b"", b""))
        else:
            return _answer(client, "400 Bad request")
        host = (name.decode("ascii", "replace").lower(), port)
        if host not in self._hosts:
            self._note(self.refused, host)
            return _answer(client, "403 Host not allowed")
        try:
            upstream = socket.create_connection(host, timeout=CONNECT_SECONDS)
        except OSError:
            return _answer(client, "502 Host not reached")
        self._note(self.reached, host)
        with upstream:
            if forward:
                upstream.sendall(forward + rest)
            else:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                upstream.sendall(rest)
            self._relay(client, upstream)

    def _note(self, book: dict[str, int], host: tuple[str, int]) -> None:
        name = f"{host[0][:100]}:{host[1]}"
        with self._lock:
            if name in book or len(book) < TOLD_AT_MOST:
                book[name] = book.get(name, 0) + 1

    def _relay(self, client: socket.socket, upstream: socket.socket) -> None:
        """Both directions, until both have ended, nobody has said anything for long, or the session is over."""
        other = {client: upstream, upstream: client}
        ends = {end.fileno(): end for end in other}
        with selectors.DefaultSelector() as selector:
            for end in other:
                end.settimeout(IDLE_SECONDS)
                selector.register(end, selectors.EVENT_READ)
            idle = 0.0
            while selector.get_map() and idle < IDLE_SECONDS and not self._closed.is_set():
                ready = selector.select(1.0)
                idle = 0.0 if ready else idle + 1.0
                for key, _events in ready:
                    end = ends[key.fd]
                    if piece := end.recv(PIECE):
                        other[end].sendall(piece)
                    else:
                        selector.unregister(end)
                        with contextlib.suppress(OSError):
                            other[end].shutdown(socket.SHUT_WR)


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    """(request line and headers, what came behind them). Raises OSError when there is no end to them."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = client.recv(PIECE)
        if not piece or len(data) > HEAD_BYTES:
            raise OSError("no request")
        data += piece
    return data[:end], data[end + 4 :]


def _answer(client: socket.socket, status: str) -> None:
    client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
