"""Tokenizer: size of the vocabulary, what merges may join, how text is cut."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("tokenizer", "tokenizer.py")
ASKED = "hyperparameters.VOCABULARY"


def _size(edit: Edit, code: str) -> None:
    """Let ``learn`` aim at TOKENS tokens, a multiple of the size in hyperparameters."""
    if edit.mentions("TOKENS"):
        edit.refuse_if(edit.constant_code("TOKENS") == code, f"already applied: TOKENS is {code}")
        edit.set_constant("TOKENS", code)
        return
    edit.rewrite("learn", ASKED, "TOKENS")
    edit.add_constant(f"TOKENS: int = {code}")


@LIBRARY.idea(
    "larger-vocabulary",
    "vocabulary-size",
    Band.SOME,
    "Sennrich et al. 2016; Tao et al. 2024",
    size=1,
    variants=[
        Variant("half-more", 0.5, {"code": f"{ASKED} * 3 // 2"}),
        Variant("double", 1.0, {"code": f"2 * {ASKED}"}),
        Variant("fourfold", 3.0, {"code": f"4 * {ASKED}"}),
    ],
    sets=True,
)
def larger_vocabulary(edit: Edit, settings: Settings) -> None:
    """Longer tokens let the same number of positions cover more text"""
    _size(edit, settings["code"])


@LIBRARY.idea(
    "smaller-vocabulary",
    "vocabulary-size",
    Band.UNCLEAR,
    "Tao et al. 2024",
    size=-1,
    variants=[
        Variant("three-quarters", 1.0, {"code": f"max(257, {ASKED} * 3 // 4)"}),
        Variant("half", 2.0, {"code": f"max(257, {ASKED} // 2)"}),
    ],
    sets=True,
)
def smaller_vocabulary(edit: Edit, settings: Settings) -> None:
    """Fewer tokens train every embedding row more often and free bytes"""
    _size(edit, settings["code"])


@LIBRARY.idea("byte-vocabulary", "vocabulary-size", Band.DOUBTFUL, "Xue et al. 2022 (ByT5)", size=-1)
def byte_vocabulary(edit: Edit, settings: Settings) -> None:
    """Plain bytes need no merges and the smallest table"""
    _size(edit, "256")


@LIBRARY.idea(
    "used-bytes",
    "alphabet",
    Band.UNCLEAR,
    "Kudo and Richardson 2018 (character coverage)",
    marks=["used_bytes"],
    size=-1,
)
def used_bytes(edit: Edit, settings: Settings) -> None:
    """Bytes that are neither printable ASCII nor in the training text need no rows; such a text could not be spelt"""
    edit.rewrite("learn", "alphabet()", "used_bytes(documents)")
    edit.rewrite("Tokenizer.to_bytes", "self.vocabulary[len(alphabet()) :]", "self.vocabulary")
    edit.replace("Tokenizer.from_bytes", "vocabulary = alphabet()", "vocabulary: list[bytes] = []")
    edit.define(
        '''
def used_bytes(documents: list[bytes]) -> list[bytes]:
    """Single bytes that occur in the documents, printable ASCII and the newline."""
    seen = set(b"\\n").union(range(32, 127), *documents)
    return [token for token in alphabet() if token[0] in seen]
''',
        before="learn",
    )


def _pattern(edit: Edit, old: bytes, new: bytes) -> None:
    """Replace a part of the regular expression that cuts text into words."""
    bound = edit.bind("WORD", "re.compile(P_)")
    value = edit.literal(bound["P_"])
    edit.refuse_if(not isinstance(value, bytes) or b'"' in value, "WORD is not made of a bytes literal")
    edit.refuse_if(new in value, f"already applied: words match {new!r}")
    edit.refuse_if(old not in value, f"words do not match {old!r}")
    text = value.replace(old, new).decode("ascii")
    edit.set_constant("WORD", f're.compile(rb"{text}")')


@LIBRARY.idea("line-end-pieces", "word-shape", Band.UNCLEAR, "Kudo and Richardson 2018", marks=[])
def line_end_pieces(edit: Edit, settings: Settings) -> None:
    """Punctuation that may take its line end along becomes one token where lines end alike"""
    _pattern(edit, rb"[^A-Za-z0-9\s]+", rb"[^A-Za-z0-9\s]+\n?")


@LIBRARY.idea("whitespace-runs", "word-shape", Band.UNCLEAR, "Radford et al. 2019; Black et al. 2022")
def whitespace_runs(edit: Edit, settings: Settings) -> None:
    """Runs of blanks and line ends as one piece spare a token each"""
    _pattern(edit, rb"|\s", rb"|\s+")


@LIBRARY.idea("apostrophe-words", "word-shape", Band.UNCLEAR, "Radford et al. 2019 (GPT-2 pattern)")
def apostrophe_words(edit: Edit, settings: Settings) -> None:
    """Words that keep what follows an apostrophe learn contractions whole"""
    _pattern(edit, rb"[A-Za-z]+|", rb"[A-Za-z]+(?:'[a-z]+)?|")


@LIBRARY.idea("fewest-tokens", "segmentation", Band.UNCLEAR, "Kudo 2018; Schmidt et al. 2024", marks=["fewest"])
def fewest_tokens(edit: Edit, settings: Settings) -> None:
    """Spelling each word with as few tokens as possible shortens the text"""
    edit.body(
        "Tokenizer.encode_word",
        """
