"""The bundle as people fetch it: from the real web process, by those who may see the campaign."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client

from tests.bundles.records import exported, small_record, verified
from trials.site_models import SiteEvent


def fetch(site: str, path: str, cookie: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=120)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


@pytest.mark.django_db(transaction=True)
def test_the_campaign_page_leads_to_a_bundle_that_verifies(
    site_url: str, tmp_path: Path, client: Client, django_user_model: Any
) -> None:
    campaign = small_record(name="Downloaded")
    client.force_login(django_user_model.objects.create_user("reader"))
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    address = campaign.get_absolute_url() + "bundle.zip"
    status, _, page = fetch(site_url, campaign.get_absolute_url(), cookie)
    assert status == 200 and f'href="{address}"'.encode() in page

    status, headers, data = fetch(site_url, address, cookie)
    assert (status, headers["content-type"], int(headers["content-length"])) == (200, "application/zip", len(data))
    assert headers["content-disposition"] == 'attachment; filename="downloaded.zip"'
    (tmp_path / "got.zip").write_bytes(data)
    assert verified(tmp_path / "got.zip")["failures"] == []
    event = SiteEvent.objects.latest("seq")
    assert (event.kind, event.actor, event.payload["campaign"]) == ("exported", "reader", "downloaded")
    assert exported(campaign, tmp_path).read_bytes() == data

    status, _, data = fetch(site_url, address + "?redact=sources", cookie)
    (tmp_path / "got.zip").write_bytes(data)
    assert verified(tmp_path / "got.zip")["redacted"] == ["sources"]
    status, _, data = fetch(site_url, address + "?redact=faces", cookie)
    assert status == 400 and b"'faces' is unknown, expected one or more of names, prompts, sources" in data
    assert fetch(site_url, "/campaigns/none/bundle.zip", cookie)[0] == 404
    status, headers, _ = fetch(site_url, address)
    assert status == 302 and headers["location"].startswith("/login/")
    assert list((Path(settings.DATA_DIR) / "bundles").iterdir()) == []
