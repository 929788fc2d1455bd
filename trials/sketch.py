"""What two texts have in common, and keys under which texts that have much in common are found again. Pure.

A text is the set of its words. Its keys are the least values of KEYS hash functions over that set (MinHash, Broder
1997): two texts share one of them with a chance that equals the share of words that they have in common, so texts with
half of their words in common share at least one of six in 98 of 100 cases. Looking a key up needs no count of anything,
so a search costs the same in a campaign of any size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Set
from functools import lru_cache
from hashlib import blake2b
from sys import intern

KEYS = 6
MAX_WORDS = 80
TEXT_CHARACTERS = 2000
FAILURE_LENGTH = 80

_WORD = re.compile(r"[a-z][a-z0-9_+-]+")
_NOISE = re.compile(r"\d[\d.,_]*|0x[0-9a-f]+|'[^']*'|\"[^\"]*\"")
_MASK = (1 << 64) - 1
#: Words that say nothing about an idea: function words of English, and what every hypothesis of a search says.
_STOP = (
    "a about after all also an and any are as at be because been before being below between both but by can could "
    "did do does each few for from further had has have here how if in into is it its just may more most no nor not "
    "now of off on once only or other our out over own same should so some such than that the their them then there "
    "these they this those through to too under until up very was we were what when where which while who why will "
    "with would you your trial trials idea help helps improve improved improves measured search it's lacks gave "
    "settle says use"
)
STOP = frozenset(_STOP.split())
#: What a process remembers, at most: some 10, 2 and 0.1 MB. Replayed for 8,000 hypotheses made of real ones, a trial
#: looks at 136 texts, of which 2.4 are then new (1 if all were remembered); keys are asked again within a session only.
TEXTS, WORDS, KEY_SETS = 4096, 4096, 64


@lru_cache(maxsize=TEXTS)
def words(text: str) -> frozenset[str]:
    """The words of a text that can carry an idea, lower case; at most MAX_WORDS of its first TEXT_CHARACTERS."""
    found = dict.fromkeys(word for word in _WORD.findall(text[:TEXT_CHARACTERS].lower()) if word not in STOP)
    return frozenset(map(intern, list(found)[:MAX_WORDS]))  # texts of a search share their words


def likeness(one: Set[str], other: Set[str]) -> float:
    """Cosine of two sets of words, in [0, 1]; 0 when one of them is empty."""
    return len(one & other) / math.sqrt(len(one) * len(other)) if one and other else 0.0


@lru_cache(maxsize=WORDS)
def _hashes(word: str) -> tuple[int, ...]:
    digest = blake2b(word.encode(), digest_size=8 * KEYS).digest()
    return tuple(int.from_bytes(digest[8 * at : 8 * at + 8], "big") for at in range(KEYS))


@lru_cache(maxsize=KEY_SETS)
def keys(found: frozenset[str]) -> tuple[int, ...]:
    """KEYS signed 64-bit numbers, one per hash function; empty for no words. The same words give the same keys."""
    least = (min(column) for column in zip(*(_hashes(word) for word in found), strict=True))
    # The number of the hash function goes into the key, so that values of different functions are never taken for one.
    return tuple((((value << 3) | at) & _MASK) - (1 << 63) for at, value in enumerate(least))


def failure_key(label: str, reason: str) -> str:
    """What failures of the same kind have in common: label and reason without numbers and quoted text."""
    plain = " ".join(_NOISE.sub("#", reason.lower()).split())
    return f"{label}: {plain}"[:FAILURE_LENGTH].rstrip()
