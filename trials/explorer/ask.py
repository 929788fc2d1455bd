"""What somebody asks of the table of trials: filters, order, columns and place, all of it in the address. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from trials.formatting import words
from trials.sketch import FAILURE_LENGTH
from trials.vocab import Label, TrialState

TEXT_LENGTH = 200
#: Where a page ends: the value that rows are sorted by (None where it is the number alone), and the number.
Place = tuple[float | None, int]
#: Names of orders and what they say; the first is the default.
SORTS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "best": "best score first",
    "worst": "worst score first",
    "gain": "greatest gain over the parent first",
    "loss": "greatest loss against the parent first",
}
BY_SCORE = frozenset({"best", "worst"})
BY_GAIN = frozenset({"gain", "loss"})
STATES = tuple(str(state) for state in TrialState)
LABELS = tuple(str(label) for label in Label)


@dataclass(frozen=True)
class Ask:
    """One question; empty texts and None ask for nothing.

    label: what was recorded; standing: what counts; failure: what failures of a kind share.

    after: where the page before ended.
    errors: what could not be read, by name of the field; such a field asks for nothing.
    """

    text: str = ""
    role: str = ""
    state: str = ""
    label: str = ""
    standing: str = ""
    failure: str = ""
    low: float | None = None
    high: float | None = None
    sort: str = "newest"
    columns: Sequence[str] = ()
    after: Place | None = None
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def filters(self) -> dict[str, Any]:
        """Filters that are set, by the names that they have in the address."""
        named = {"q": self.text, "role": self.role, "state": self.state, "label": self.label, "standing": self.standing,
                 "failure": self.failure, "low": self.low, "high": self.high}  # fmt: skip
        return {name: value for name, value in named.items() if value not in ("", None)}

    def address(self, default_columns: Sequence[str], *, after: str | None = None, **changes: Any) -> str:
        """The query string that asks the same; ``changes`` replace fields, ``after`` continues below a place."""
        other = replace(self, **changes)
        pairs: list[tuple[str, Any]] = list(other.filters.items())
        if other.sort != "newest":
            pairs.append(("sort", other.sort))
        if tuple(other.columns) != tuple(default_columns):
            pairs += [("column", name) for name in other.columns]
        if after is not None:
            pairs.append(("after", after))
        return "?" + urlencode(pairs) if pairs else "?"


def place(value: float | None, number: int) -> str:
    """Where a page ends, for the address: ``repr`` gives a float back as it was."""
    return str(number) if value is None else f"{value!r}~{number}"


def parse(given: QueryDict, roles: Sequence[str], columns: Sequence[str], default_columns: Sequence[str]) -> Ask:
    """Reads a query string; whatever is wrong becomes an error by its field, never an exception."""
    errors: dict[str, str] = {}
    sort = _choice(given, "sort", tuple(SORTS), errors) or "newest"
    chosen = [name for name in columns if name in given.getlist("column")]
    return Ask(
        text=_text(given, errors),
        role=_choice(given, "role", roles, errors),
        state=_choice(given, "state", STATES, errors),
        label=_choice(given, "label", LABELS, errors),
        standing=_choice(given, "standing", LABELS, errors),
        failure=given.get("failure", "").replace("\x00", "")[:FAILURE_LENGTH],
        low=_number(given, "low", errors),
        high=_number(given, "high", errors),
        sort=sort,
        columns=tuple(chosen or default_columns),
        after=_place(given, sort, errors),
        errors=errors,
    )


def _text(given: QueryDict, errors: dict[str, str]) -> str:
    text = " ".join(given.get("q", "").replace("\x00", " ").split())
    if len(text) > TEXT_LENGTH:
        errors["q"] = f"{len(text)} characters, expected at most {TEXT_LENGTH}"
        return ""
    return text


def _choice(given: QueryDict, name: str, known: Sequence[str], errors: dict[str, str]) -> str:
    value = given.get(name, "")
    if value and value not in known:
        errors[name] = f"{words(value[:40])!r} is not one of {', '.join(words(one) for one in known[:20])}"
        return ""
    return value


def _number(given: QueryDict, name: str, errors: dict[str, str]) -> float | None:
    value = given.get(name, "").strip().replace("\u2212", "-")
    if not value:
        return None
    found = _read(float, value)
    if found is None or not math.isfinite(found):
        errors[name] = f"{value[:40]!r} is no number"
        return None
    return float(found)


def _place(given: QueryDict, sort: str, errors: dict[str, str]) -> Place | None:
    value = given.get("after", "")
    if not value:
        return None
    told, _, number = value.rpartition("~")
    found = _read(int, number) if len(number) < 10 else None
    at = _read(float, told) if told else None
    if found is None or (at is None) == (sort in BY_SCORE | BY_GAIN) or (at is not None and not math.isfinite(at)):
        errors["after"] = f"{value[:40]!r} is no place in this order: this is the first page"
        return None
    return at, int(found)


def _read(kind: Callable[[str], float], text: str) -> float | None:
    try:
        return kind(text)
    except ValueError:
        return None
