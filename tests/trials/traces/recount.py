"""Figures of a released run counted from its rows alone, by the paper's definitions; nothing of the project is used."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

SCORED = ("keep", "discard")


def recount(rows: Sequence[Mapping[str, str]], score: str) -> dict[str, Any]:
    """Figures of a table whose first row is the baseline, under the names that the report has for them."""
    start, trials = rows[0], rows[1:]
    keeps = [row for row in trials if row["status"] == "keep"]
    times = [datetime.fromisoformat(row["timestamp"]) for row in trials]
    roles = {_number(row["exp_id"]): row["specialist"] for row in rows}
    followed = [(row["specialist"], _number(row["parent_exp"])) for row in keeps if _number(row["parent_exp"]) > 0]
    first, best = float(start[score]), float(keeps[-1][score] if keeps else start[score])
    seconds = sum(float(row["total_s"] or 0) * float(row.get("n_seeds") or 1) for row in trials)
    return {
        "trials": len(trials),
        "keeps": len(keeps),
        "labels": dict(Counter(row["status"] for row in trials)),
        "start": first,
        "best": best,
        "relative_change_pct": 100 * (best - first) / abs(first),
        "frontier": [(_number(row["exp_id"]), float(row[score]), row["specialist"]) for row in keeps],
        "trials_per_hour": 3600 * len(trials) / (times[-1] - times[0]).total_seconds(),
        "cross_role_keep_parent": {"n": sum(role != roles[above] for role, above in followed), "of": len(followed)},
        "infrastructure_failures": sum(
            row["status"] == "harness_abort"
            or (row["status"] in ("crash", "preflight_crash") and "sync failure" in row["notes"])
            for row in trials
        ),
        "machine_hours": seconds / 3600,
        "diversity": diversity([row["hypothesis"] for row in trials]),
    }


def _number(text: str) -> int:
    return int(text.removeprefix("exp_") or 0)


def diversity(hypotheses: Sequence[str]) -> tuple[float, float, float]:
    """Effective clusters, share of the largest, share of near-duplicates."""
    texts = [re.split("</hypothesis>", text)[0] for text in hypotheses]
    pattern = r"[a-zA-Z][a-zA-Z0-9_+-]+"
    vectorizer = TfidfVectorizer(token_pattern=pattern, stop_words="english", sublinear_tf=True)
    vectors = vectorizer.fit_transform(texts).toarray()
    sums: list[np.ndarray[Any, Any]] = []
    sizes: list[int] = []
    for vector in vectors:
        likeness = [float(total @ vector) / (float(np.linalg.norm(total)) or 1.0) for total in sums]
        nearest = int(np.argmax(likeness)) if likeness else -1
        if likeness and likeness[nearest] >= 0.30:
            sums[nearest] = sums[nearest] + vector
            sizes[nearest] += 1
        else:
            sums.append(vector)
            sizes.append(1)
    shares = [size / len(vectors) for size in sizes]
    near = np.triu(vectors @ vectors.T, 1).max(axis=0) >= 0.70
    clusters = math.exp(-sum(share * math.log(share) for share in shares))
    return clusters, max(shares), float(near.sum()) / (len(vectors) - 1)
