"""Fills an experiment through MLflow's own client, one run a trial: ROWS.jsonl DATABASE. In MLflow's environment.

While it fills, SQLite does not wait for the disk: ten thousand runs are forty thousand transactions.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from sqlalchemy import Engine, event


@event.listens_for(Engine, "connect")
def _hurry(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def main() -> None:
    client = MlflowClient(f"sqlite:///{sys.argv[2]}")
    experiment = client.create_experiment("search")
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        begun, ended = (int(1000 * datetime.fromisoformat(row[name]).timestamp()) for name in ("begun", "ended"))
        run = client.create_run(experiment, begun, run_name=f"trial {row['number']}").info.run_id
        scores = [] if row["score"] is None else [Metric("score", row["score"], ended, 0)]
        client.log_batch(
            run, metrics=[*scores, Metric("artifact_bytes", row["bytes"], ended, 0)],
            params=[Param("role", row["role"])],
            tags=[RunTag("hypothesis", row["hypothesis"]), RunTag("label", row["label"])],
        )  # fmt: skip
        client.set_terminated(run, "FAILED" if row["score"] is None else "FINISHED", ended)
    sys.stdout.write(f"{experiment}\n")


if __name__ == "__main__":
    main()
