"""Numbers and times as people read them, by the rules of ``static/js/format.js``: a live cell equals a fresh page."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

NOTHING = "\u2013"  # en dash
MINUS = "\u2212"
SHORT_TEXT = 160
#: Printable by Unicode's categories, and yet without ink: joiners, fillers, variation selectors.
_NO_INK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")


def fixed(value: float, digits: int) -> str:
    """``value`` with ``digits`` decimals, halves away from zero (as JavaScript's toFixed), commas between thousands."""
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
    return f"{rounded:,.{digits}f}".replace("-", MINUS)


def score(value: float | None) -> str:
    """A score: five decimals, two from 100 on."""
    return NOTHING if value is None else fixed(value, 5 if abs(value) < 100 else 2)


def delta(value: float | None) -> str:
    """A difference of scores, always with its sign."""
    if value is None:
        return NOTHING
    return ("" if value < 0 else "+") + score(value)


def percent(value: float | None, digits: int = 2) -> str:
    """A signed fraction as percent: -0.0123 -> "-1.23 %", with a real minus."""
    if value is None:
        return NOTHING
    return ("" if value < 0 else "+") + fixed(value * 100, digits) + " %"


def places(value: float | None, digits: int = 2) -> str:
    """A number with that many decimals."""
    return NOTHING if value is None else fixed(value, digits)


def signed(value: float | None, digits: int = 2) -> str:
    """A number with that many decimals, always with its sign."""
    return NOTHING if value is None else ("" if value < 0 else "+") + fixed(value, digits)


def part(value: float | None) -> str:
    """A share of a whole as percent: 0.19 -> "19.0 %"."""
    return NOTHING if value is None else fixed(value * 100, 1) + " %"


def margin(value: float | None) -> str:
    """A share of a limit, to two figures: 0.00812 -> "0.81 %"; what is smaller than 0.01 % is said to be."""
    if value is None:
        return NOTHING
    if value < 0.0001:
        return "under 0.01 %"
    return fixed(value * 100, 0 if value >= 0.1 else 1 if value >= 0.01 else 2) + " %"


def seconds(value: float | None) -> str:
    """Seconds with one decimal; the unit stands in the heading."""
    return NOTHING if value is None else fixed(value, 1)


def whole(value: float | None) -> str:
    """A count, with commas between thousands."""
    return NOTHING if value is None else fixed(value, 0)


def duration(value: float | None) -> str:
    """Seconds as the two largest units: "41.5 s", "3 min 20 s", "5 h 07 min", "2 d 4 h"."""
    if value is None:
        return NOTHING
    if value < 60:
        return f"{fixed(value, 1)} s"
    total = int(value)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if hours == 0:
        return f"{minutes} min {total % 60:02d} s"
    if days == 0:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{days} d {hours % 24} h"


def phase(name: str, progress: float | None) -> str:
    """What is being done and how far it is: "train 42 %"; without progress, what is waited for."""
    return visible(name) if progress is None else f"{words(name)} {fixed(100 * progress, 0)} %"


def waiting(reason: str) -> str:
    """What stands beside a queued trial."""
    return f"waits: {reason}" if reason else "waits for its turn"


def ago(at: datetime, now: datetime, suffix: str = "") -> str:
    """How long ago, coarsely: "now", "40 s", "5 min", "3 h", "2 d", and then ``suffix``."""
    passed = max(now - at, timedelta(0)).total_seconds()
    if passed < 5:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= size:
            return f"{int(passed // size)} {unit} {suffix}".rstrip()
    return f"{int(passed)} s {suffix}".rstrip()


def words(name: str) -> str:
    """A machine name for people: ``size_blocked`` -> "size blocked"."""
    return visible(name).replace("_", " ")


def visible(text: str) -> str:
    """Text of strangers without hidden directions: characters that reorder a line are shown by their code points."""
    return _REORDERING.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def unseen(text: str) -> str:
    """``visible``, and whatever else no eye sees: control characters, tags, selectors and fillers by their code points.

    Spaces, tabs and line feeds stay. A model reads what people do not see, so nothing may be said to it in that way.
    """
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(char if seen(char) or char in "\n\t" else f"[U+{ord(char):04X}]" for char in text)


def seen(char: str) -> bool:
    """Whether a character is a plain space or leaves ink."""
    return char.isprintable() and not _NO_INK.match(char)


def short(text: str, length: int = SHORT_TEXT) -> str:
    """One line of at most ``length`` characters; whatever is cut is marked."""
    flat = visible(" ".join(text[: length * 4].split()))
    return flat if len(flat) <= length and len(text) <= length * 4 else flat[: length - 1] + "…"
