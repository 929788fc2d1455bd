"""What a study fixes before its first campaign: arms, seeds, budget, and the test that will compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evaluators.contract import EnvironmentSpec
from specialists import launch
from specialists.launch import LaunchError, LaunchSettings
from specialists.roster_store import rosters_of
from specialists.rosters import GENERIC_TEN, SINGLE
from specialists.vocab import ProposerName
from trials.canonical import sha256_of
from trials.services.blobs import tree_sha256
from trials.vocab import LineagePolicy

MAX_ARMS, MAX_REPEATS, MAX_PARALLEL = 12, 100, 64
ROSTER = "roster:"
CATALOG_VS_LLM = "catalog-vs-llm"
MANN_WHITNEY, PERMUTATION = "mann-whitney", "permutation"
#: Tests that a study may name, in words for its page.
TESTS = {
    MANN_WHITNEY: "one-sided Mann-Whitney test, exact by permutation",
    PERMUTATION: "one-sided permutation test of the difference of means",
}
ARMS = {
    "swarm": "the environment's specialists, all evidence shared",
    "generic": "ten generalists, all evidence shared",
    "single": "one generalist, one trial at a time",
    "no-lineage": "the specialists, none sees another trial than the best",
    "own-role": "the specialists, each sees its own trials",
    "random": "the specialists, edits of the catalogue drawn at random on the best",
    "catalog": "the specialists with the catalogue",
    "llm": "the specialists with a language model",
}


class StudyError(ValueError):
    """A study cannot be launched or steered: ``field`` names the setting, the message what was expected."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


@dataclass(frozen=True)
class StudySettings:
    """What a person chooses.

    arms: names of ARMS, ``catalog-vs-llm`` or ``roster:NAME``, the one on trial first; proposer: of every arm that does
    not name its own; trials, hours, slots, usd: of each campaign; seed: of the first repeat, the others follow;
    parallel: campaigns at once; alpha: the error that all comparisons together may make.
    """

    environment: str
    arms: tuple[str, ...]
    repeats: int = 5
    trials: int = 40
    profile: str = "cpu"
    proposer: str = ProposerName.CATALOG
    keep_rule: str = ""
    hours: float = 24.0
    slots: int = 2
    seed: int = 0
    reproducible: bool = False
    level: str = "L2"
    usd: float | None = None
    parallel: int = 1
    test: str = MANN_WHITNEY
    alpha: float = 0.05
    name: str = ""


@dataclass(frozen=True)
class Arm:
    """What one arm differs in; the rest is the same in all of them."""

    name: str
    about: str
    roster: str
    lineage: str
    proposer: str
    slots: int

    @property
    def differs(self) -> tuple[object, ...]:
        return self.roster, self.lineage, self.proposer, self.slots


def make_plan(chosen: StudySettings) -> dict[str, Any]:
    """The plan as JSON. Raises StudyError for the first setting that cannot be used, in whichever arm."""
    _between("repeats", chosen.repeats, 1, MAX_REPEATS)
    _between("parallel", chosen.parallel, 1, MAX_PARALLEL)
    _between("seed", chosen.seed, 0, 2**31 - 1 - MAX_REPEATS)
    if not 0.0 < chosen.alpha < 1.0:
        raise StudyError("alpha", f"{chosen.alpha} is out of range, expected more than 0 and less than 1")
    if chosen.test not in TESTS:
        raise StudyError("test", f"{chosen.test!r} is unknown, expected one of {', '.join(TESTS)}")
    try:
        environment, default, start = launch.validate(_base(chosen, slots=chosen.slots))
    except LaunchError as error:
        raise StudyError(error.field, error.message) from error
    arms = _arms(chosen, environment.spec, default.name)
    shared = {
        "environment": chosen.environment,
        "profile": chosen.profile,
        "spec_sha256": sha256_of(launch.frozen_spec(environment.spec, chosen.profile)),
        "recipe_sha256": tree_sha256(start.files),
        "keep_rule": launch.keep_rule_of(_base(chosen), environment.spec),
        "level": chosen.level,
        "trials": chosen.trials,
        "hours": chosen.hours,
        "reproducible": chosen.reproducible,
        "usd": chosen.usd,
    }
    plan = shared | {
        "arms": [asdict(arm) for arm in arms],
        "repeats": chosen.repeats,
        "seeds": [chosen.seed + repeat for repeat in range(chosen.repeats)],
        "test": {
            "name": chosen.test,
            "measure": "gain_pct",
            "alternative": "greater",
            "arm": arms[0].name,
            "against": [arm.name for arm in arms[1:]],
            "correction": "holm",
            "alpha": chosen.alpha,
        },
    }
    for arm in arms:
        try:
            launch.validate(launch_settings(plan, arm.name, 0, name=""))
        except LaunchError as error:
            raise StudyError("arms" if error.field == "roster" else error.field, f"{arm.name}: {error}") from error
    return plan


