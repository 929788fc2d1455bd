"""No door to the record tells a role more than its campaign's policy allows: slice, text, sources, twins, likeness."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from specialists.models import Session
from specialists.rosters import role_from_json
from specialists.services import _request, source_reader, twin_finder
from specialists.workspace import decode
from tests.factories import ROLES, make_campaign, run_trial
from trials.lineage import LineageSlice, alike_trials, build_slice, visible_trials
from trials.models import Campaign, Trial
from trials.services.blobs import get_tree
from trials.vocab import Label

pytestmark = pytest.mark.django_db
ROLE = "architecture"
#: What the other role wrote or what was measured of it; none of it may pass where its trials are not shown.
FOREIGN = ("zebra", "quagga", "Okapi", "size_blocked", "1234 bytes over", "optimization", "2.345678", "0.345678")


def search(policy: str) -> Campaign:
    """Two roles: of ``architecture`` trials 1, 4 and 6, of ``optimization`` 2, 3 and 5; the best, 5, is foreign."""
    campaign = make_campaign(lineage=policy)
    run_trial(campaign, 2.0, parent=None)
    run_trial(campaign, 1.9, role=ROLE, hypothesis="Wider blocks with gated zebra", proposal={"transforms": ["wide"]})
    foreign = {"role": "optimization", "proposal": {"transforms": ["quagga"]}}
    run_trial(campaign, 2.345678, hypothesis="zebra rates", expected_delta=-0.5, **foreign)
    blocked = {"reason": "1234 bytes over", "hypothesis": "zebra bytes", **foreign}
    run_trial(campaign, None, Label.SIZE_BLOCKED, **blocked)
    run_trial(campaign, None, Label.SIZE_BLOCKED, role=ROLE, reason="77 bytes over", hypothesis="Blocks again")
    run_trial(campaign, 1.7, hypothesis="zebra wins by Okapi", expected_delta=-0.1, **foreign)
    run_trial(campaign, 1.75, role=ROLE, parent=5, hypothesis="Narrow blocks", expected_delta=-0.2)
    campaign.refresh_from_db()
    return campaign


def seen_of(view: LineageSlice) -> dict[str, set[int]]:
    return {name: {entry.number for entry in block} for name, block in view.blocks().items()}


def readable(campaign: Campaign, view: LineageSlice) -> set[int]:
    """Trials whose source the reader gives out, each checked to be the right one."""
    read, found = source_reader(campaign, view), set()
    for trial in Trial.objects.of(campaign.pk):
        try:
            files = read(trial.number)
        except LookupError as refused:
            assert str(refused) == f"trial {trial.number} is not in this lineage slice"
        else:
            assert files == decode(get_tree(trial.source_id))
            found.add(trial.number)
    with pytest.raises(LookupError, match="trial 999 is not in this lineage slice"):
        read(999)
    return found


def twins(campaign: Campaign) -> Mapping[int, str | None]:
    seen = twin_finder(campaign, ROLE, None)
    assert seen({"a.py": "never written\n"}) is None
    return {trial.number: seen(decode(get_tree(trial.source_id))) for trial in Trial.objects.of(campaign.pk)}


def test_shared_tells_everything() -> None:
    campaign = search("shared")
    view = build_slice(campaign, ROLE)
    assert set().union(*seen_of(view).values()) == set(range(7)) == readable(campaign, view)
    assert all(
        told.startswith(f"trial {number} has this source, it ended as ") for number, told in twins(campaign).items()
    )
    assert {one.number for one in alike_trials(campaign, ROLE, ["zebra bytes", "zebra rates"])} >= {2, 3}
    assert all(word in view.text() for word in ("zebra", "quagga", "size_blocked", "1234 bytes over"))


def test_own_role_tells_its_own_trials_and_what_the_best_measured() -> None:
    campaign = search("own-role")
    view = build_slice(campaign, ROLE)
    blocks = seen_of(view)
    assert set().union(*blocks.values()) <= {1, 4, 6}
    assert (blocks["recent"], blocks["held"], blocks["failed"]) == ({1, 4, 6}, {1}, {4, 6})
    assert (blocks["chain"], blocks["children"], blocks["alike"]) == (set(), {6}, {4})
    assert readable(campaign, view) == {0, 1, 4, 5, 6}
    assert twins(campaign)[3] == twins(campaign)[2] == "an earlier trial has this source"
    assert twins(campaign)[6] == "trial 6 has this source, it ended as discard, +0.050000 against its parent"
    assert {one.number for one in alike_trials(campaign, ROLE, ["gated zebra blocks", "zebra bytes"])} <= {1, 4, 6}
    own_words = view.text().replace("gated zebra", "").replace("size_blocked", "")
    assert not [word for word in FOREIGN if word in own_words]
    assert "best: trial 5 at 1.700000\n" in view.text()


def test_none_tells_what_the_best_measured_and_nothing_else() -> None:
    campaign = search("none")
    view = build_slice(campaign, ROLE, up_to=6)
    assert set().union(*seen_of(view).values()) == set()
    assert [entry.number for entry in view.entries()] == [5]
    assert readable(campaign, view) == {0, 5}
    assert [number for number, told in twins(campaign).items() if told and str(number) in told] == [0, 5]
    assert twins(campaign)[1] == "an earlier trial has this source"
    assert alike_trials(campaign, ROLE, ["gated zebra blocks", "zebra bytes"]) == []
    assert not visible_trials(campaign, ROLE).exists()
    told = view.text() + repr(view)
    assert not [word for word in (*FOREIGN, "wide", "Blocks", "77 bytes", "zebra") if word in told]
    numbers = [f"{number:04d} |" for number in range(10)]
    assert not [number for number in numbers if number in view.text()]
    assert view.foretold is None and view.since_best is None and view.quiet == 0


@pytest.mark.parametrize("policy", ["own-role", "none"])
def test_a_request_holds_no_other_door_to_the_record(policy: str) -> None:
    """The slice, three doors that ask the policy, two that tell nothing, and facts of the campaign."""
    campaign = search(policy)
    view = build_slice(campaign, ROLE)
    session = Session(campaign=campaign, number=0, role=ROLE, seed=1)
    request = _request(campaign, session, role_from_json(ROLES[0]), view)
    plain = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    assert {name for name, value in plain.items() if callable(value)} == {
        "read_source",
        "seen",
        "similar",
        "held",
        "keep",
    }
    told = repr({name: value for name, value in plain.items() if not callable(value)}).replace("gated zebra", "")
    assert not [word for word in FOREIGN if word in told.replace("size_blocked", "")]
    for number in (2, 3):
        with pytest.raises(LookupError):
            request.read_source(number)
