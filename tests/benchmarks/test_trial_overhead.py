"""The pieces of the benchmark of an empty trial do what they are said to measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report, trial_overhead
from evaluators.sandbox import reach


def test_an_empty_trial_goes_the_whole_way() -> None:
    found = trial_overhead.empty_trial(reach(start="warm"))
    assert {"project", "train", "spell", "predict", "probe"} <= set(found.seconds)
    assert found.score == pytest.approx(8.0)  # nothing is known of a byte


def test_a_missed_target_is_the_exit_status_and_results_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)

    def measure(found: report.Report, value: float) -> None:
        found.rows.append({"what": "one", "wall_ms": report.spread([1.0, 2.0, 3.0])})
        found.targets["wall_ms"] = report.at_most(value, 2.0)

    assert report.run("some", lambda found: measure(found, 2.0), ["--quick", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads((tmp_path / "some.json").read_text())
    assert said["rows"][0]["wall_ms"] == {"median": 2.0, "low": 1.0, "high": 3.0, "repeats": 3}
    assert said["targets"] == {"wall_ms": {"value": 2.0, "target": 2.0, "ok": True}}
    assert report.run("some", lambda found: measure(found, 2.1), []) == 1
    assert "MISSED" in capsys.readouterr().out
