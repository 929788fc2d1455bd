"""Where a webhook may lead and where not, and what a receiver can do to the sender: a real server on this machine."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from trials import outbound

LOCAL = [ipaddress.ip_network("127.0.0.0/8")]


class Receiver(ThreadingHTTPServer):
    """Takes POSTs and keeps them; answers with the statuses that it was given, the last one for ever."""

    daemon_threads = True

    def __init__(self, *statuses: int, slow: Callable[[Any], None] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses, self.slow = list(statuses), slow
        self.got: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?a=1"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        if self.server.slow is not None:
            self.server.slow(self)
            return
        left = self.server.statuses
        self.send_response(left.pop(0) if len(left) > 1 else left[0])
        self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def receiver(*statuses: int, slow: Callable[[Any], None] | None = None) -> Iterator[Receiver]:
    with Receiver(*statuses or (204,), slow=slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1",
     "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:0:a00:1::", "192.0.2.1", "198.18.0.1"],
)  # fmt: skip
def test_what_is_not_the_open_internet(ip: str) -> None:
    assert not outbound.is_public(ip)


@pytest.mark.parametrize("ip", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"])
def test_what_is(ip: str) -> None:
    assert outbound.is_public(ip)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://example.org/", "begins with https://"), ("https:///x", "begins with https://"), ("", "begins with"),
        ("file:///etc/passwd", "begins with"), ("https://a:b@example.org/", "without a user name"),
        ("https://example.org:0/", "port from 1"), ("https://example.org:99999/", "expected an address such as"),
        ("https://exa mple.org/", "plain characters"), ("https://example.org/\r\nX: y", "plain characters"),
        ("https://" + "x" * 600, "at most 500"), ("http://[::1", "expected an address"),
        ("https://127.0.0.1/", "leads to 127.0.0.1"), ("https://localhost/", "expected a public address"),
        ("https://[::1]/", "leads to ::1"), ("https://2130706433/", "leads to 127.0.0.1"),
        ("https://0x7f.1/", "leads to 127.0.0.1"), ("http://127.0.0.1:5432/", "expected a public address"),
        ("http://8.8.8.8/", "expected https"), ("https://169.254.169.254/latest/", "leads to 169.254.169.254"),
    ],
)  # fmt: skip
def test_addresses_that_are_refused(url: str, told: str) -> None:
    with pytest.raises(outbound.BadAddress, match=told.replace("[", r"\[")):
        outbound.resolve(url)


def test_one_private_address_among_many_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("8.8.8.8", "10.0.0.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(outbound.BadAddress, match=r"leads to 10\.0\.0\.7"):
        outbound.resolve("https://example.org/")


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere at the second look is not looked up a second time."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolver(host: str, *rest: Any, **more: Any) -> Any:
        if host == "hook.example":
            asked.append(host)
            return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *rest, **more)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with receiver() as server:
        port = server.server_address[1]
        assert outbound.post(f"http://hook.example:{port}/x", b"{}", {}, LOCAL) == 204
    assert asked == ["hook.example"] and server.got[0][1]["Host"] == f"hook.example:{port}"


def test_what_was_sent_arrives_as_it_is() -> None:
    with receiver(200) as server:
        assert outbound.post(server.url, b'{"a":1}', {"Content-Type": "application/json", "X-A": "b"}, LOCAL) == 200
    [(path, headers, body)] = server.got
    assert (path, body, headers["X-A"], headers["Content-Length"]) == ("/hook?a=1", b'{"a":1}', "b", "7")


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500])
def test_other_answers_are_failures_and_redirects_lead_nowhere(status: int) -> None:
    with receiver(status) as server, pytest.raises(outbound.NotDelivered, match=f"answered {status}"):
        outbound.post(server.url, b"{}", {}, LOCAL)
    assert len(server.got) == 1


def test_nobody_there_is_said() -> None:
    with receiver() as server:
        url = server.url
    with pytest.raises(outbound.NotDelivered, match="Connection"):
        outbound.post(url, b"{}", {}, LOCAL)


def _drips(handler: Any) -> None:
    """One byte of the answer's head at a time, for ever."""
    try:
        for _ in range(10_000):
            handler.wfile.write(b"H")
            handler.wfile.flush()
            threading.Event().wait(0.02)
    except OSError:
        pass


def _floods(handler: Any) -> None:
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5_000 + b"\r\n")


def _talks(handler: Any) -> None:
    """A good status and a body without end: it is not read."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b"x" * 65_536)
    except OSError:
        pass


def test_a_receiver_that_never_ends_ends_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.5)
    for slow in (_drips, _floods, lambda handler: threading.Event().wait(30)):
        with receiver(slow=slow) as server, pytest.raises(outbound.NotDelivered):
            outbound.post(server.url, b"{}", {}, LOCAL)
    with receiver(slow=_talks) as server:
        assert outbound.post(server.url, b"{}", {}, LOCAL) == 200
