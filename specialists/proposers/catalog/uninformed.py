"""The catalogue without its judgement: an edit drawn at random, whatever earlier trials have shown."""

from __future__ import annotations

import random

from specialists.proposals import NoProposal, Proposal, Request
from specialists.proposers.catalog.library import CATALOGUES
from specialists.proposers.catalog.proposer import read, usable
from specialists.proposers.catalog.transform import Refusal


class RandomProposer:
    """Draws each of the role's edits with the same chance, on the best trial. Same request, same answer.

    A control for studies: priors, measured gains, failures and limits play no part. What the record still decides is
    the parent, as it does without any lineage, and that no source is measured twice.
    """

    def propose(self, request: Request) -> Proposal | NoProposal:
        """The first edit in a random order that applies and is new, or why there is none."""
        best = request.view.best
        if best is None:
            return NoProposal("no trial has been measured yet")
        catalogue = CATALOGUES.get(request.environment)
        if catalogue is None:
            return NoProposal(f"there is no catalogue for {request.environment!r}, only for {', '.join(CATALOGUES)}")
        source = read(request, best.number)
        if isinstance(source, str):
            return NoProposal(source)
        rng = random.Random(request.seed)  # noqa: S311 - reproducible choice, not a secret
        edits = [
            (transform, variant)
            for transform in catalogue.editing(request.role.surface)
            if not transform.repair
            for variant in transform.variants
        ]
        rng.shuffle(edits)
        tried: dict[str, str] = {}
        for transform, variant in edits:
            label = transform.label(variant)
            result = transform.apply(source, variant, rng)
            files = result.why if isinstance(result, Refusal) else usable(request, source, result)
            if isinstance(files, str):
                tried[label] = files
                continue
            idea = transform.hypothesis[0].lower() + transform.hypothesis[1:]
            return Proposal(
                hypothesis=f"{label}: {idea}; drawn at random."[:600],
                parent=best.number,
                files=files,
                transforms=(label,),
                notes={"proposer": "random", "edits": len(edits), "passed": dict(list(tried.items())[:8])},
            )
        return NoProposal(f"none of {len(edits)} edits applies and is new", dict(list(tried.items())[:60]))
