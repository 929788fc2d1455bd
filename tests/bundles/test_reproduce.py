"""A trial of a bundle runs again: in real sandboxes, from the bundle alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from evaluators.environments.parameter_golf import ParameterGolf
from evaluators.preflight import read_recipe
from evaluators.recording import as_record
from evaluators.registry import get_environment
from evaluators.reproduce import not_comparable
from evaluators.services import judge
from tests.bundles.records import exported, golf_campaign, small_record
from tests.factories import start, submit
from trials.services import leases, outcomes

pytestmark = pytest.mark.django_db


def run(path: Path, trial: int, *arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("reproduce", str(path), str(trial), "--json", *arguments, stdout=out)
    told: dict[str, Any] = json.loads(out.getvalue())
    return told


def test_the_start_gives_its_score_again_to_the_bit(tmp_path: Path) -> None:
    environment = get_environment("parameter_golf")
    assert isinstance(environment, ParameterGolf)
    profile, source = environment.spec.profiles["smoke"], read_recipe(environment.spec, "smoke")
    campaign = golf_campaign()
    order = start(submit(campaign, parent=None, files=source, surface=()))
    measured = environment.measure(
        source, profile=profile, seed=order.seed, split="validation", level="L3", report=lambda _: None
    )
    body = as_record(measured)
    assert leases.post_measurement(order.pk, order.attempt, body, measured.log)
    assert outcomes.record_outcome(order.pk, judge(campaign, body))
    told = run(exported(campaign, tmp_path), 0)
    assert told["recorded"] == told["measured"] and told["recorded"]["label"] == "valid"
    assert (told["difference"], told["within_noise"], told["not_comparable"]) == (0.0, True, [])


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    """Trial 3 of this record is a crash of a recipe that is none: it fails here before anything runs."""
    told = run(exported(small_record(), tmp_path), 3)
    assert told["recorded"]["label"] == "crash" and told["measured"]["label"] == "preflight_crash"
    assert (told["difference"], told["within_noise"]) == (None, None)
    assert "the evaluator's code is another one here" in told["not_comparable"]
    ours = {"fingerprint": {"cpu": "a", "cores": 2}, "evaluator_sha256": "1", "data_sha256": {"x": "1"}}
    assert not_comparable(ours, ours) == []
    theirs = ours | {"fingerprint": {"cpu": "b", "cores": 2}, "data_sha256": {"x": "2"}}
    assert not_comparable(ours, theirs) == ["another machine: cpu b instead of a", "the data are others here"]


def test_refusals_are_one_line(tmp_path: Path) -> None:
    campaign = small_record()
    path, bare = exported(campaign, tmp_path), exported(campaign, tmp_path, "bare.zip", profiles=["sources"])
    for file, trial, expected in (
        (path, 99, "trial 99 is not in"),
        (path, 6, "trial 6 is cancelled, expected a finished one"),
        (bare, 1, "the bundle withholds a.py, expected the sources"),
        (tmp_path / "none.zip", 1, "No such file"),
    ):
        with pytest.raises(CommandError, match=expected) as refused:
            run(file, trial)
        assert len(str(refused.value).splitlines()) == 1
    path.write_bytes(path.read_bytes().replace(b"Idea 1 should", b"Idea 1 shoult"))
    with pytest.raises(CommandError, match="does not verify"):
        run(path, 1)
