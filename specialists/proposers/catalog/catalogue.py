"""The catalogue of one environment: its libraries, what its profiles limit, how large its gains and its noise are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from specialists.proposers.catalog.resources import Resource
from specialists.proposers.catalog.transform import Library, Transform, Variant
from trials.lineage import Entry
from trials.vocab import SCORED_LABELS, Label


@dataclass(frozen=True)
class Catalogue:
    """How one environment is searched.

    stride: how many times larger than in Parameter Golf the gains of the bands are, as shares of the starting score;
    scatter: how far ideas lie from their band, in units of the stride; noise: standard deviation of a measured
    difference as a share of the starting score; repairable: share of its gain that an idea is still worth when its
    first trial breaks a limit; unit: of the score, as it stands behind a number in a sentence.
    """

    environment: str
    libraries: tuple[Library, ...]
    resources: tuple[Resource, ...]
    stride: float = 1.0
    scatter: float = 1.0
    noise: float = 0.002
    repairable: float = 0.75
    unit: str = ""

    @cached_property
    def transforms(self) -> tuple[Transform, ...]:
        return tuple(transform for library in self.libraries for transform in library.transforms)

    @cached_property
    def by_name(self) -> dict[str, Transform]:
        return {transform.name: transform for transform in self.transforms}

    def parse(self, label: str) -> tuple[Transform, Variant] | None:
        """A stored name (``name`` or ``name:variant``) -> transformation and variant; None when it is unknown."""
        name, _, wanted = label.partition(":")
        transform = self.by_name.get(name)
        if transform is None:
            return None
        chosen = [variant for variant in transform.variants if variant.name == wanted or len(transform.variants) == 1]
        return (transform, chosen[0]) if chosen else None

    def editing(self, surface: Iterable[str]) -> list[Transform]:
        """Transformations of the files of a surface, in the order in which they are declared."""
        files = set(surface)
        return [transform for transform in self.transforms if transform.file in files]

    def broken(self, entry: Entry) -> Resource | None:
        """The limit that a trial broke, or None."""
        return next((resource for resource in self.resources if resource.label == Label(entry.label)), None)

    def useless(self, entry: Entry) -> bool:
        """True for a trial that yielded neither a score nor a miss that a repair could mend."""
        label = Label(entry.label)
        return label not in SCORED_LABELS and label != Label.HARNESS_ABORT and self.broken(entry) is None