fewest: list[tuple[float, int]] = [(0.0, 0)]
for end in range(1, len(word) + 1):
    fits = [(fewest[at][0] + 1.0, at) for at in range(max(0, end - 32), end) if word[at:end] in self.numbers]
    fewest.append(min(fits, default=(float("inf"), end - 1)))
cuts = [len(word)]
while cuts[-1]:
    cuts.append(fewest[cuts[-1]][1])
return [self.numbers[word[a:b]] for b, a in reversed(list(itertools.pairwise(cuts)))]
""",
    )
    edit.need_import("import itertools")


@LIBRARY.idea("longest-match", "segmentation", Band.UNCLEAR, "Wu et al. 2016 (WordPiece)", marks=["longest"])
def longest_match(edit: Edit, settings: Settings) -> None:
    """Taking the longest token that fits uses whole words more often than merge order does"""
    edit.body(
        "Tokenizer.encode_word",
        """
numbers: list[int] = []
while word:
    longest = next((n for n in range(len(word), 1, -1) if word[:n] in self.numbers), 1)
    numbers.append(self.numbers[word[:longest]])
    word = word[longest:]
return numbers
""",
    )


@LIBRARY.idea("length-weighted-merges", "merge-order", Band.UNCLEAR, "Galle 2019", marks=["bytes_joined"])
def length_weighted_merges(edit: Edit, settings: Settings) -> None:
    """Merges ranked by the bytes that they join, not by count alone, favour whole words"""
    edit.rewrite("learn_merges", "max(total.values())", "max(n * bytes_joined(pair) for pair, n in total.items())")
    edit.rewrite("learn_merges", "n == most", "n * bytes_joined(pair) == most")
    edit.define(
        '''
def bytes_joined(pair: tuple[bytes, bytes]) -> float:
    """Weight of a merge: the root of the length of what it makes."""
    return float(len(pair[0]) + len(pair[1])) ** 0.5
''',
        before="learn_merges",
    )


@LIBRARY.idea("middle-sample", "learning-sample", Band.UNCLEAR, "Sennrich et al. 2016", marks=["middle"])
def middle_sample(edit: Edit, settings: Settings) -> None:
    """Merges learnt from the middle of documents skip title pages and lists of persons"""
    edit.rewrite("sample", "document[:share]", "middle(document, share)")
    edit.define(
        '''
def middle(document: bytes, share: int) -> bytes:
    """``share`` bytes from the middle of a document, or all of it."""
    begin = max(0, (len(document) - share) // 2)
    return document[begin : begin + share]
''',
        before="sample",
    )


@LIBRARY.idea(
    "sample-size",
    "learning-sample",
    Band.UNCLEAR,
    "Sennrich et al. 2016",
    variants=[Variant("half", 1.0, {"share": 0.5}), Variant("double", 1.0, {"share": 2.0})],
)
def sample_size(edit: Edit, settings: Settings) -> None:
    """How much text merges are counted on decides how well rare pieces are ranked"""
    edit.move("SAMPLE_BYTES", str(int(edit.number("SAMPLE_BYTES") * settings["share"])), f"x {settings['share']}")
