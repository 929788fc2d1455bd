"""Whether Python text can be compiled, asked of the compiler's first two passes: grammar and scopes.

They make no objects of the text, unlike ``ast``, at half its price. A text is read in pieces that are remembered: a
trial changes a few lines of its parent, and every host and process of a search sees nearly the same text again.
"""

from __future__ import annotations

import re
import symtable
from functools import lru_cache

#: Pieces that are remembered, and characters of one that is worth it.
PIECES, PIECE_CHARACTERS = 1024, 16_000
#: What the compiler raises for a text that it cannot read.
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)

# In front of a definition behind an empty line. Inside of a bracket, a string or a block the piece before it does not
# stand alone; where all pieces do, each begins and ends a statement of the module, and so the whole is one.
_BORDER = re.compile(r"\n\n(?=@|def |class |async def )")
# What one piece says of the others: features, and names of the module that must not have been used before.
_FEATURE = re.compile(r"^from __future__ import [^\n]*\n", re.M)
_GLOBAL = re.compile(r"(?:^|[;:])[ \t\f]*global\b", re.M)


def read(text: str, name: str) -> None:
    """Raises what the compiler raises for ``text``, one of UNREADABLE; ``name`` is that of its file."""
    pieces = _pieces(text)
    if len(pieces) == 1 or not all(map(_stands_alone, pieces)):
        symtable.symtable(text, name, "exec")


def _pieces(text: str) -> list[str]:
    """Parts that can be compiled exactly where the text can; the text itself where it has none."""
    first, *others = _BORDER.split(text)
    features = _FEATURE.findall(first)
    if text.count("__future__") != len(features) or ("global" in text and _GLOBAL.search(text)):
        return [text]
    return [first, *("".join((*features, piece)) for piece in others)] if features else [first, *others]


def _stands_alone(piece: str) -> bool:
    return _remembered(piece) if len(piece) <= PIECE_CHARACTERS else _compiles(piece)


def _compiles(piece: str) -> bool:
    try:
        symtable.symtable(piece, "", "exec")
    except UNREADABLE:
        return False
    return True


_remembered = lru_cache(maxsize=PIECES)(_compiles)
