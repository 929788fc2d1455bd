"""A thousand tamperings of bundles and a hundred honest bundles: what is missed, and what is a false alarm?

Bundles of campaigns by both keep rules, in both directions, of a released run, redacted, and imported. Half of the
tamperings change the file's bytes; the others change what it says (an event, a label, a source, a table, a member)
and make everything fit that fits without the key: hashes, chain, index, manifest, container. The signer's key is
pinned. Beside that the same changes are signed by a stranger and verified without a pin: what is found then follows
from the measurements and the rules alone. Seeded; the campaigns are made through the services, nothing is measured.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

from benchmarks.report import Report, at_most, run

_FOLDER = tempfile.TemporaryDirectory(prefix="ar-tamper-")
os.environ |= {"DATA_DIR": _FOLDER.name, "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings"}
django.setup()

from autoresearch_site.bootstrap import migrate_embedded  # noqa: E402 - Django first
from autoresearch_site.local import ensure_servers  # noqa: E402
from tests.bundles import tampering  # noqa: E402
from tests.bundles.records import exported  # noqa: E402
from tests.bundles.searches import Search  # noqa: E402
from tests.trials.traces.runs import DATA  # noqa: E402
from trials.bundles.redaction import PROFILES  # noqa: E402
from trials.models import Campaign  # noqa: E402
from trials.services.imports import import_bundle  # noqa: E402
from trials.services.keys import adopt_key  # noqa: E402
from trials.services.traces import import_trace  # noqa: E402
from trials.traces.folder import read_trace  # noqa: E402
from trials.traces.layouts import layout_of  # noqa: E402

ROOM = Path(_FOLDER.name)
TAMPERINGS, HONEST = 1_000, 100
QUICK_TAMPERINGS, QUICK_HONEST = 200, 24
STEPS = 40
SEARCHES = (
    ("parameter_golf", "strict"), ("parameter_golf", "verified"), ("nanochat_d12", "strict"),
    ("nanochat_d12", "verified"), ("cifar_airbench96", "strict"), ("cifar_airbench96", "verified"),
)  # fmt: skip
RUNS = {
    "cifar_airbench96": "cifar_airbench96",
    "pg_lineage_on": "parameter_golf",
    "pg_damaged_sample": "parameter_golf",
}


def searched(seed: int, environment: str, rule: str) -> Campaign:
    """A whole search."""
    search = Search(seed, environment, keep_rule=rule, enforcement="advisory")
    for _ in range(STEPS):
        search.step()
    return search.end()


def released(name: str) -> Campaign:
    return import_trace(read_trace(DATA / name, layout_of(RUNS[name])), name)


def victims() -> dict[str, Path]:
    """The bundles that are tampered with."""
    golf = searched(1, "parameter_golf", "strict")
    made = {
        "rule strict": exported(golf, ROOM, "strict.zip"),
        "rule verified": exported(searched(2, "parameter_golf", "verified"), ROOM, "verified.zip"),
        "higher is better": exported(searched(3, "nanochat_d12", "strict"), ROOM, "higher.zip"),
        "released run": exported(released("cifar_airbench96"), ROOM, "released.zip"),
        "redacted": exported(golf, ROOM, "redacted.zip", list(PROFILES)),
    }
    taken = import_bundle(made["rule verified"], actor="benchmark")
    return made | {"imported": exported(taken.campaign, ROOM, "imported.zip")}


def honest(count: int) -> Iterator[tuple[str, Path]]:
    """So many honest bundles, each with what it is of; all but a few of searches at some moment, open ones included."""
    draw, path, made = random.Random(7), ROOM / "honest.zip", 0
    for name in RUNS:
        for profiles in ([], list(PROFILES)):
            made += 1
            yield f"{name} {profiles}", exported(released(name), ROOM, path.name, profiles)
    seed = 100
    while made < count:
        environment, rule = SEARCHES[seed % len(SEARCHES)]
        search = Search(seed, environment, keep_rule=rule, enforcement="advisory")
        moments = draw.randint(3, 6)
        for moment in range(min(moments, count - made)):
            for _ in range(draw.randint(0, 24)):
                search.step()
            if moment == moments - 1:
                search.end()
            profiles = [name for name in PROFILES if draw.random() < 0.2]
            made += 1
            yield (
                f"search {seed} {environment} {rule}, moment {moment}, {profiles}",
                exported(search.campaign, ROOM, path.name, profiles),
            )
        seed += 1


def measure(report: Report) -> None:
    """Fill the report."""
    ensure_servers()
    migrate_embedded()
    began, key, draw = time.monotonic(), adopt_key("benchmark").public, random.Random(11)
    bundles = victims()
    count = QUICK_TAMPERINGS if report.quick else TAMPERINGS
    missed: list[str] = []
    kinds: Counter[str] = Counter()
    about, named = Counter[str](), Counter[str]()
    by_stranger, derived = Counter[str](), Counter[str]()
    names, path = list(tampering.TAMPERS), ROOM / "tampered.zip"
    for number in range(count):
        of = list(bundles)[number % len(bundles)]
        data = bundles[of].read_bytes()
        if number % 2:
            path.write_bytes(tampering.raw(draw, data))
            kind, trial = "bytes of the file", None
            if path.read_bytes() == data:  # a block of equal bytes was moved
                path.write_bytes(data + b"\0")
        else:
            kind = names[number // 2 % len(names)]
            members = tampering.read(bundles[of])
            changed, trial = tampering.TAMPERS[kind](draw, members)
            tampering.write(path, changed, sign=False)
            if path.read_bytes() == data:
                raise AssertionError(f"{kind} changed nothing in {of}")
        found = tampering.is_found(path, [key])
        kinds[kind] += 1
        if found is None:
            missed.append(f"{number}: {kind}, {of}")
        elif trial is not None:
            about[kind] += 1
            named[kind] += any(failure["trial"] == trial for failure in found["failures"])
        if not number % 2 and {"events.jsonl", "head.json"} <= set(changed) and changed["events.jsonl"]:
            by_stranger[kind] += 1
            tampering.write(path, changed, sign=True)
            derived[kind] += tampering.is_found(path, []) is not None
    alarms = [
        f"{what}: {alarm['failures'][0]}"
        for what, one in honest(QUICK_HONEST if report.quick else HONEST)
        if (alarm := tampering.is_found(one, [key])) is not None
    ]
    for kind, times in kinds.items():
        row: dict[str, Any] = {"tampering": kind, "times": times}
        if about[kind]:
            row |= {"about a trial": about[kind], "trial named": named[kind]}
        if by_stranger[kind]:
            row |= {"signed by a stranger": by_stranger[kind], "found without a pin": derived[kind]}
        report.rows.append(row)
    report.rows += [{"missed": what} for what in missed] + [{"false alarm": what} for what in alarms]
    report.rows.append({"bundles": ", ".join(f"{of} {path.stat().st_size:,} B" for of, path in bundles.items()),
                        "honest": QUICK_HONEST if report.quick else HONEST,
                        "seconds": round(time.monotonic() - began, 1)})  # fmt: skip
    report.targets["tamperings_missed"] = at_most(len(missed), 0)
    report.targets["false_alarms"] = at_most(len(alarms), 0)
    unfollowed = sum(by_stranger[kind] - derived[kind] for kind in tampering.FOLLOW)
    report.targets["derivable_and_not_found_without_a_pin"] = at_most(unfollowed, 0)


if __name__ == "__main__":
    sys.exit(run("tamper", measure))
