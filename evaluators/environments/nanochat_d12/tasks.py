"""Six small tasks made of held-out plays and books: choices to be told apart by likelihood alone.

Built from text only, in an order given by hashes: the same text always yields the same items. Wrong choices are right
ones elsewhere (or mirror images of right ones), so that position, length and how common a word is tell nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from evaluators.child.frames import pack_texts
from evaluators.harness.choices import Item

#: Task -> number of choices; chance is one of them.
CHOICES = {"idiom": 4, "cloze": 4, "word_order": 2, "spelling": 2, "agreement": 2, "continuation": 4}

#: Items of one task stand at least so many bytes apart.
APART = 40
#: Places of a pair of words one letter apart that are taken.
TWINS_EACH = 4
SPACE = re.compile(rb"\s")
WORD = re.compile(rb"[A-Za-z]+(?:'[a-z]+)?")

#: Pairs of verb forms of different persons, the rarer ones first: each is taken equally often as right and as wrong.
PAIRS = (
    *((b"wast", b"was"), (b"dost", b"doth"), (b"canst", b"can"), (b"wilt", b"will"), (b"hast", b"hath")),
    *((b"art", b"are"), (b"shalt", b"shall"), (b"doth", b"do"), (b"am", b"is"), (b"was", b"were")),
    *((b"hath", b"have"), (b"am", b"are"), (b"is", b"are")),
)


@dataclass(frozen=True)
class Place:
    """Word ``at`` of a document, a space before it."""

    text: Text
    at: int

    @property
    def word(self) -> bytes:
        return self.text.words[self.at].group()

    @property
    def start(self) -> int:
        """Where the choice begins: at the space before the word."""
        return self.text.words[self.at].start() - 1

    def neighbour(self, step: int) -> bytes:
        """The word so many words on, empty where something but one space lies between."""
        first, last = sorted((self.at, self.at + step))
        if first < 0 or last >= len(self.text.words):
            return b""
        return b"" if not self.text.flows(first, last) else self.text.words[self.at + step].group()

    def context(self, size: int) -> bytes:
        """At most ``size`` bytes before the choice, from a word's beginning."""
        before = self.text.body[max(0, self.start - size) : self.start]
        seam = SPACE.search(before)
        return before[seam.end() :] if seam is not None else before

    def after(self, size: int) -> bytes:
        """What follows the word, at least ``size`` bytes, to the end of a word."""
        begin = self.text.words[self.at].end()
        end = next((word.end() for word in self.text.words[self.at :] if word.end() >= begin + size), begin)
        return self.text.body[begin:end]


@dataclass(frozen=True)
class Text:
    """A document's body and its words."""

    name: str
    body: bytes
    words: tuple[re.Match[bytes], ...]

    def flows(self, first: int, last: int) -> bool:
        """Whether words ``first`` to ``last`` follow each other with one space between."""
        return all(self.body[self.words[i].end() : self.words[i + 1].start()] == b" " for i in range(first, last))

    def places(self) -> Iterator[Place]:
        """Words that may begin a choice: behind a single space, and far enough from both ends."""
        for at in range(20, len(self.words) - 20):
            start = self.words[at].start()
            if self.body[start - 1] == ord(" ") and not self.body[start - 2 : start - 1].isspace():
                yield Place(self, at)


@dataclass(frozen=True)
class Known:
    """What the training text says: how often each word occurs, and each word behind a pair of words of interest."""

    words: Mapping[bytes, int]
    after_pair: Mapping[tuple[bytes, bytes], Mapping[bytes, int]]


def build(train: Sequence[bytes], held_out: Mapping[str, bytes], excerpt_bytes: int, most: int) -> tuple[Item, ...]:
    """At most ``most`` items of each task from held-out documents, the middle ``excerpt_bytes`` of each left out."""
    texts = [part for name in sorted(held_out) for part in _outside(name, held_out[name], excerpt_bytes)]
    known = _count(train, texts)
    items: list[Item] = []
    for task, make in MAKERS.items():
        items += make(task, texts, known, most)
    return tuple(items)


def sha256_of(items: Iterable[Item]) -> str:
    """Hash of all items: task, context, choices and answer of each."""
    packed = [pack_texts([i.task.encode(), i.context, *i.choices, str(i.answer).encode()]) for i in items]
    return sha256(pack_texts(packed)).hexdigest()


