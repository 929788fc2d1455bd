"""One POST to an address that a user has typed: it reaches the public internet and nothing that stands behind the site.

The name is resolved once, every address of it is checked, and the connection is made to the address that was checked,
so that a name that changes in between leads nowhere. No redirects, no proxies, no cookies; the answer is a status.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

CONNECT_SECONDS, TOTAL_SECONDS = 5.0, 10.0
URL_LENGTH = 500
PORTS = {"https": 443, "http": 80}
#: Prefixes that carry an IPv4 address inside: translated and tunnelled traffic may end anywhere.
CARRIERS = tuple(
    ipaddress.ip_network(prefix) for prefix in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class BadAddress(ValueError):
    """The address may not be asked: what is wrong with it, and what was expected."""


class NotDelivered(RuntimeError):
    """The receiver did not take it: why, in one line."""


@dataclass(frozen=True)
class Target:
    """Where a request goes: to ``ip``, in the name of ``host``."""

    url: SplitResult
    host: str
    port: int
    ip: str


def parse(url: str) -> SplitResult:
    """The parts of an address that may be asked. Raises BadAddress; nothing is resolved yet."""
    if len(url) > URL_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        raise BadAddress(f"expected an address of at most {URL_LENGTH} plain characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadAddress(f"expected an address such as https://example.org/hook: {error}") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise BadAddress("expected an address that begins with https:// or http://")
    if parts.username or parts.password:
        raise BadAddress("expected an address without a user name or password")
    if port == 0:
        raise BadAddress("expected a port from 1 to 65535")
    return parts


def resolve(url: str, allowed: Sequence[Network] = ()) -> Target:
    """Where this address leads now. Raises BadAddress where any of its addresses is not a public one.

    allowed: networks of one's own that may be asked all the same; plain http leads to these alone.
    """
    parts = parse(url)
    host = str(parts.hostname)
    port = parts.port or PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotDelivered(f"{host} has no address") from None
    ips = [str(entry[4][0]) for entry in found]
    for ip in ips:
        own = any(_plain(ip) in network for network in allowed)
        if not own and not is_public(ip):
            raise BadAddress(f"{host} leads to {ip}, expected a public address")
        if not own and parts.scheme != "https":
            raise BadAddress(f"{host} is public, expected https")
    return Target(parts, host, port, ips[0])


def _plain(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address without its zone; one that only dresses an IPv4 address up is that one."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def is_public(ip: str) -> bool:
    """Whether an address is one of the open internet: not private, local, shared, reserved, multicast or a carrier."""
    address = _plain(ip)
    carries = any(address in network for network in CARRIERS)
    return address.is_global and not (address.is_multicast or address.is_reserved or carries)


class _Pinned(http.client.HTTPConnection):
    """Connects to the address that was checked; with TLS the certificate is that of the name."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.host, target.port, timeout=CONNECT_SECONDS)
        self._target = target

    def connect(self) -> None:
        made = socket.create_connection((self._target.ip, self._target.port), CONNECT_SECONDS)
        self.sock = made
        if self._target.url.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(made, server_hostname=self._target.host)

    def cut(self) -> None:
        """End it from another thread, whatever it waits for."""
        if self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                self.sock.close()


def post(url: str, body: bytes, headers: Mapping[str, str], allowed: Sequence[Network] = ()) -> int:
    """Send ``body`` and return the status, which is below 300. Raises BadAddress and NotDelivered.

    The answer's body is not read. The whole takes at most about CONNECT_SECONDS + TOTAL_SECONDS.
    """
    target = resolve(url, allowed)
    path = (target.url.path or "/") + (f"?{target.url.query}" if target.url.query else "")
    link = _Pinned(target)
    watchdog = threading.Timer(TOTAL_SECONDS, link.cut)
    watchdog.daemon = True
    try:
        link.connect()
        watchdog.start()
        link.request("POST", path, body, dict(headers))
        status = link.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        told = " ".join(str(error).split())[:160]
        raise NotDelivered(f"{target.host}: {type(error).__name__} {told}".rstrip()) from None
    finally:
        watchdog.cancel()
        link.close()
    if not 200 <= status < 300:
        led = ", and redirects are not followed" if 300 <= status < 400 else ""
        raise NotDelivered(f"{target.host} answered {status}{led}")
    return status
