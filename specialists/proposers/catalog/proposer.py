"""The catalogue as a proposer: candidates, their scores, and the first that applies and is new."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from specialists.proposals import NoProposal, Proposal, Request
from specialists.proposers.catalog.choice import Candidate, Model, Scored
from specialists.proposers.catalog.evidence import Evidence, Step
from specialists.proposers.catalog.library import CATALOGUES
from specialists.proposers.catalog.repairs import near_misses, repair_candidates
from specialists.proposers.catalog.story import decision_table, evidence_of, sentence
from specialists.proposers.catalog.transform import Refusal
from trials.lineage import Entry
from trials.vocab import SCORED_LABELS

#: Scored trials within this many noise spreads of the best may serve as parents; at most so many of them.
NEAR_BEST, MAX_OTHERS = 4.0, 3
#: How often a proposal looks away from the best at strong trials beside it, where there are any.
ASIDE = 0.12
#: A measured idea whose chance to beat the best is below this is not proposed again.
HOPELESS = 0.05
#: Pairs are made of at most so many single ideas that have been measured and look good.
PAIR_FROM, PAIR_CHANCE = 4, 0.6
MAX_TRIED = 60


class CatalogProposer:
    """Chooses transformations by the evidence of the lineage slice. Same request, same answer."""

    def propose(self, request: Request) -> Proposal | NoProposal:
        """One edit inside the role's surface, or why there is none. Never raises for anything a recipe contains."""
        if request.view.best is None:
            return NoProposal("no trial has been measured yet")
        catalogue = CATALOGUES.get(request.environment)
        if catalogue is None:
            return NoProposal(f"there is no catalogue for {request.environment!r}, only for {', '.join(CATALOGUES)}")
        steps = [
            Step(transform.label(variant), transform, variant)
            for transform in catalogue.editing(request.role.surface)
            for variant in transform.variants
        ]
        if not steps:
            return NoProposal(f"the catalogue has no transformation of {', '.join(request.role.surface)}")
        evidence = Evidence(request.view, request.limits, catalogue)
        rng = np.random.default_rng(request.seed)
        model = Model(evidence)
        ranked = self._ranked(evidence, model, steps, rng)
        return self._first(request, evidence, model, ranked)

    def _ranked(
        self, evidence: Evidence, model: Model, steps: Sequence[Step], rng: np.random.Generator
    ) -> list[Scored]:
        best = evidence.view.best
        assert best is not None
        others = strong_others(evidence)
        aside = float(rng.random()) < ASIDE and bool(others)
        singles = [
            Candidate(parent.number, (step,), parent.number, replaced=evidence.held(parent.number, step))
            for parent in [best, *others]
            for step in steps
            if step.transform is not None and not step.transform.repair
        ]
        repairs = [c for miss in near_misses(evidence) for c in repair_candidates(evidence, miss, steps)]
        scored = model.score(singles + repairs, rng)
        pairs = self._pairs(model, [row for row in scored if row.candidate.parent == best.number])
        scored += model.score(pairs, rng)
        order = sorted(scored, key=lambda row: (-row.drawn, row.candidate.parent, row.candidate.label))
        if aside:
            order.sort(key=lambda row: row.candidate.parent == best.number)
        return order

    @staticmethod
    def _pairs(model: Model, scored: Sequence[Scored]) -> list[Candidate]:
        """Two single ideas of the role at once, once both have been measured and look good."""
        measured = {step.name for use in model.observed for step in use.steps}
        good = [
            row
            for row in sorted(scored, key=lambda row: (-row.mean, row.candidate.label))
            if row.candidate.steps[0].name in measured and row.better > PAIR_CHANCE
        ][:PAIR_FROM]
        return [
            Candidate(a.candidate.parent, (*a.candidate.steps, *b.candidate.steps), a.candidate.base)
            for i, a in enumerate(good)
            for b in good[i + 1 :]
            if a.candidate.steps[0].name != b.candidate.steps[0].name
        ]

    def _first(
        self, request: Request, evidence: Evidence, model: Model, ranked: Sequence[Scored]
    ) -> Proposal | NoProposal:
        """The best-ranked candidate that applies, stays inside the surface and gives source not seen before."""
        tried: dict[str, str] = {}
        sources: dict[int, Mapping[str, str] | str] = {}
        for row in ranked:
            key = f"{row.candidate.label} on {row.candidate.parent}"
            why = hopeless(model, row)
            files: dict[str, str] | str = why or self._files(request, row.candidate, sources)
            if isinstance(files, str):
                tried[key] = files
                continue
            return Proposal(
                hypothesis=sentence(evidence, model, row),
                parent=row.candidate.parent,
                files=files,
                expected_delta=evidence.sign * row.mean,
                transforms=tuple(step.label for step in row.candidate.steps),
                evidence=tuple(evidence_of(evidence, model, row)),
                notes=decision_table(evidence, row, ranked, tried),
            )
        return NoProposal(f"none of {len(ranked)} edits is new and promising", dict(list(tried.items())[:MAX_TRIED]))

    def _files(
        self, request: Request, candidate: Candidate, sources: dict[int, Mapping[str, str] | str]
    ) -> dict[str, str] | str:
        """Changed files, or why there are none."""
        if candidate.parent not in sources:
            sources[candidate.parent] = read(request, candidate.parent)
        source = sources[candidate.parent]
        if isinstance(source, str):
            return source
        changed: dict[str, str] = {}
        rng = random.Random(request.seed)  # noqa: S311 - reproducible choice, not a secret
        for step in candidate.steps:
            if step.transform is None or step.variant is None:
                return "the catalogue does not know it"
            result = step.transform.apply({**source, **changed}, step.variant, rng)
            if isinstance(result, Refusal):
                return result.why
            changed |= result
        return usable(request, source, changed)


