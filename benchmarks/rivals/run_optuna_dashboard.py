"""Fills a study through Optuna's own API: ROWS.jsonl JOURNAL. Runs in optuna-dashboard's environment.

A journal in a file, which the dashboard holds in memory: through its SQL storage ten thousand trials take half an hour.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

BYTES = 1 << 40


def trial_of(row: dict[str, object], roles: list[str]) -> FrozenTrial:
    """A finished trial; one without a score has failed."""
    scored = row["score"] is not None
    return FrozenTrial(
        number=-1, trial_id=-1, state=TrialState.COMPLETE if scored else TrialState.FAIL, value=row["score"],
        datetime_start=datetime.fromisoformat(str(row["begun"])).replace(tzinfo=None),
        datetime_complete=datetime.fromisoformat(str(row["ended"])).replace(tzinfo=None),
        params={"role": row["role"], "artifact_bytes": row["bytes"]},
        distributions={"role": CategoricalDistribution(roles), "artifact_bytes": IntDistribution(0, BYTES)},
        user_attrs={"hypothesis": row["hypothesis"], "label": row["label"]}, system_attrs={}, intermediate_values={},
    )  # fmt: skip


def main() -> None:
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    roles = sorted({str(row["role"]) for row in rows})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(sys.argv[2])), study_name="search")
    study.add_trials([trial_of(row, roles) for row in rows])
    sys.stdout.write(f"{study._study_id}\n")


if __name__ == "__main__":
    main()
