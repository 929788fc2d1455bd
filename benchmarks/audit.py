"""Export and verify at several sizes: seconds and memory. Time should grow with the size, memory should not.

Each size is a made-up campaign in a database of its own run; export and verify are processes of their own, so that
their peak memory is theirs alone (``ru_maxrss``; the verifier runs as it does from a bundle, without this project).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import Report, Target, at_most, run

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1_000, 100_000, 1_000_000)
QUICK = (500, 5_000)
EXPORT_MB, VERIFY_MB = 300.0, 300.0
MOST_MEMBERS = 2_000
GROWTH = 1.5
"""Seconds per trial at the largest size may be this many times those at the size before."""


def timed(command: list[str], folder: Path) -> dict[str, Any]:
    """Seconds, peak resident megabytes and last line of output of a process and its children."""
    code = (
        "import json, resource, subprocess, sys, time; began = time.monotonic(); "
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024; "
        "print(json.dumps([done.returncode, time.monotonic() - began, peak, done.stdout[-4000:], done.stderr[-2000:]]))"
    )
    environment = os.environ | {"DATA_DIR": str(folder), "DATABASE_URL": "", "BROKER_URL": ""}
    said = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    status, seconds, peak, out, err = json.loads(said.stdout)
    if status != 0:
        raise RuntimeError(f"{' '.join(command[:3])}: {err or out}")
    return {"seconds": seconds, "megabytes": peak, "out": out}


def manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def size(trials: int, folder: Path, report: Report) -> dict[str, float]:
    """One campaign of this size: a row of the report."""
    slug, path = f"audit-{trials}", folder / f"{trials}.zip"
    filled = timed(manage("fill", slug, "--trials", str(trials)), folder)
    exported = timed(manage("export_bundle", slug, "-o", str(path)), folder)
    verified = timed([sys.executable, "-I", "-S", str(ROOT / "verify_bundle.py"), str(path), "--json"], folder)
    told = json.loads(verified["out"])
    row: dict[str, Any] = {
        "trials": trials,
        "fill_s": round(filled["seconds"], 1),
        "export_s": round(exported["seconds"], 1),
        "export_mb": round(exported["megabytes"], 1),
        "verify_s": round(verified["seconds"], 1),
        "verify_mb": round(verified["megabytes"], 1),
        "bundle_mb": round(path.stat().st_size / 1e6, 1),
        "members": told["checked"]["members"],
        "ok": told["ok"],
    }
    report.rows.append(row)
    path.unlink()
    return row


def measure(report: Report) -> None:
    """Fill the report."""
    folder = Path(tempfile.mkdtemp(prefix="ar-audit-"))
    began = time.monotonic()
    try:
        rows = [size(trials, folder, report) for trials in (QUICK if report.quick else SIZES)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    before, last = rows[-2], rows[-1]
    report.targets["export_megabytes"] = at_most(last["export_mb"], EXPORT_MB)
    report.targets["verify_megabytes"] = at_most(last["verify_mb"], VERIFY_MB)
    report.targets["members"] = at_most(last["members"], MOST_MEMBERS)
    report.targets["bundles_that_do_not_verify"] = at_most(sum(not row["ok"] for row in rows), 0)
    for name in ("export", "verify"):
        growth = round((last[f"{name}_s"] / last["trials"]) / (before[f"{name}_s"] / before["trials"]), 3)
        # A process takes seconds to start: small sizes say nothing of the slope.
        report.targets[f"{name}_growth"] = Target(growth, GROWTH, None if report.quick else growth <= GROWTH)
    report.rows.append({"what": "all", "seconds": round(time.monotonic() - began, 1),
                        "own_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)})  # fmt: skip


if __name__ == "__main__":
    sys.exit(run("audit", measure))