def usable(request: Request, source: Mapping[str, str], edited: Mapping[str, str]) -> dict[str, str] | str:
    """The files of an edit that differ from the parent's, or why it cannot be proposed."""
    changed = {name: text for name, text in edited.items() if source.get(name) != text}
    if not changed:
        return "it changes nothing"
    if not set(changed) <= set(request.role.surface):
        return "it reaches outside the role's surface"
    twin = request.seen({**source, **changed})
    return changed if twin is None else twin


def applies(environment: str, files: Mapping[str, str]) -> bool:
    """Whether any transformation applies to a starting recipe; where none does, a search ends before it begins."""
    catalogue = CATALOGUES.get(environment)
    rng = random.Random(0)  # noqa: S311 - the answer does not depend on it
    return catalogue is not None and any(
        not isinstance(transform.apply(files, variant, rng), Refusal)
        for transform in catalogue.editing(files)
        if not transform.repair
        for variant in transform.variants
    )


def read(request: Request, number: int) -> Mapping[str, str] | str:
    """Source of a trial, or why it cannot be read."""
    try:
        return request.read_source(number)
    except Exception as error:  # the record's own words go into the notes; one unreadable parent ends nothing
        return f"its source cannot be read: {type(error).__name__}: {str(error)[:120]}"


def strong_others(evidence: Evidence) -> list[Entry]:
    """Scored trials near the best that are not its ancestors: other branches, often with more room, best first."""
    best = evidence.view.best
    chain = evidence.chain(None if best is None else best.number)
    near = [
        entry
        for entry in evidence.entries.values()
        if entry.label in SCORED_LABELS
        and entry.score is not None
        and entry.number not in chain
        and evidence.deficit(entry.number) <= NEAR_BEST * evidence.noise
    ]
    return sorted(near, key=lambda entry: (evidence.deficit(entry.number), entry.number))[:MAX_OTHERS]


def hopeless(model: Model, row: Scored) -> str | None:
    """Why a candidate that has been measured before is not worth another trial; None when it is."""
    names = {step.name for step in row.candidate.steps}
    uses = [use for use in model.observed if {step.name for step in use.steps} & names]
    if not uses or row.better >= HOPELESS:
        return None
    told: list[str] = [f"{use.gain:+.4f} at trial {use.entry.number}" for use in uses[-3:]]
    return f"measured gains {', '.join(told)} leave it a chance of {row.better:.0%}"