def _base(chosen: StudySettings, **changes: Any) -> LaunchSettings:
    """The settings of the study as those of one campaign with the default roster."""
    proposer = chosen.proposer if chosen.proposer != ProposerName.LLM else ProposerName.CATALOG
    settings = LaunchSettings(
        environment=chosen.environment,
        profile=chosen.profile,
        proposer=proposer,
        keep_rule=chosen.keep_rule,
        trials=chosen.trials,
        hours=chosen.hours,
        no_improvement_hours=chosen.hours,
        seed=chosen.seed,
        reproducible=chosen.reproducible,
        level=chosen.level,
    )
    return replace(settings, **changes)


def _arms(chosen: StudySettings, spec: EnvironmentSpec, default: str) -> list[Arm]:
    """Arms in the order in which they were named. Raises StudyError."""
    found: list[Arm] = []
    for name in chosen.arms:
        if name == CATALOG_VS_LLM:
            both = (_arm(each, chosen, spec, default) for each in ("catalog", "llm"))
            known = {arm.differs for arm in found}
            found += [arm for arm in both if arm.differs not in known]
        else:
            found.append(_arm(name, chosen, spec, default))
    for at, arm in enumerate(found):
        twin = next((other for other in found[:at] if other.differs == arm.differs), None)
        if twin is not None:
            raise StudyError("arms", f"{twin.name} and {arm.name} are the same here, expected arms that differ")
    if not 2 <= len(found) <= MAX_ARMS:
        raise StudyError("arms", f"{len(found)} were named, expected 2 to {MAX_ARMS}")
    return found


def _arm(name: str, chosen: StudySettings, spec: EnvironmentSpec, default: str) -> Arm:
    made = Arm(name, ARMS.get(name, ""), default, LineagePolicy.SHARED, chosen.proposer, chosen.slots)
    if name.startswith(ROSTER):
        roster = name.removeprefix(ROSTER)
        fitting = rosters_of(spec)
        if roster not in fitting:
            raise StudyError("arms", f"roster {roster!r} is unknown, expected one of {', '.join(sorted(fitting))}")
        return replace(made, roster=roster, about=fitting[roster].title)
    changes: Mapping[str, Mapping[str, Any]] = {
        "swarm": {},
        "generic": {"roster": GENERIC_TEN},
        "single": {"roster": SINGLE, "slots": 1},
        "no-lineage": {"lineage": LineagePolicy.NONE},
        "own-role": {"lineage": LineagePolicy.OWN_ROLE},
        "random": {"proposer": ProposerName.RANDOM},
        "catalog": {"proposer": ProposerName.CATALOG},
        "llm": {"proposer": ProposerName.LLM},
    }
    if name not in changes:
        known = ", ".join((*changes, CATALOG_VS_LLM, f"{ROSTER}NAME"))
        raise StudyError("arms", f"{name[:80]!r} is unknown, expected some of {known}")
    return replace(made, **changes[name])


def _between(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise StudyError(field, f"{value} is out of range, expected {low} to {high}")


def launch_settings(plan: Mapping[str, Any], arm: str, repeat: int, *, name: str) -> LaunchSettings:
    """The campaign of one arm and repeat. A search never ends early for want of an improvement: budgets are equal."""
    own = next(each for each in plan["arms"] if each["name"] == arm)
    return LaunchSettings(
        environment=plan["environment"],
        profile=plan["profile"],
        roster=own["roster"],
        proposer=own["proposer"],
        lineage=own["lineage"],
        keep_rule=plan["keep_rule"],
        trials=plan["trials"],
        hours=plan["hours"],
        no_improvement_hours=plan["hours"],
        slots=own["slots"],
        seed=plan["seeds"][repeat],
        reproducible=plan["reproducible"],
        level=plan["level"],
        name=name,
        usd=plan["usd"] if own["proposer"] == ProposerName.LLM else None,
    )


def changed_since(plan: Mapping[str, Any]) -> str:
    """What is no longer as it was planned (environment, starting recipe); empty when all is. Raises LaunchError."""
    first = plan["arms"][0]["name"]
    environment, _, start = launch.validate(launch_settings(plan, first, 0, name=""))
    if sha256_of(launch.frozen_spec(environment.spec, plan["profile"])) != plan["spec_sha256"]:
        return f"the specification of {plan['environment']} has changed since the study was planned"
    if tree_sha256(start.files) != plan["recipe_sha256"]:
        return f"the starting recipe of {plan['environment']} has changed since the study was planned"
    return ""


def default_name(plan: Mapping[str, Any]) -> str:
    """The same for the same plan, so that a command that is given again finds its study."""
    return f"{plan['environment']} {plan['profile']} study {sha256_of(plan)[:8]}".replace("_", " ")


def describe_test(test: Mapping[str, Any], trials: int) -> str:
    """The test in one sentence."""
    others: Sequence[str] = test["against"]
    corrected = f", Holm's correction for {len(others)} comparisons" if len(others) > 1 else ""
    return (
        f"{TESTS[test['name']]}: the final improvement of {test['arm']} after {trials} trials is greater than that of "
        f"{', '.join(others)}{corrected}, error {test['alpha']:g}"
    )
