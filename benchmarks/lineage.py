"""What it costs to record one trial and to render one lineage slice in a search of a thousand to a million trials.

One made-up search grows in a database of its own. At each size trials are recorded through the services as the site
does it (submit, claim, post, record, with events and live messages), slices are built and written out, and the loop's
situation is read. Counted are CPU milliseconds of this process and of its database process; not of the database's
writers in the background, nor of the broker.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

from benchmarks.report import Report, Target, at_most, run, spread

if "DATA_DIR" not in os.environ:
    _FOLDER = tempfile.TemporaryDirectory(prefix="ar-bench-")
    os.environ["DATA_DIR"] = _FOLDER.name
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")
django.setup()

from django.db import connection  # noqa: E402 - Django first
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from autoresearch_site.bootstrap import migrate_embedded  # noqa: E402
from autoresearch_site.local import ensure_servers  # noqa: E402
from evaluators.environments.parameter_golf.spec import SPEC  # noqa: E402
from evaluators.preflight import read_recipe  # noqa: E402
from specialists.rosters import PAPER_TEN  # noqa: E402
from specialists.situation import situation  # noqa: E402
from trials.lineage import build_slice, tokens  # noqa: E402
from trials.models import Campaign, Evaluation, Trial  # noqa: E402
from trials.services import bulk, campaigns, leases, outcomes, shares, submissions  # noqa: E402
from trials.synthetic import Plan, Search  # noqa: E402
from trials.vocab import CampaignState, Direction  # noqa: E402

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = SIZES[:3]
REPEATS, WARM = 40, 10
#: Seconds that a made-up trial takes; a million of them with ten slots are two months.
SECONDS, SLOTS = 60.0, 10
RATIO, TOGETHER_MS = 1.5, 25.0


@dataclass(frozen=True)
class Cost:
    """Milliseconds: wall-clock, CPU of this process, CPU of its database process."""

    wall: float
    server: float
    database: float

    @property
    def cpu(self) -> float:
        return self.server + self.database


def database_cpu(pid: int) -> float:
    """CPU milliseconds of a process so far, to the nanosecond where the kernel keeps them so."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except (OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 1000.0 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def costs(act: Callable[[int], Any], pid: int) -> list[Cost]:
    """One cost for each repeat, after some that are not counted."""
    found = []
    for turn in range(WARM + REPEATS):
        wall, own, its = time.monotonic(), time.process_time(), database_cpu(pid)
        act(turn)
        spent = Cost(
            1000 * (time.monotonic() - wall), 1000 * (time.process_time() - own), database_cpu(pid) - its
        )  # fmt: skip
        if turn >= WARM:
            found.append(spent)
    return found


class Recorder:
    """Records trials of a real recipe, one after the other, as the services do."""

    def __init__(self, campaign: Campaign, search: Search) -> None:
        self.campaign, self.recipe, self.search = campaign, read_recipe(SPEC, "cpu"), search

    def record(self, _: int) -> None:
        """One trial from submission to outcome; a discard, so that the search stays as it is."""
        number = self.campaign.last_number + 1
        role = PAPER_TEN.roles[number % len(PAPER_TEN.roles)]
        name, best = role.surface[0], self.campaign.best_trial
        assert best is not None
        files = {**self.recipe, name: self.recipe[name] + f"\n# {number}\n".encode()}
        submission = submissions.Submission(
            role.name, f"Widen value projections per layer at {number}, so that longer contexts pay off.", files,
            f"--- a/{name}\n+++ b/{name}\n@@ -1 +1,2 @@\n+# {number}\n", f"role: {role.name}\nbest: {number}\n",
            best.number, self.campaign.seed, -0.01, {"transforms": ["widen-value-projections:0.5"]}, role.surface,
        )  # fmt: skip
        trial = submissions.submit_trial(self.campaign.pk, submission, actor="benchmark", enqueue=lambda order: None)
        order = Evaluation.objects.only("pk", "device").get(trial=trial)
        chance = next(chance for chance in shares.waiting(order.device, order.pk) if chance.order == order.pk)
        assert leases.claim_evaluation(order.pk, "benchmark", chance) is not None
        score = float(self.campaign.best_score or 0.0) + 0.05
        body = {
            "status": "ok", "reason": "", "seed": 0, "split": "validation", "score": score,
            "numbers": {"train_units": 599},
            "code_bytes": 21_000, "payload_bytes": 240_000, "train_units": 599, "eval_units": 40,
            "seconds": {"train": 0.01, "predict": 0.001}, "isolation": {"level": "L3"}, "fingerprint": {},
            "score_source": "evaluator", "excerpt": "",
        }  # fmt: skip
        assert leases.post_measurement(order.pk, 1, body, b"benchmark\n")
        assert outcomes.record_outcome(order.pk, outcomes.Verdict("valid", "", score, {"train_units": 599})) is not None
        self.campaign.last_number = number


