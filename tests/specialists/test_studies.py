"""Studies: planned as a whole, launched in turn, cancelled and gone on with; only what is missing is launched again."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.http import Http404
from django.test import Client

from evaluators.registry import ENVIRONMENTS
from specialists.models import Study, StudyCampaign
from specialists.studies import reports, services
from specialists.studies.plan import StudyError, StudySettings, make_plan
from specialists.study_access import access_study, visible_studies
from specialists.study_forms import StudyForm
from tests.specialists.studies import SETTINGS, launched, newest, search
from trials import access
from trials.models import Campaign, SiteEvent
from trials.services import campaigns
from trials.vocab import CampaignState

pytestmark = pytest.mark.django_db

BAD: list[tuple[str, Any, str]] = [
    ("environment", "chess", "expected one of"),
    ("profile", "huge", "expected one of cpu"),
    ("arms", ("swarm",), "1 were named, expected 2 to 12"),
    ("arms", ("swarm", "oracle"), "'oracle' is unknown, expected some of swarm"),
    ("arms", ("swarm", "roster:nobody"), "roster 'nobody' is unknown, expected one of generic-10"),
    ("arms", ("swarm", "roster:paper-ten"), "swarm and roster:paper-ten are the same here"),
    ("arms", ("swarm", "swarm"), "swarm and swarm are the same here"),
    ("repeats", 0, "expected 1 to 100"),
    ("trials", 0, "expected 1 to"),
    ("parallel", 0, "expected 1 to 64"),
    ("slots", 0, "expected 1 to"),
    ("seed", -1, "expected 0 to"),
    ("hours", float("nan"), "expected 0.01 to"),
    ("keep_rule", "lucky", "expected one of strict, verified"),
    ("test", "t-test", "expected one of mann-whitney, permutation"),
    ("alpha", 1.0, "expected more than 0 and less than 1"),
    ("level", "L0", "expected one of"),
    ("proposer", "oracle", "expected one of"),
]


@pytest.mark.parametrize("field,value,message", BAD)
def test_a_bad_setting_is_named_and_nothing_is_written(field: str, value: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message) as refused:
        services.launch_study(replace(SETTINGS, **{field: value}), actor="test")
    assert refused.value.field == field
    assert not Study.objects.exists() and not Campaign.objects.exists()


def test_every_arm_differs_in_what_it_is_named_after() -> None:
    arms = ("swarm", "generic", "single", "no-lineage", "own-role", "random", "roster:single")
    with pytest.raises(StudyError, match="single"):  # one slot tells the control from the roster: two would be twins
        make_plan(replace(SETTINGS, arms=arms, slots=1))
    plan = make_plan(replace(SETTINGS, arms=arms))
    shown = {arm["name"]: (arm["roster"], arm["lineage"], arm["proposer"], arm["slots"]) for arm in plan["arms"]}
    assert shown == {
        "swarm": ("paper-ten", "shared", "catalog", 2),
        "generic": ("generic-10", "shared", "catalog", 2),
        "single": ("single", "shared", "catalog", 1),
        "no-lineage": ("paper-ten", "none", "catalog", 2),
        "own-role": ("paper-ten", "own-role", "catalog", 2),
        "random": ("paper-ten", "shared", "random", 2),
        "roster:single": ("single", "shared", "catalog", 2),
    }
    assert (plan["test"]["arm"], plan["test"]["against"]) == ("swarm", list(arms[1:]))
    assert plan["seeds"] == [7, 8]


def test_catalog_against_llm_is_two_arms_and_shares_one_with_the_swarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PROVIDER", "compatible")
    monkeypatch.setenv("LLM_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("LLM_MODEL", "some-model")
    both = make_plan(replace(SETTINGS, arms=("catalog-vs-llm",)))
    assert [(arm["name"], arm["proposer"]) for arm in both["arms"]] == [("catalog", "catalog"), ("llm", "llm")]
    shared = make_plan(replace(SETTINGS, arms=("swarm", "catalog-vs-llm")))
    assert [arm["name"] for arm in shared["arms"]] == ["swarm", "llm"]


def test_campaigns_are_launched_in_turn_with_the_same_seeds_for_every_arm() -> None:
    study = launched(parallel=2)
    assert [(one.roster, one.proposer, one.seed) for one in newest(study)] == [
        ("paper-ten", "catalog", 7), ("paper-ten", "random", 7)]  # fmt: skip
    services.advance(study.pk)
    assert len(newest(study)) == 2  # no more than two at once
    for campaign in newest(study):
        search(campaign, [2.0, 1.9])
    services.advance(study.pk)
    found = newest(study)
    assert [one.seed for one in found] == [7, 7, 8, 8]
    assert {(one.max_trials, one.keep_rule, one.no_improvement_hours) for one in found} == {(4, "strict", 24.0)}
    for campaign in found[2:]:
        search(campaign, [2.0, 1.9])
    services.advance(study.pk)
    study.refresh_from_db()
    assert (study.state, study.state_reason) == ("finished", "")
    told = [(event.kind, event.payload) for event in SiteEvent.objects.filter(kind__startswith="study").order_by("seq")]
    assert [kind for kind, _ in told] == ["study_launched", *["study_campaign"] * 4, "study_state"]
    assert told[0][1]["plan"]["test"]["name"] == "mann-whitney"  # on record before any campaign
    heads = {row["campaign"]: row["head"] for row in told[-1][1]["campaigns"]}
    assert heads == {one.slug: Campaign.objects.get(pk=one.pk).head_sha256 for one in found}


def test_the_same_settings_go_on_and_others_are_refused() -> None:
    study = launched()
    again = services.launch_study(replace(SETTINGS, parallel=2), actor="test")
    assert (again.pk, again.parallel, Study.objects.count()) == (study.pk, 2, 1)
    with pytest.raises(StudyError, match=r"by-hand was planned with another seeds, test|another trials"):
        services.launch_study(replace(SETTINGS, trials=5), actor="test")


def test_what_was_stopped_is_launched_again_and_what_is_finished_never() -> None:
    study = launched(parallel=2)
    done, stopped = newest(study)
    search(done, [2.0, 1.9])
    services.cancel_study(study, actor="ada")
    stopped.refresh_from_db()
    study.refresh_from_db()
    assert (study.state, stopped.state) == ("cancelled", "stopped")
    services.advance(study.pk)
    assert len(newest(study)) == 2  # a cancelled study launches nothing
    with pytest.raises(StudyError, match="is cancelled, expected one that runs"):
        services.cancel_study(study, actor="ada")
    study = services.resume_study(study, actor="ada")
    services.advance(study.pk)
    places = newest(study)
    assert places[0] == done and places[1] != stopped and (places[1].seed, places[1].proposer) == (7, "random")
    members = StudyCampaign.objects.order_by("pk").values_list("arm", "repeat", "attempt")
    assert list(members) == [("swarm", 0, 1), ("random", 0, 1), ("random", 0, 2), ("swarm", 1, 2)]
    campaigns.change_state(places[1].pk, CampaignState.FAILED, actor="test", reason="broken")
    services.advance(study.pk)
    assert newest(study)[1] == places[1]  # a failure is not tried again by itself
    for campaign in newest(study)[2:]:
        search(campaign, [2.0, 1.9])
    services.advance(study.pk)
    study.refresh_from_db()
    assert (study.state, study.state_reason) == ("finished", "1 of 4 campaigns did not finish")
    study = services.resume_study(study, actor="ada")
    services.advance(study.pk)
    assert study.state == "running" and newest(study)[1] != places[1] and len(newest(study)) == 4


def test_a_changed_recipe_ends_the_study_instead_of_mixing_two(monkeypatch: pytest.MonkeyPatch) -> None:
    study = launched()
    Study.objects.filter(pk=study.pk).update(plan={**study.plan, "recipe_sha256": "0" * 64}, parallel=2)
    services.advance(study.pk)
    study.refresh_from_db()
    assert study.state == "failed"
    assert "the starting recipe of parameter_golf has changed" in study.state_reason
    assert len(newest(study)) == 1


def test_a_study_is_seen_by_those_who_see_all_its_campaigns(monkeypatch: pytest.MonkeyPatch) -> None:
    study = launched(parallel=2)
    viewer = User.objects.create_user("viewer")
    assert access_study(viewer, study.slug) == study
    with pytest.raises(PermissionDenied):
        visible_studies(AnonymousUser())
    with pytest.raises(Http404):
        access_study(viewer, "none")
    one = newest(study)[0]
    monkeypatch.setattr(access.Campaign.objects, "all", lambda: Campaign.objects.exclude(pk=one.pk))
    with pytest.raises(Http404):
        access_study(viewer, study.slug)
    assert not visible_studies(viewer).exists()


def test_every_address_sends_strangers_to_the_login(client: Client) -> None:
    base = launched().get_absolute_url()
    for address in ("/studies/", base, f"{base}head.json", f"{base}report.json", f"{base}charts/by-trial.json"):
        answer = client.get(address)
        assert (answer.status_code, answer["Location"][:7]) == (302, "/login/"), address


def test_pages_tell_how_a_study_stands(client: Client) -> None:
    study = launched(parallel=2, name="<b>Bold</b>")
    first, second = newest(study)
    search(first, [2.0, 1.9, "crash"])
    search(second, [2.0, 2.1], end=False)
    client.force_login(User.objects.create_user("viewer"))
    assert "&lt;b&gt;Bold" in client.get("/studies/").content.decode()
    page = client.get(study.get_absolute_url()).content.decode()
    assert "&lt;b&gt;Bold" in page and "<b>Bold" not in page
    assert "+5.00 (+5.00 to +5.00)" in page and "1 of 2" in page and "one-sided Mann-Whitney" in page
    band = client.get(f"{study.get_absolute_url()}charts/by-trial.json").json()
    median = next(trace for trace in band["figure"]["data"] if trace["name"] == "swarm" and "customdata" in trace)
    assert median["x"] == [0, 1, 2, 3, 4] and median["y"] == pytest.approx([0, 5, 5, 5, 5])
    other = next(trace for trace in band["figure"]["data"] if trace["name"] == "random" and "customdata" in trace)
    assert (other["x"], other["y"]) == ([0, 1], [0.0, 0.0])  # it has got no further
    assert client.get(f"{study.get_absolute_url()}charts/by-hour.json").json()["table"]["rows"]
    assert client.get(f"{study.get_absolute_url()}charts/none.json").status_code == 404
    assert client.get(f"{study.get_absolute_url()}report.json").status_code == 404
    assert client.get("/studies/?before=x").status_code == 404
    assert client.get(f"{study.get_absolute_url()}head.json").json()["state"] == "running"
    reports.compute(study.pk)
    assert client.get(f"{study.get_absolute_url()}report.json").json()["campaigns"]["finished"] == 1
    fragment = client.get(study.get_absolute_url(), headers={"HX-Request": "true"}).content.decode()
    assert "too few repeats" in fragment and "<html" not in fragment


def test_a_report_is_asked_for_once(client: Client) -> None:
    study = launched()
    client.force_login(User.objects.create_user("viewer"))
    assert client.post(study.get_absolute_url()).status_code == 302
    assert reports.is_pending(study)
    assert reports.request_report(study, lambda pk: None) is False
    reports.compute(study.pk)
    assert not reports.is_pending(study)
    assert reports.request_report(study, lambda pk: None) is False  # nothing has changed since


FORM = {
    "environment": "parameter_golf", "profile": "smoke", "arms": "swarm, random", "repeats": 2, "trials": 3,
    "proposer": "catalog", "keep_rule": "strict", "hours": 1.0, "slots": 2, "parallel": 1, "seed": 0, "level": "L2",
    "test": "permutation", "alpha": 0.05, "name": "By form",
}  # fmt: skip


def test_the_form_has_every_setting_and_shows_an_error_at_its_field() -> None:
    assert set(StudyForm.base_fields) == set(StudySettings.__dataclass_fields__)
    assert StudyForm(FORM).is_valid()
    for field, value in (("arms", "swarm, oracle"), ("alpha", 2.0), ("trials", 0), ("repeats", 1000)):
        form = StudyForm({**FORM, field: value})
        assert not form.is_valid() and list(form.errors) == [field]


def test_the_admin_launches_and_steers_for_those_who_may(client: Client) -> None:
    ada = User.objects.create_user("ada", is_staff=True)
    client.force_login(ada)
    assert client.get("/admin/specialists/study/add/").status_code == 302
    assert client.post("/admin/specialists/study/add/", FORM).status_code == 302 and not Study.objects.exists()
    ada.user_permissions.add(*Permission.objects.filter(codename__in=["add_campaign", "view_campaign"]))
    assert "swarm,no-lineage,random" in client.get("/admin/specialists/study/add/").content.decode()
    refused = client.post("/admin/specialists/study/add/", {**FORM, "arms": "swarm"})
    assert "1 were named" in refused.content.decode() and not Study.objects.exists()
    made = client.post("/admin/specialists/study/add/", FORM)
    assert made.headers["Location"] == "/studies/by-form/"
    study = Study.objects.get()
    assert study.created_by == ada
    action = {"action": "cancel", "_selected_action": [study.pk]}
    client.post("/admin/specialists/study/", action)
    study.refresh_from_db()
    assert study.state == "running"  # she may not steer
    ada.user_permissions.add(*Permission.objects.filter(codename="change_campaign"))
    client.post("/admin/specialists/study/", action)
    study.refresh_from_db()
    assert (study.state, study.state_reason) == ("cancelled", "cancelled by ada")
    again = client.post("/admin/specialists/study/", action, follow=True).content.decode()
    assert "expected one that runs" in again
    client.post("/admin/specialists/study/", {**action, "action": "resume"})
    study.refresh_from_db()
    assert study.state == "running"
    assert client.post(f"/admin/specialists/study/{study.pk}/delete/").status_code == 403


def test_commands_launch_report_and_steer() -> None:
    out = StringIO()
    options = {"arms": "swarm,random", "profile": "smoke", "repeats": 1, "trials": 2, "keep_rule": "strict"}
    call_command("study", "parameter_golf", no_wait=True, json=True, stdout=out, **options)
    study = Study.objects.get()
    told = json.loads(out.getvalue())
    assert told == {"study": study.slug, "state": "running", "url": study.get_absolute_url()}
    call_command("study", "parameter_golf", no_wait=True, json=True, stdout=out, **options)
    assert Study.objects.count() == 1  # the same plan has the same name
    with pytest.raises(CommandError, match="arms: 'oracle' is unknown"):
        call_command("study", "parameter_golf", **{**options, "arms": "swarm,oracle"})
    with pytest.raises(CommandError, match=f"expected one of: {study.slug}"):
        call_command("study_report", "none")
    services.advance(study.pk)
    services.advance(study.pk)
    for scores in ([2.0, 1.0], [2.0, 1.5]):
        search(newest(study)[-1], scores)
        services.advance(study.pk)
    shown = StringIO()
    call_command("study_report", study.slug, stdout=shown)
    assert "2 of 2 campaigns finished" in shown.getvalue() and "+50.00 (+50.00 to +50.00)" in shown.getvalue()
    assert "swarm against random: n 1 and 1, too few for a test" in shown.getvalue()
    with pytest.raises(CommandError, match="is finished, expected one that runs"):
        call_command("steer_study", "cancel", study.slug)
    call_command("steer_study", "resume", study.slug, stdout=shown)
    assert f"{study.slug}: finished" in shown.getvalue()


def test_studies_exist_for_every_environment() -> None:
    for name in ("nanochat_d12", "cifar_airbench96"):
        plan = make_plan(replace(SETTINGS, environment=name, arms=("swarm", "generic", "no-lineage", "random")))
        assert [arm["name"] for arm in plan["arms"]] == ["swarm", "generic", "no-lineage", "random"]
        assert name in ENVIRONMENTS
