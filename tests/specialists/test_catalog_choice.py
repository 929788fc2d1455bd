"""The catalogue's choices follow the evidence of the slice, whatever it says, and nothing else."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest

from specialists.proposals import NoProposal, Proposal, check
from specialists.proposers.catalog.transform import Band
from specialists.rosters import Role
from tests.specialists.catalog_tools import GOLF, LIMITS, ROLES, START, applied, ask, entry, view
from trials.lineage import Entry, LineageSlice

SEEDS = range(80)
BY_NAME, TRANSFORMS = GOLF.catalogue.by_name, GOLF.catalogue.transforms
BASELINE = entry(0)
KEEP = entry(9, ["batch-with-rate:half-root"], parent=0, label="keep", score=2.45, delta_vs_parent=-0.05, role="meta")
#: Ideas with one strength, in one band and alone in their family, so that nothing but evidence tells them apart.
EQUALS = ("qk-norm", "embedding-norm", "parallel-residual", "head-bias", "smear-gate")


def measured(number: int, label: str, gain: float, parent: int = 0, **fields: object) -> Entry:
    """A discarded trial whose edit gained ``gain`` (positive is better)."""
    return entry(number, [label], parent=parent, score=2.5 - gain, delta_vs_parent=-gain, **fields)


def picks(role: str | Role, shown: LineageSlice, **options: object) -> Counter[str]:
    """How often each transformation (without its strength) is proposed over the seeds."""
    found: Counter[str] = Counter()
    for seed in SEEDS:
        answer = ask(role, shown, seed=seed, **options)  # type: ignore[arg-type]
        names = answer.transforms if isinstance(answer, Proposal) else ["nothing"]
        found.update({name.partition(":")[0] for name in names})
    return found


def z_score(a: int, b: int, n: int) -> float:
    """Two-proportion z of a/n against b/n."""
    pooled = (a + b) / (2 * n)
    return (a - b) / n / math.sqrt(max(pooled * (1 - pooled), 1e-9) * 2 / n)


def test_permuted_evidence_permutes_the_choices() -> None:
    """Five equal ideas with five measured gains: in every assignment of gains to ideas the winner is chosen most, far
    more often than in the assignments where it lost, and losers are all but given up."""
    assert {BY_NAME[name].prior for name in EQUALS} == {Band.UNCLEAR}
    gains = (0.06, 0.0, -0.02, -0.05, -0.08)
    chosen: dict[tuple[str, float], int] = {}
    for turn in range(len(EQUALS)):
        world = dict(zip(EQUALS, gains[turn:] + gains[:turn], strict=True))
        rows = [measured(number, name, gain) for number, (name, gain) in enumerate(world.items(), start=1)]
        counts = picks("architecture", view([BASELINE, *rows, KEEP], best=9))
        for name, gain in world.items():
            chosen[name, gain] = counts[name]
        winner = max(world, key=lambda name: world[name])
        assert counts.most_common(1)[0][0] == winner
    for name in EQUALS:
        assert z_score(chosen[name, 0.06], chosen[name, -0.08], len(SEEDS)) > 7
        assert chosen[name, -0.08] + chosen[name, -0.05] <= 0.02 * len(SEEDS)


def test_credit_follows_the_swap_of_two_outcomes() -> None:
    for role, a, b in (
        ("optimization", "cautious-step", "nesterov-adam"),
        ("loss", "late-positions", "merged-weight"),
        ("meta", "attention-over-mlp", "vocabulary-for-width"),
    ):
        worlds = [
            picks(role, view([BASELINE, measured(3, a, gain), measured(4, b, -gain), KEEP], best=9))
            for gain in (0.06, -0.06)
        ]
        name_a, name_b = a.partition(":")[0], b.partition(":")[0]
        assert z_score(worlds[0][name_a], worlds[1][name_a], len(SEEDS)) > 6, (role, worlds)
        assert z_score(worlds[1][name_b], worlds[0][name_b], len(SEEDS)) > 6, (role, worlds)


def test_what_helped_on_another_branch_is_carried_to_the_best_and_says_so() -> None:
    shown = view([BASELINE, measured(4, "value-residual", 0.07), KEEP], best=9)
    answers = [ask("architecture", shown, seed=seed) for seed in range(30)]
    transfers = [a for a in answers if isinstance(a, Proposal) and a.transforms == ("value-residual",)]
    assert len(transfers) > 15
    first = next(answer for answer in transfers if answer.parent == 9)
    assert "improved trial 0 by 0.0700 as trial 4" in first.hypothesis and "trial 9 lacks it" in first.hypothesis
    assert {4, 9} <= set(first.evidence)
    assert first.expected_delta is not None and -0.08 < first.expected_delta < -0.03


def test_higher_is_better_turns_the_evidence_around() -> None:
    rows = [entry(0, score=0.4), entry(3, ["qk-norm"], parent=0, score=0.45, delta_vs_parent=0.05)]
    rows.append(entry(4, ["head-bias"], parent=0, score=0.35, delta_vs_parent=-0.05))
    counts = picks("architecture", view(rows, direction="higher"))
    assert counts["qk-norm"] > 0.6 * len(SEEDS) and counts["head-bias"] <= 2
    answer = ask("architecture", view(rows, direction="higher"), seed=1)
    assert isinstance(answer, Proposal) and (answer.expected_delta or 0.0) > 0


def test_without_evidence_no_order_is_fixed_and_bands_decide() -> None:
    counts = picks("architecture", view([BASELINE], policy="none"))
    assert len(counts) >= 12
    assert counts.most_common(1)[0][1] < 0.35 * len(SEEDS)
    optimisers = picks("optimization", view([BASELINE], policy="none"))
    mean = {
        band: sum(optimisers[t.name] for t in TRANSFORMS if t.role == "optimization" and t.prior is band)
        / sum(t.role == "optimization" and t.prior is band for t in TRANSFORMS)
        for band in (Band.STRONG, Band.SOME, Band.UNCLEAR)
    }
    assert mean[Band.STRONG] > mean[Band.SOME] > mean[Band.UNCLEAR] > 0


def test_crashes_are_avoided_and_gentler_strengths_survive() -> None:
    broken = [
        entry(number, ["score-first-sgd:bold"], label="invalid_result", reason="logits are not finite", score=None)
        for number in (3, 4)
    ]
    fresh, warned = Counter[str](), Counter[str]()
    for seed in SEEDS:
        for counts, rows in ((fresh, []), (warned, broken)):
            answer = ask("test_time_training", view([BASELINE, *rows]), seed=seed)
            assert isinstance(answer, Proposal)
            counts.update(answer.transforms)
    assert fresh["score-first-sgd:bold"] >= 4
    assert warned["score-first-sgd:bold"] <= fresh["score-first-sgd:bold"] // 3
    assert warned["score-first-sgd:gentle"] > warned["score-first-sgd:bold"]


BIGRAM = BY_NAME["hashed-bigram"]
BLOCKED_SOURCE = applied(BIGRAM, BIGRAM.variants[1], START)


def blocked(over: int, **fields: object) -> Entry:
    return entry(
        5,
        ["hashed-bigram:standard"],
        label="size_blocked",
        reason=f"{over:,} bytes over",
        numbers={"bytes_over": over},
        artifact_bytes=273_000 + over,
        **fields,
    )


SAVED = (measured(6, "fewer-bits:int6", -0.001, artifact_bytes=203_000), entry(0, artifact_bytes=270_000))


def test_a_size_miss_is_repaired_by_a_cheaper_encoding_on_top_of_it() -> None:
    shown = view([SAVED[1], blocked(30_000), SAVED[0]])
    answers = [ask("quantization", shown, seed=seed, sources={5: BLOCKED_SOURCE}) for seed in range(40)]
    repairs = [answer for answer in answers if isinstance(answer, Proposal) and answer.parent == 5]
    assert len(repairs) >= 16
    assert all(BY_NAME[r.transforms[0].partition(":")[0]].size < 0 for r in repairs)
    assert "30,000 bytes over its limit" in repairs[0].hypothesis and 5 in repairs[0].evidence
    assert list(repairs[0].files) == ["quantization.py"]
    most = Counter(r.transforms[0] for r in repairs).most_common(1)[0][0]
    assert most.startswith("fewer-bits"), "what has been measured to save enough is trusted most"


def test_a_size_miss_is_repaired_by_a_smaller_table_or_a_smaller_vocabulary() -> None:
    shown = view([SAVED[1], blocked(3_000)])
    table = Counter[str]()
    for seed in SEEDS:
        answer = ask("architecture", shown, seed=seed, sources={5: BLOCKED_SOURCE})
        assert isinstance(answer, Proposal)
        table.update(f"{name} on {answer.parent}" for name in answer.transforms)
    repairs = ("shrink-bigram:half", "shrink-bigram:quarter", "grouped-query:half", "grouped-query:one")
    assert sum(table[f"{name} on 5"] for name in repairs) >= 20
    assert table["hashed-bigram:standard on 0"] + table["hashed-bigram:large on 0"] <= 2, "it would be blocked again"
    words = [ask("tokenizer", shown, seed=seed, sources={5: BLOCKED_SOURCE}) for seed in range(40)]
    chosen = Counter(a.transforms[0].partition(":")[0] for a in words if isinstance(a, Proposal) and a.parent == 5)
    assert set(chosen) <= {"smaller-vocabulary", "used-bytes", "byte-vocabulary"} and sum(chosen.values()) > 5


def test_only_near_and_unrepaired_misses_are_parents() -> None:
    far = view([SAVED[1], blocked(900_000), SAVED[0]])
    done = view([SAVED[1], blocked(30_000), entry(7, ["fewer-bits:int6"], parent=5, score=2.4, label="keep")], best=7)
    for shown in (far, done):
        answers = [ask("quantization", shown, seed=seed, sources={5: BLOCKED_SOURCE}) for seed in range(25)]
        assert all(answer.parent != 5 for answer in answers if isinstance(answer, Proposal))


def test_an_evaluation_overrun_asks_for_a_cheaper_strength() -> None:
    numbers = {"units": 150_000_000_000, "units_over": 30_000_000_000}
    over = entry(
        5, ["overlapping-stride:three-quarters"], label="eval_budget_overrun", numbers=numbers, role="evaluation"
    )
    source = applied(BY_NAME["overlapping-stride"], BY_NAME["overlapping-stride"].variants[2], START)
    found = Counter[str]()
    for seed in SEEDS:
        answer = ask("evaluation", view([BASELINE, over]), seed=seed, sources={5: source})
        assert isinstance(answer, Proposal)
        found.update(f"{name} on {answer.parent}" for name in answer.transforms)
    cheaper = [found[f"overlapping-stride:{v} on {p}"] for v in ("quarter", "half") for p in (0, 5)]
    assert sum(cheaper) > 5 * (found["overlapping-stride:three-quarters on 0"] + 1)
    assert found["overlapping-stride:quarter on 5"] + found["overlapping-stride:half on 5"] > 0


def test_a_training_overrun_makes_meta_leave_room_and_nothing_else_does() -> None:
    numbers = {"units": 424_000_000_000, "units_over": 24_000_000_000}
    over = entry(5, ["batch-ramp:steep"], label="train_budget_overrun", numbers=numbers, role="curriculum")
    counts = picks("meta", view([BASELINE, over]))
    assert counts["leave-room"] > 0
    assert picks("meta", view([BASELINE]))["leave-room"] == 0


def test_pairs_come_only_after_their_parts_were_measured() -> None:
    rows = [measured(3, "clipped-scales:gentle", 0.03), measured(4, "refitted-scales", 0.03)]
    alone = [ask("quantization", view([BASELINE, rows[0], KEEP], best=9), seed=seed) for seed in range(25)]
    both = [ask("quantization", view([BASELINE, *rows, KEEP], best=9), seed=seed) for seed in range(25)]
    assert all(len(a.transforms) == 1 for a in alone if isinstance(a, Proposal))
    pairs = [answer for answer in both if isinstance(answer, Proposal) and len(answer.transforms) == 2]
    assert len(pairs) > 10
    assert {name.partition(":")[0] for name in pairs[0].transforms} == {"clipped-scales", "refitted-scales"}
    assert {3, 4} <= set(pairs[0].evidence)


def test_strong_trials_beside_the_best_are_parents_now_and_then() -> None:
    near = measured(8, "qk-norm", 0.048, role="architecture")
    shown = view([BASELINE, KEEP, near], best=9)
    parents = Counter(a.parent for a in (ask("loss", shown, seed=s) for s in SEEDS) if isinstance(a, Proposal))
    assert set(parents) == {8, 9}
    assert parents[9] > parents[8] >= 0.05 * len(SEEDS)


def test_same_request_same_answer_and_the_seed_is_the_only_randomness() -> None:
    rows = [BASELINE, measured(3, "qk-norm", 0.01), measured(4, "swiglu", -0.01), KEEP]
    for role, seed in itertools.product(ROLES, range(3)):
        assert ask(role, view(rows, best=9), seed=seed) == ask(role, view(rows, best=9), seed=seed)
    assert len({ask("architecture", view(rows, best=9), seed=seed).transforms for seed in range(20)}) > 3  # type: ignore[union-attr]


def test_source_that_was_seen_is_never_proposed_again() -> None:
    met: list[Mapping[str, str]] = []

    def seen(files: Mapping[str, str]) -> str | None:
        return "trial 1 has this source" if files in met else None

    while isinstance(answer := ask("evaluation", view([BASELINE]), seed=4, seen=seen), Proposal):
        files = {**START, **answer.files}
        assert files not in met
        met.append(files)
    assert len(met) == sum(len(t.variants) for t in TRANSFORMS if t.role == "evaluation")
    assert isinstance(answer, NoProposal)
    assert any("has this source" in why for why in answer.tried.values())


def test_ideas_measured_worse_are_given_up_in_the_end() -> None:
    labels = [t.label(v) for t in TRANSFORMS if t.role == "evaluation" for v in t.variants]
    rows = [measured(number, label, -0.1) for number, label in enumerate(labels, start=1)]
    answer = ask("evaluation", view([BASELINE, *rows]), seed=2)
    assert isinstance(answer, NoProposal)
    assert all("-0.1" in why for why in answer.tried.values())


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_proposals_stay_inside_the_surface_and_pass_the_check(role: Role) -> None:
    for seed, policy in itertools.product(range(6), ("shared", "none")):
        answer = ask(role, view([BASELINE], policy=policy), seed=seed)
        assert isinstance(answer, Proposal)
        assert check(answer, START, role.surface) != START
        assert len(answer.hypothesis) <= 600 and answer.hypothesis.endswith(".")
        assert answer.notes["chosen"]["transforms"] == "+".join(answer.transforms)
        assert len(answer.notes["table"]) <= 8


def test_a_generalist_may_use_every_transformation_of_its_surface() -> None:
    everything = Role("generic", tuple(sorted(set(START) - {"recipe.py"})), "All of it.")
    roles = {BY_NAME[name].role for name in picks(everything, view([BASELINE]))}
    assert len(roles) >= 8


def broken_reader(number: int) -> Mapping[str, str]:
    raise LookupError(f"trial {number} is not in this lineage slice")


@pytest.mark.parametrize("texts", [{}, dict.fromkeys(START, ""), dict.fromkeys(START, "def f(:\n")], ids=str)
def test_hostile_sources_end_in_no_proposal_with_reasons(texts: Mapping[str, str]) -> None:
    answer = ask("architecture", view([BASELINE]), sources={0: texts})
    assert isinstance(answer, NoProposal) and answer.tried and all(answer.tried.values())


def test_an_unreadable_parent_and_an_empty_slice_are_answered() -> None:
    class Unreadable(dict[int, Mapping[str, str]]):
        get: Callable[..., Mapping[str, str]] = staticmethod(lambda number, default: broken_reader(number))

    answer = ask("architecture", view([BASELINE]), sources=Unreadable({0: {}}))
    assert isinstance(answer, NoProposal) and "is not in this lineage slice" in next(iter(answer.tried.values()))
    empty = LineageSlice("shared", "any", "lower", "val_bpb", None, None, None)
    assert isinstance(ask("architecture", empty), NoProposal)
    assert isinstance(ask(Role("sys", ("systems.py",), ""), view([BASELINE])), NoProposal)


def test_odd_records_do_not_disturb() -> None:
    rows: Sequence[Entry] = [
        BASELINE,
        entry(2, ["not-in-the-catalogue"], score=2.4, delta_vs_parent=-0.1),
        entry(3, ["qk-norm"], parent=99, score=2.4, delta_vs_parent=float("nan")),
        entry(4, ["qk-norm"], parent=4, label="crash", numbers={"stage": "train"}),
        entry(5, ["hashed-bigram:standard"], label="size_blocked", artifact_bytes=None, numbers={"bytes_over": "many"}),
        entry(6, label="size_blocked", artifact_bytes=280_000, numbers={"bytes_over": 7_000}),
    ]
    for role, seed in itertools.product(ROLES, range(4)):
        assert isinstance(ask(role, view(rows), seed=seed, limits=LIMITS if seed % 2 else {}), Proposal)


def test_a_long_slice_gives_the_same_kind_of_answer() -> None:
    draw = random.Random(3)
    labels = [t.label(v) for t in TRANSFORMS for v in t.variants]
    rows = [measured(n, draw.choice(labels), draw.gauss(0, 0.03), parent=draw.randrange(n)) for n in range(1, 150)]
    answer = ask("meta", view([BASELINE, *rows]), seed=5)
    assert isinstance(answer, Proposal) and len(answer.evidence) <= 12
