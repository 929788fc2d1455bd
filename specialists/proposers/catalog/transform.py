"""What a program transformation is, and how a library declares one."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from specialists.proposers.catalog import trees
from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.trees import Refused

Settings = Mapping[str, Any]
Change = Callable[[Edit, Settings], None]


class Band(Enum):
    """Prior gain of an idea as a share of the starting score: what papers and records say, in four steps only."""

    STRONG = 0.010
    SOME = 0.004
    UNCLEAR = 0.0
    DOUBTFUL = -0.004


@dataclass(frozen=True)
class Variant:
    """One strength of an idea. ``scale`` is its cost or boldness relative to 1.0; ``settings`` go to the edit."""

    name: str
    scale: float = 1.0
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """Why a transformation does not apply to a tree."""

    why: str


@dataclass(frozen=True, eq=False)
class Transform:
    """One idea as a program transformation of one file.

    hypothesis: a clause that names the change and the expected reason; idea: the family that shares evidence; size,
    train, evaluate, error: expected direction (-1, 0, 1) of artifact bytes, cost of the training, evaluation units and
    wrong answers (where accuracy has a gate); marks: identifiers that are all in the file once the idea is in it;
    variants: from the gentlest to the dearest;
    sets: one strength may replace another in the same tree; repair: of use only on a trial that broke a limit;
    lossless: by construction it changes bytes and no prediction; firm: what it costs is arithmetic, not a guess.
    """

    name: str
    role: str
    file: str
    idea: str
    prior: Band
    source: str
    hypothesis: str
    change: Change
    marks: tuple[str, ...] = ()
    size: int = 0
    train: int = 0
    evaluate: int = 0
    error: int = 0
    variants: tuple[Variant, ...] = (Variant("standard"),)
    sets: bool = False
    repair: bool = False
    lossless: bool = False
    firm: bool = False

    def label(self, variant: Variant) -> str:
        """Name that is stored with a proposal: ``name``, or ``name:variant`` where there is a choice."""
        return self.name if len(self.variants) == 1 else f"{self.name}:{variant.name}"

    def apply(self, files: Mapping[str, str], variant: Variant, rng: random.Random) -> dict[str, str] | Refusal:
        """Changed files (name -> text), or why not. Never raises, whatever the recipe looks like."""
        text = files.get(self.file)
        if text is None:
            return Refusal(f"there is no {self.file}")
        if self.marks and set(self.marks) <= trees.identifiers(text):
            return Refusal(f"already applied: {', '.join(self.marks)} in {self.file}")
        try:
            edit = Edit(self.file, files, rng)
            self.change(edit, variant.settings)
            code = edit.module.code
            ast.parse(code)
        except Refused as refused:
            return Refusal(str(refused))
        except Exception as error:  # a recipe may be anything: an idea that trips over it is one that does not apply
            return Refusal(f"{type(error).__name__}: {str(error)[:160]}")
        return Refusal("it changes nothing") if code == text else {self.file: code}


class Library:
    """The transformations of one role, in the order in which they are declared."""

    def __init__(self, role: str, file: str) -> None:
        self.role, self.file = role, file
        self.transforms: list[Transform] = []

    def idea(
        self,
        name: str,
        idea: str,
        prior: Band,
        source: str,
        *,
        marks: Sequence[str] = (),
        size: int = 0,
        train: int = 0,
        evaluate: int = 0,
        error: int = 0,
        variants: Sequence[Variant] = (Variant("standard"),),
        sets: bool = False,
        repair: bool = False,
        lossless: bool = False,
        firm: bool = False,
    ) -> Callable[[Change], Change]:
        """Declare the decorated function, whose docstring is the hypothesis, as a transformation."""

        def declare(change: Change) -> Change:
            self.transforms.append(
                Transform(
                    name=name,
                    role=self.role,
                    file=self.file,
                    idea=idea,
                    prior=prior,
                    source=source,
                    hypothesis=" ".join((change.__doc__ or name).split()).rstrip("."),
                    change=change,
                    marks=tuple(marks),
                    size=size,
                    train=train,
                    evaluate=evaluate,
                    error=error,
                    variants=tuple(variants),
                    sets=sets,
                    repair=repair,
                    lossless=lossless,
                    firm=firm,
                )
            )
            return change

        return declare

    def adopt(self, other: Library, *names: str, **changes: Any) -> None:
        """Take transformations of another environment over, for this role and file, with some fields changed."""
        for name in names:
            known = next(transform for transform in other.transforms if transform.name == name)
            self.transforms.append(replace(known, role=self.role, file=self.file, **changes))
