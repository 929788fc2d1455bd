from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client

from tests.factories import make_campaign, submit
from trials.access import access_campaign, access_trial, visible_campaigns

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer() -> User:
    return User.objects.create_user("viewer", password="a long password")


def test_everybody_who_is_logged_in_sees_every_campaign(viewer: User) -> None:
    campaign = make_campaign()
    trial = submit(campaign, parent=None)
    assert list(visible_campaigns(viewer)) == [campaign]
    assert access_campaign(viewer, campaign.slug) == campaign
    assert access_trial(viewer, campaign.slug, 0) == trial


def test_nobody_sees_nothing(viewer: User) -> None:
    campaign = make_campaign()
    submit(campaign, parent=None)
    viewer.is_active = False
    for user in (AnonymousUser(), viewer):
        with pytest.raises(PermissionDenied):
            visible_campaigns(user)
        with pytest.raises(PermissionDenied):
            access_campaign(user, campaign.slug)
        with pytest.raises(PermissionDenied):
            access_trial(user, campaign.slug, 0)


def test_what_is_not_there_is_a_404(viewer: User) -> None:
    campaign, other = make_campaign(), make_campaign(name="Other")
    submit(other, parent=None)
    with pytest.raises(Http404):
        access_campaign(viewer, "no-such-campaign")
    with pytest.raises(Http404):
        access_trial(viewer, campaign.slug, 0)


def test_every_address_sends_strangers_to_the_login(client: Client) -> None:
    campaign = make_campaign()
    submit(campaign, parent=None)
    base = campaign.get_absolute_url()
    addresses = [
        "/",
        base,
        f"{base}head.json",
        f"{base}charts/frontier.json",
        f"{base}trials/0/",
        f"{base}trials/0/log.txt",
    ]
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 302, address
        assert answer["Location"].startswith("/login/"), address
