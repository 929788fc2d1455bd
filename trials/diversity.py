"""How different the ideas of a search are, by the paper's definition (arXiv 2605.05724), told in docs/report.md.

Pure. A text is compared with what shares words with it only: inverted lists on numpy.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trials.stop_words import ENGLISH

JOINS = 0.30  # cosine to the nearest centroid from which a proposal belongs to its cluster
REPEATS = 0.70  # cosine to an earlier proposal from which it is a near-duplicate
TOKEN = re.compile(r"[a-zA-Z][a-zA-Z0-9_+-]+")
STRAY = "</hypothesis>"
ROUNDING = 1e-12
REST = 0.35
SLACK = 1e-9

Vector = tuple[tuple[str, float], ...]  # unit length, terms in an order of its own; empty without any term


@dataclass(frozen=True)
class Diversity:
    """effective_clusters: exp of the entropy of cluster shares; largest_share in [0, 1]; near_duplicate_rate: share of
    the proposals after the first that nearly repeat an earlier one. None where there is nothing to measure."""

    proposals: int
    clusters: int
    effective_clusters: float | None
    largest_share: float | None
    near_duplicate_rate: float | None


def tokens(text: str) -> list[str]:
    """Words of a hypothesis, in lower case, without stop words; what follows a stray closing tag is not read."""
    words: list[str] = TOKEN.findall(text.split(STRAY, 1)[0].lower())
    return [word for word in words if word not in ENGLISH]


def measure(hypotheses: Sequence[str]) -> Diversity:
    """Diversity of one campaign, hypotheses in trial order; the inverse document frequencies are its own."""
    return compare([hypotheses])[0]


def compare(groups: Sequence[Sequence[str]]) -> list[Diversity]:
    """Diversity of several campaigns beside each other: inverse document frequencies of all of them together."""
    counted = [[Counter(tokens(text)) for text in group] for group in groups]
    weights = inverse_frequencies(words for group in counted for words in group)
    return [_measure([vector(words, weights) for words in group]) for group in counted]


def inverse_frequencies(documents: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """Smooth idf of each term: ln((1 + N) / (1 + df)) + 1."""
    frequency: Counter[str] = Counter()
    total = 0
    for words in documents:
        frequency.update(words.keys())
        total += 1
    return {term: math.log((1 + total) / (1 + count)) + 1 for term, count in frequency.items()}


def vector(words: Mapping[str, int], weights: Mapping[str, float]) -> Vector:
    """Sublinear tf (1 + ln n) times idf, of unit length; rare terms first."""
    raw = [(term, (1 + math.log(count)) * weights[term]) for term, count in words.items()]
    length = math.sqrt(math.fsum(value * value for _, value in raw))
    return tuple(sorted(((term, value / length) for term, value in raw), key=lambda item: (-weights[item[0]], item[0])))


def _measure(vectors: Sequence[Vector]) -> Diversity:
    count = len(vectors)
    sizes = cluster_sizes(vectors)
    shares = [size / count for size in sizes]
    return Diversity(
        proposals=count,
        clusters=len(sizes),
        effective_clusters=math.exp(-math.fsum(share * math.log(share) for share in shares)) if shares else None,
        largest_share=max(shares, default=None),
        near_duplicate_rate=repeats(vectors) / (count - 1) if count > 1 else None,
    )


@dataclass
class _Postings:
    """Rows that have one term, and its weight in each; grows by doubling."""

    rows: NDArray[np.int32] = field(default_factory=lambda: np.zeros(2, np.int32))
    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    used: int = 0
    places: dict[int, int] = field(default_factory=dict)

    def append(self, row: int, value: float) -> int:
        """A row that is not listed yet; returns its place."""
        if self.used == len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
            self.values = np.concatenate([self.values, np.zeros_like(self.values)])
        self.rows[self.used], self.values[self.used] = row, value
        self.used += 1
        return self.used - 1

    def add(self, row: int, value: float) -> float:
        """Adds to the row's weight; returns what it was before."""
        place = self.places.get(row)
        if place is None:
            self.places[row] = self.append(row, value)
            return 0.0
        before = float(self.values[place])
        self.values[place] = before + value
        return before

    def weigh(self, value: float, scores: NDArray[np.float64]) -> None:
        """Adds the products with ``value`` to the rows' scores."""
        scores[self.rows[: self.used]] += value * self.values[: self.used]


def cluster_sizes(vectors: Sequence[Vector]) -> list[int]:
    """Members per cluster: each vector joins the nearest running mean at cosine >= JOINS, else opens a cluster.

    The sum of the members stands for their mean: a cosine does not see the difference.
    """
    sums: dict[str, _Postings] = defaultdict(_Postings)
    sizes: list[int] = []
    squares = np.zeros(64)  # squared length of each cluster's sum
    scores = np.zeros(64)
    for terms in vectors:
        count = len(sizes)
        if count == len(squares):
            squares, scores = np.concatenate([squares, np.zeros(count)]), np.zeros(2 * count)
        scores[:count] = 0.0
        for term, value in terms:
            listed = sums.get(term)
            if listed is not None:
                listed.weigh(value, scores)
        nearest = -1
        if terms and count:
            cosines = scores[:count] / np.sqrt(np.maximum(squares[:count], ROUNDING))
            nearest = int(np.argmax(cosines))
            nearest = nearest if cosines[nearest] >= JOINS - ROUNDING else -1
        if nearest < 0:
            nearest = count
            sizes.append(0)
        sizes[nearest] += 1
        added = sum(value * (2 * sums[term].add(nearest, value) + value) for term, value in terms)
        squares[nearest] += added
    return sizes


def repeats(vectors: Sequence[Vector]) -> int:
    """How many vectors have a cosine >= REPEATS to an earlier one.

    The common terms that hold less than REST of a vector's length cannot lift a cosine by more: only the others are
    summed for all, and what could still reach REPEATS is worked out term by term.
    """
    seen: set[Vector] = set()
    listed: dict[str, _Postings] = defaultdict(_Postings)
    kept: list[dict[str, float]] = []
    scores = np.zeros(len(vectors))
    found = 0
    for terms in vectors:
        if not terms:
            continue
        if terms in seen:
            found += 1
            continue
        seen.add(terms)
        partial = scores[: len(kept)]
        partial[:] = 0.0
        for term, value in _telling(terms):
            if term in listed:
                listed[term].weigh(value, scores)
        mine = dict(terms)
        found += any(
            _cosine(mine, kept[row]) >= REPEATS - ROUNDING for row in np.flatnonzero(partial >= REPEATS - REST - SLACK)
        )
        for term, value in terms:
            listed[term].append(len(kept), value)
        kept.append(mine)
    return found


def _telling(terms: Vector) -> Iterator[tuple[str, float]]:
    """The rarest terms, until less than REST of the length is left."""
    rest = 1.0
    for term, value in terms:
        if rest <= REST * REST:
            return
        yield term, value
        rest -= value * value


def _cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    few, many = (one, other) if len(one) <= len(other) else (other, one)
    return sum(value * many[term] for term, value in few.items() if term in many)


def as_record(found: Diversity) -> dict[str, Any]:
    """Plain values for a report."""
    return vars(found).copy()
