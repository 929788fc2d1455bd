"""Static files come without Django, as WhiteNoise and Django's security middleware would have them."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import override_settings

from autoresearch_site.static_files import StaticFiles
from tests.conftest import ROOT

SAFE = ("x-content-type-options", "referrer-policy", "cross-origin-opener-policy")


def asked(site_url: str, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    link = http.client.HTTPConnection(urlsplit(site_url).netloc, timeout=20)
    link.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = link.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    link.close()
    return found


@pytest.mark.django_db(transaction=True)
def test_a_file_comes_packed_validated_and_for_good(site_url: str) -> None:
    _, page_headers, page = asked(site_url, "GET", "/login/")
    [path] = re.findall(r'href="(/static/css/base\.\w+\.css)"', page.decode())
    status, headers, body = asked(site_url, "GET", path, accept_encoding="gzip")
    assert (status, headers["content-encoding"], headers["content-type"]) == (200, "gzip", 'text/css; charset="utf-8"')
    plain = asked(site_url, "GET", path)
    assert gzip.decompress(body) == plain[2] and len(plain[2]) == int(plain[1]["content-length"]) > len(body)
    assert "immutable" in headers["cache-control"] and headers["vary"] == "Accept-Encoding"
    assert {name: headers[name] for name in SAFE} == {name: page_headers[name] for name in SAFE}
    assert asked(site_url, "GET", path, if_none_match=headers["etag"])[::2] == (304, b"")
    assert asked(site_url, "HEAD", path)[::2] == (200, b"")
    assert asked(site_url, "GET", path, range="bytes=2-5")[::2] == (206, plain[2][2:6])
    assert asked(site_url, "POST", path)[0] == 405


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "path", ["/static/nothing.css", "/static/", "/static/../secret-key", "/static/%2e%2e/secret-key"]
)
def test_nothing_else_is_a_file(site_url: str, path: str) -> None:
    assert asked(site_url, "GET", path)[0] in (302, 404)  # what Django says, which sends strangers to the log-in


def answer(headers: list[tuple[bytes, bytes]], path: str = "/static/a.css") -> list[dict[str, Any]]:
    """What is sent for a request; an empty list where Django was asked."""
    sent: list[dict[str, Any]] = []

    async def django(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 301, "headers": []})
        await send({"type": "http.response.body", "body": b"django"})

    async def go() -> None:
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
        link = ApplicationCommunicator(StaticFiles(django), scope)
        await link.send_input({"type": "http.request", "body": b""})
        sent.extend([await link.receive_output(5), await link.receive_output(5)])

    asyncio.run(go())
    return sent


def test_where_tls_is_wanted_plain_requests_are_left_to_django(tmp_path: Any) -> None:
    (tmp_path / "a.css").write_text("a { color: red }")
    tls = {"SECURE_SSL_REDIRECT": True, "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
           "SECURE_HSTS_SECONDS": 3600}  # fmt: skip
    with override_settings(STATIC_ROOT=tmp_path, **tls):
        assert answer([])[1]["body"] == b"django"
        start, body = answer([(b"x-forwarded-proto", b"https")])
        assert body["body"] == b"a { color: red }"
        assert (b"strict-transport-security", b"max-age=3600") in start["headers"]
        assert answer([(b"x-forwarded-proto", b"https")], "/static/b.css")[1]["body"] == b"django"


def test_the_overview_names_every_module_that_it_needs() -> None:
    """What it does not name would be asked for only when the module before has come."""
    found, left = set[str](), ["campaign"]
    while left:
        source = (ROOT / "static" / "js" / f"{left.pop()}.js").read_text()
        new = set(re.findall(r'^import .* from "\./(\w+)\.js";', source, re.MULTILINE)) - found
        found |= new
        left += new
    page = (ROOT / "templates" / "trials" / "campaign.html").read_text()
    assert set(re.findall(r'modulepreload" href="{% get_static_prefix %}js/(\w+)\.js"', page)) == found
