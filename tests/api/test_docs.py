"""The notebook of docs/api.md runs as it stands, against the real site."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.factories import make_campaign, run_trial
from trials.models import Campaign
from trials.services.tokens import make_token

DOCS = Path(__file__).resolve().parents[2] / "docs" / "api.md"


@pytest.mark.django_db(transaction=True)
def test_the_notebook_runs(site_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    campaign = make_campaign(name="For a notebook")
    for score, parent in ((2.4, None), (2.1, 0), (2.6, 0)):
        run_trial(campaign, score, parent=parent)
    user = User.objects.create_user("analyst")
    monkeypatch.setenv("AUTORESEARCH_SITE", site_url)
    monkeypatch.setenv("AUTORESEARCH_TOKEN", make_token(user, "notebook", ["read"], 1, actor="test"))
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    assert list(found["frame"]["score"]) == [2.4, 2.1, 2.6]
    assert found["best"].iloc[-1] == Campaign.objects.get().best_score == 2.1
    assert found["by_role"].loc["architecture"].to_dict() == {"baseline": 0, "discard": 1, "keep": 1}
    assert "For a notebook 2.1 2.1" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_nobody_is_sent_to_the_log_in_page(site_url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{site_url}/api/v1/campaigns")
    assert refused.value.code == 401
    assert refused.value.headers["Content-Type"].startswith("application/json")