def middle(body: bytes, size: int) -> bytes:
    """The ``size`` bytes in the middle of a document, which no item is made of."""
    begin = max(0, (len(body) - size) // 2)
    return body[begin : begin + size]


def _outside(name: str, body: bytes, excerpt_bytes: int) -> Iterator[Text]:
    """The two parts of a document around its middle."""
    begin = max(0, (len(body) - excerpt_bytes) // 2)
    for label, part in (("begin", body[:begin]), ("end", body[begin + excerpt_bytes :])):
        yield Text(f"{name}/{label}", part, tuple(WORD.finditer(part)))


def _count(train: Sequence[bytes], texts: Sequence[Text]) -> Known:
    wanted: dict[tuple[bytes, bytes], Counter[bytes]] = {}
    for text in texts:
        for first, second in zip(text.words, text.words[1:], strict=False):
            wanted[first.group(), second.group()] = Counter()
    words: Counter[bytes] = Counter()
    for body in train:
        found = WORD.findall(body)
        words.update(found)
        for first, second, third in zip(found, found[1:], found[2:], strict=False):
            behind = wanted.get((first, second))
            if behind is not None:
                behind[third] += 1
    return Known(words, wanted)


def _key(task: str, place: Place) -> bytes:
    return sha256(f"{task}:{place.text.name}:{place.start}".encode()).digest()


def _chosen(task: str, texts: Iterable[Text], fits: Callable[[Place], bool]) -> list[Place]:
    """Places that fit, in the order of their hashes, no two of one document close together."""
    fitting = sorted((p for text in texts for p in text.places() if fits(p)), key=functools.partial(_key, task))
    taken: set[tuple[str, int]] = set()
    chosen: list[Place] = []
    for place in fitting:
        block = place.start // APART
        if any((place.text.name, block + step) in taken for step in (-1, 0, 1)):
            continue
        taken.add((place.text.name, block))
        chosen.append(place)
    return chosen


def _item(task: str, number: int, context: bytes, right: bytes, wrong: Sequence[bytes]) -> Item:
    """The right choice stands at each position equally often."""
    answer = number % (len(wrong) + 1)
    return Item(task, context, (*wrong[:answer], right, *wrong[answer:]), answer)


def _borrowed(
    task: str, places: Sequence[Place], suits: Callable[[Place, bytes], bool], most: int
) -> list[list[bytes]]:
    """For each of the first places three other words, taken in turn from the answers of the places behind it."""
    chosen = list(places[:most])
    wrong: list[list[bytes]] = []
    for number, place in enumerate(chosen):
        ring = (chosen[(number + step) % len(chosen)].word for step in range(1, len(chosen)))
        found: list[bytes] = []
        for word in ring:
            if len(found) < CHOICES[task] - 1 and word not in found and word != place.word and suits(place, word):
                found.append(word)
        wrong.append(found)
    return wrong


def _rationed(places: Iterable[Place], most: int) -> list[Place]:
    """Places of which no more than ``most`` have the same word."""
    used: Counter[bytes] = Counter()
    kept: list[Place] = []
    for place in places:
        used[place.word] += 1
        if used[place.word] <= most:
            kept.append(place)
    return kept


def _idiom(task: str, texts: Sequence[Text], known: Known, most: int) -> list[Item]:
    """The last word of three that the training text often has together, against words it never has there."""

    def behind(place: Place) -> Mapping[bytes, int]:
        return known.after_pair.get((place.neighbour(-2), place.neighbour(-1)), {})

    def fits(place: Place) -> bool:
        seen = behind(place)
        return seen.get(place.word, 0) >= 3 and 4 * seen[place.word] >= sum(seen.values())

    places = _rationed(_chosen(task, texts, fits), 12)[:most]
    wrong = _borrowed(task, places, lambda place, word: word not in behind(place), most)
    return [
        _item(task, n, place.context(36), b" " + place.word, [b" " + word for word in wrong[n]])
        for n, place in enumerate(places)
    ]


def _cloze(task: str, texts: Sequence[Text], known: Known, most: int) -> list[Item]:
    """A word left out of running text, against words left out elsewhere; what follows it is judged as well."""

    def fits(place: Place) -> bool:
        flows = place.neighbour(-2) and place.neighbour(2)
        return bool(flows) and place.word.islower() and len(place.word) >= 4 and known.words.get(place.word, 0) >= 20

    places = _rationed(_chosen(task, texts, fits), 6)[:most]
    wrong = _borrowed(task, places, lambda place, word: abs(len(word) - len(place.word)) <= 2, most)
    items: list[Item] = []
    for n, place in enumerate(places):
        after = place.after(12)
        items.append(
            _item(task, n, place.context(36), b" " + place.word + after, [b" " + word + after for word in wrong[n]])
        )
    return items


def _word_order(task: str, texts: Sequence[Text], known: Known, most: int) -> list[Item]:
    """Four words as they stand, against the middle two exchanged."""

    def fits(place: Place) -> bool:
        words = [place.neighbour(step) for step in range(1, 4)]
        return all(words) and words[0] != words[1] and all(word.islower() for word in words[:2])

    items: list[Item] = []
    for n, place in enumerate(_chosen(task, texts, fits)[:most]):
        first, second, third = (place.neighbour(step) for step in range(1, 4))
        right, wrong = (b" " + b" ".join((place.word, *middle, third)) for middle in ((first, second), (second, first)))
        items.append(_item(task, n, place.context(24), right, [wrong]))
    return items


def _spelling(task: str, texts: Sequence[Text], known: Known, most: int) -> list[Item]:
    """A word as it is written, against another word that differs in one letter."""

    def fits(place: Place) -> bool:
        return place.word.islower() and place.word.isalpha() and len(place.word) >= 3

    waiting = _by_word(_chosen(task, texts, fits))
    twins = [(a, b) for a, b in itertools.combinations(sorted(waiting), 2) if _one_letter_apart(a, b)]
    twins.sort(key=lambda pair: sha256(b" ".join(pair)).digest())
    return _both_ways(task, waiting, twins, after=6, each=TWINS_EACH, most=most)


def _agreement(task: str, texts: Sequence[Text], known: Known, most: int) -> list[Item]:
    """A verb as its subject wants it, against the form of another person."""
    forms = {form for pair in PAIRS for form in pair}

    def fits(place: Place) -> bool:
        return place.word in forms and bool(place.neighbour(-1) or place.neighbour(1))

    return _both_ways(task, _by_word(_chosen(task, texts, fits)), PAIRS, after=12, each=most, most=most)


def _by_word(places: Iterable[Place]) -> dict[bytes, list[Place]]:
    found: dict[bytes, list[Place]] = {}
    for place in places:
        found.setdefault(place.word, []).append(place)
    return found


def _one_letter_apart(first: bytes, second: bytes) -> bool:
    return len(first) == len(second) and sum(a != b for a, b in zip(first, second, strict=True)) == 1


def _both_ways(
    task: str,
    waiting: dict[bytes, list[Place]],
    pairs: Iterable[tuple[bytes, bytes]],
    *,
    after: int,
    each: int,
    most: int,
) -> list[Item]:
    """For each pair of words as many places of the one as of the other, at most ``each``; places are used up."""
    items: list[Item] = []
    for first, second in pairs:
        there = min(len(waiting.get(first, ())), len(waiting.get(second, ())), each, (most - len(items)) // 2)
        for word, other in ((first, second), (second, first)):
            for place in waiting.get(word, [])[:there]:
                rest = place.after(after)
                items.append(_item(task, len(items), place.context(30), b" " + word + rest, [b" " + other + rest]))
            del waiting.get(word, [])[:there]
    return items


def _continuation(task: str, texts: Sequence[Text], known: Known, most: int) -> list[Item]:
    """How a sentence goes on. Four places exchange their continuations, so that only the context can decide.

    The four are alike in how common their words are.
    """
    ways = CHOICES[task]

    def fits(place: Place) -> bool:
        return place.word.islower() and bool(place.neighbour(-2) and place.neighbour(2))

    def following(place: Place) -> bytes:
        return b" " + place.word + place.after(12)

    def commonness(place: Place) -> float:
        words = WORD.findall(following(place))
        return sum(math.log(1 + known.words.get(word, 0)) for word in words) / len(words)

    different = list({following(place): place for place in _chosen(task, texts, fits)}.values())
    places = sorted(different[: most // ways * ways], key=commonness)
    items: list[Item] = []
    for first in range(0, len(places) - ways + 1, ways):
        four = places[first : first + ways]
        choices = tuple(map(following, four))
        items += [Item(task, place.context(36), choices, n) for n, place in enumerate(four)]
    return items


MAKERS: Mapping[str, Callable[[str, Sequence[Text], Known, int], list[Item]]] = {
    "idiom": _idiom,
    "cloze": _cloze,
    "word_order": _word_order,
    "spelling": _spelling,
    "agreement": _agreement,
    "continuation": _continuation,
}
