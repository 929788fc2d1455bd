"""Honest bundles of searches at random, at random moments: no alarm, and the same bytes out, in and out again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.bundles.records import exported, verified
from tests.bundles.searches import Search, judged_labels
from trials.bundles.redaction import PROFILES
from trials.services.imports import import_bundle
from trials.vocab import KeepRule

pytestmark = pytest.mark.django_db
KINDS = [
    ("parameter_golf", KeepRule.VERIFIED),
    ("nanochat_d12", KeepRule.STRICT),
    ("cifar_airbench96", KeepRule.VERIFIED),
]


@pytest.mark.parametrize("environment,rule", KINDS)
def test_no_false_alarm_at_any_moment_of_a_search(environment: str, rule: KeepRule, tmp_path: Path) -> None:
    seed = len(environment)
    search = Search(seed, environment, keep_rule=rule, enforcement="advisory")
    draw = random.Random(seed)
    for moment in range(5):
        for _ in range(14):
            search.step()
        if moment == 4:
            search.end()
        profiles = draw.choice([[], [], [draw.choice(PROFILES)], list(PROFILES)])
        path = exported(search.campaign, tmp_path, f"{moment}.zip", profiles)
        assert verified(path)["failures"] == [], (moment, profiles)
    assert len(judged_labels(search.campaign)) >= 3
    taken = import_bundle(path, actor="test")
    assert exported(taken.campaign, tmp_path, "again.zip").read_bytes() == path.read_bytes()
