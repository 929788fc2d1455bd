"""The bundle as people fetch it: from the real web process, by those who may see the campaign."""

from __future__ import annotations

import http.client
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client

import verify_bundle
from tests.bundles.records import exported, small_record, verified
from trials.models import Campaign, Event
from trials.services.imports import import_bundle
from trials.services.keys import adopt_key
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
    assert status == 200 and f'href="{campaign.get_absolute_url()}audit/"'.encode() in page
    _, _, program = fetch(site_url, "/verify_bundle.py", cookie)
    assert program == Path(verify_bundle.__file__).read_bytes()

    status, headers, data = fetch(site_url, address, cookie)
    assert (status, headers["content-type"], int(headers["content-length"])) == (200, "application/zip", len(data))
    assert headers["content-disposition"] == 'attachment; filename="downloaded.zip"'
    (tmp_path / "got.zip").write_bytes(data)
    assert verified(tmp_path / "got.zip")["failures"] == []
    event = SiteEvent.objects.latest("seq")
    assert (event.kind, event.actor, event.payload["campaign"]) == ("exported", "reader", "downloaded")
    assert exported(campaign, tmp_path).read_bytes() == data

    status, _, data = fetch(site_url, address + "?redact=names&redact=sources", cookie)
    (tmp_path / "got.zip").write_bytes(data)
    assert verified(tmp_path / "got.zip")["redacted"] == ["names", "sources"]
    status, _, data = fetch(site_url, address + "?redact=faces", cookie)
    assert status == 400 and b"'faces' is unknown, expected one or more of names, prompts, sources" in data
    assert fetch(site_url, "/campaigns/none/bundle.zip", cookie)[0] == 404
    status, headers, _ = fetch(site_url, address)
    assert status == 302 and headers["location"].startswith("/login/")
    assert list((Path(settings.DATA_DIR) / "bundles").iterdir()) == []


def text_of(client: Client, campaign: Campaign) -> str:
    answer = client.get(campaign.get_absolute_url() + "audit/")
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


@pytest.mark.django_db
def test_the_audit_page_tells_the_state_of_the_chain(client: Client, tmp_path: Path, django_user_model: Any) -> None:
    campaign = small_record(name="Audited")
    client.force_login(django_user_model.objects.create_user("reader"))
    page = text_of(client, campaign)
    count = campaign.last_seq
    assert f"the newest {count} events have their hashes and follow one another" in page
    assert f"Newest event {count} · {campaign.head_sha256}" in page and "None yet." in page
    path = exported(campaign, tmp_path, profiles=["names"])
    page = text_of(client, campaign)
    assert adopt_key("test").public in page and f"now test {count} names" in page

    taken = import_bundle(path, actor="test").campaign
    page = text_of(client, taken)
    assert f"the newest {count} events have their hashes" in page
    assert "Came from a bundle of audited" in page and "left out by its own site" in page
    last = Event.objects.filter(campaign=campaign).latest("seq")
    forged = {name: getattr(last, name) for name in ("at", "kind", "actor", "body", "salt", "sha256")}
    Event.objects.create(campaign=campaign, seq=count + 1, previous_sha256=last.sha256, **forged)
    assert f"the newest {count + 1} events do not follow from one another" in text_of(client, campaign)