def made_up(trials: int) -> tuple[Campaign, Plan]:
    """An empty campaign and the plan of its search; it began long enough ago for ``trials``."""
    began = timezone.now() - timedelta(seconds=trials * SECONDS * 1.1 / SLOTS + 86_400)
    plan = campaigns.CampaignPlan(
        name="Lineage benchmark", environment=SPEC.name, profile="cpu",
        spec=SPEC.as_json("cpu") | {"synthetic": {"seed": 0}}, roster=PAPER_TEN.name,
        roles=[role.as_json() for role in PAPER_TEN.roles], proposer="catalog", lineage="shared", keep_rule="strict",
        minimum_level="", seed=0, reproducible=False, max_trials=10_000_000, max_hours=1e6, slots=SLOTS,
        no_improvement_hours=1e6,
    )  # fmt: skip
    campaign = campaigns.create_campaign(plan, actor="benchmark", at=began, ended="made up: nothing was measured")
    surfaces = {role.name: role.surface for role in PAPER_TEN.roles}
    limits = campaign.spec["profile"]["limits"]
    return campaign, Plan(
        seed=0, surfaces=surfaces, files=[*SPEC.files, *SPEC.joins], direction=Direction(campaign.direction), start=2.5,
        begins=began, slots=SLOTS, seconds=SECONDS, limits=limits,
    )  # fmt: skip


def grow(campaign: Campaign, plan: Plan, size: int) -> tuple[Campaign, Search, float]:
    """The campaign with ``size`` trials, and the seconds that this took."""
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.STOPPED)
    campaign = Campaign.objects.select_related("best_trial").get(pk=campaign.pk)
    newest = Trial.objects.of(campaign.pk).finished().newest(1).values_list("finished_at", flat=True).first()
    if campaign.best_score is not None:
        best = campaign.best_trial
        plan = replace(
            plan, first=campaign.last_number + 1, best=0 if best is None else best.number,
            best_score=campaign.best_score, start=campaign.start_score or plan.start,
            begins=max(plan.begins, newest or plan.begins),
        )  # fmt: skip
    search, begun = Search(plan), time.monotonic()
    missing = size - campaign.last_number - 1
    if missing > 0:
        bulk.load(campaign.pk, search, missing, actor="benchmark", say=lambda done: _say(size, done, missing))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) trials_trial, trials_hypothesiskey, trials_evaluation, trials_measurement")
        cursor.execute("CHECKPOINT")
    took = time.monotonic() - begun
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.RUNNING)
    return Campaign.objects.select_related("best_trial").get(pk=campaign.pk), search, took


def _say(size: int, done: int, missing: int) -> None:
    if done % 50_000 < bulk.WAVE:
        sys.stderr.write(f"lineage: to {size} trials: {done} of {missing} loaded\n")


def measured(campaign: Campaign, search: Search, size: int, loaded: float) -> dict[str, Any]:
    """One row: medians and quartiles of everything at this size."""
    pid, roles = backend(), [role.name for role in PAPER_TEN.roles]
    recorded = costs(Recorder(campaign, search).record, pid)
    fresh = Campaign.objects.get(pk=campaign.pk)
    rendered = costs(lambda turn: build_slice(fresh, roles[turn % len(roles)]).text(), pid)
    decided = costs(lambda _: situation(fresh), pid)
    with CaptureQueriesContext(connection) as queries:
        view = build_slice(fresh, roles[0])
    best = view.chain[-1] if view.chain else None
    depth = 0 if best is None else Trial.objects.of(fresh.pk).get(number=best.number).depth
    together = [one.cpu + two.cpu for one, two in zip(recorded, rendered, strict=True)]
    row: dict[str, Any] = {"trials": size, "together_cpu_ms": spread(together)}
    for name, found in (("record", recorded), ("slice", rendered), ("situation", decided)):
        row |= {
            f"{name}_server_ms": spread([cost.server for cost in found]),
            f"{name}_database_ms": spread([cost.database for cost in found]),
            f"{name}_wall_ms": spread([cost.wall for cost in found]),
        }
    row |= {"slice_queries": len(queries), "slice_tokens": tokens(view.text()), "depth_of_best": depth}
    return row | {"loaded_s": round(loaded, 1), "load_average": round(os.getloadavg()[0], 1)}


def measure(report: Report) -> None:
    """Grow, measure, grow again."""
    ensure_servers()
    migrate_embedded()
    sizes = QUICK_SIZES if report.quick else SIZES
    campaign, plan = made_up(sizes[-1])
    for size in sizes:
        campaign, search, loaded = grow(campaign, plan, size)
        report.rows.append(measured(campaign, search, size, loaded))
        sys.stderr.write(f"lineage: {size} trials measured\n")
    first, last = (float(row["together_cpu_ms"]["median"]) for row in (report.rows[0], report.rows[-1]))
    report.targets["last_over_first"] = _full(report, at_most(round(last / first, 3), RATIO))
    report.targets["together_cpu_ms"] = _full(report, at_most(last, TOGETHER_MS))


def _full(report: Report, target: Target) -> Target:
    return replace(target, ok=None) if report.quick else target


if __name__ == "__main__":
    raise SystemExit(run("lineage", measure))
