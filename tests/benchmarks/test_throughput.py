"""The benchmarks of throughput and of growth count whole searches of a real site, and say what they were meant to."""

from __future__ import annotations

from benchmarks import growth, throughput
from benchmarks.report import Report
from benchmarks.toy_site import ToySite


def test_bare_round_trips_are_counted(toy_site: ToySite) -> None:
    bare = throughput.round_trip(toy_site, toy_site.redis, 30)
    assert bare.trials == 30 and bare.wall_ms > 0 and bare.cpu_ms > 0


def test_many_trials_are_compared_over_windows_of_equal_width(toy_site: ToySite) -> None:
    report = Report("growth", True)
    growth.many(report, toy_site, 40)
    first, last, whole = report.rows
    assert (first["size"], last["size"], whole["verified"]) == (20, 40, True)
    assert first["count"] >= 1 and last["count"] >= 1 and first["workers_mb"] > 0
    assert growth.windows(100_000) == [(2_000, 1_000), (10_000, 1_000), (100_000, 1_000)]
    assert growth.windows(400) == [(200, 100), (400, 100)]


def test_a_line_grows_by_its_best_and_its_record_is_whole(toy_site: ToySite) -> None:
    report = Report("growth", True)
    growth.deep(report, toy_site, 50)
    rows = {row["what"]: row for row in report.rows}
    for length in (5, 50):
        whole = rows[f"line of {length}, whole record"]
        assert (whole["verified"], whole["violations"]) == (True, [])
    assert {"reading: lineage", "reading: slice", "reading: rebase", "reading: trial"} <= rows.keys()
    with toy_site.connection() as connection:
        deepest = connection.execute(
            "SELECT max(depth), count(*) FILTER (WHERE label = 'keep') FROM trials_trial "
            "GROUP BY campaign_id ORDER BY 1 DESC LIMIT 1"
        ).fetchone()
    assert deepest == (50, 50)
    assert (report.targets["line of 50_unsound"].value, report.targets["line_reads"].ok) == (0, None)


def test_campaigns_at_once_all_advance(toy_site: ToySite) -> None:
    report = Report("growth", True)
    growth.crowd(report, toy_site, 4, 3)
    [row] = report.rows
    assert row["campaigns"] == 4 and row["count"] >= 12
    assert row["tick_ms"] > 0 and row["workers_ms"] > 0
    assert report.targets["campaigns_least_share"].value is not None
