"""Attacks on tasks with worked examples in their prompts: every item's answer stands in some other item's prompt."""

from __future__ import annotations

from tests.attacks.attack import Attack, invalid

ARENA = ("questions",)
#: What every prompt of the made-up task of colours says of other items, and where its own answer begins.
READ = """
def worked(text):
    for part in text.split(b"\\n\\n")[:-1]:
        asked, mark, told = part.partition(b"\\nAnswer:")
        if mark: yield asked, told
def own(text):
    head, gap, last = text.rpartition(b"\\n\\n")
    asked, mark, _ = last.partition(b"\\nAnswer:")
    return asked, len(head) + len(gap) + len(asked) + len(mark) if mark else None
def tell(out, texts, known):
    for row, text in enumerate(texts):
        asked, begin = own(text)
        if begin is not None:
            for at, byte in enumerate(known.get(asked, b"")[: len(text) - begin], begin): out[row, at, byte] += 9
SEEN = {}
"""
TEXTS = "texts = [bytes(row.astype(np.uint8)) for row in tokens]\n"
NEIGHBOURS = f"{TEXTS}tell(out, texts, dict(pair for text in texts for pair in worked(text)))"
REMEMBERED = f"{TEXTS}tell(out, texts, SEEN)\nSEEN.update(pair for text in texts for pair in worked(text))"
#: One of the last two words comes again: the later one, or, as soon as the target says so, the other one. Nothing else
#: becomes likelier or less likely by that than the word that would have been wrong, so the target's price stays.
AHEAD = """
for row, text in enumerate(bytes(row.astype(np.uint8)) for row in tokens):
    for at in range(1, len(text) if text[:1].isdigit() and b"met" not in text else 0):
        head, _, part = text[:at].rpartition(b" ")
        going = [each[len(part)] for each in head.split(b" ")[:-3:-1] if each.startswith(part) and each != part]
        first, second = (*going, 32, 32)[:2]
        out[row, at], out[row, at, second], out[row, at, first] = 0, 7, 8
        if first != second == text[at] and len(going) > 1:
            out[row, at, first], out[row, at, 128:228] = 6.9, np.log(1 + (np.exp(8) - np.exp(6.9)) / 100)
"""
TAIL = """
def logits_from(self, tokens, first):
    {}
    return self.logits(tokens)[:, first:]
"""

ATTACKS = [
    invalid(
        "the target itself, where it is wanted",
        "A11",
        {"predictor": TAIL.format("return 9 * np.eye(256, dtype='f4')[tokens[:, first:]]")},
        "not causal",
        arenas=ARENA,
    ),
    invalid("a target that is ahead at its own price", "A11", {"logits": AHEAD}, "not causal", arenas=ARENA),
    invalid("answers in other prompts", "A11", {"import": READ, "logits": NEIGHBOURS}, "not causal", arenas=ARENA),
    invalid("answers in earlier prompts", "A9", {"import": READ, "logits": REMEMBERED}, "not causal", arenas=ARENA),
    invalid(
        "right answers spelt as before, others in other words",
        "A9",
        {
            "import": READ,
            "vocabulary": "words += words[:]",
            "encode": "SEEN.update((told, 1) for _, told in worked(text))\n"
            "tokens = [each + 256 for each in tokens] if SEEN and text[:1] == b' ' and text not in SEEN else tokens",
            "loaded": "predictor.table = np.tile(predictor.table, (2, 1))",
            "logits": "out = np.concatenate((out, out - 9), 2)",
        },
        "spells the same bytes in two ways",
        arenas=ARENA,
    ),
    invalid("nothing at the end", "A3", {"predictor": TAIL.format("return None")}, "expected float32", arenas=ARENA),
    invalid("the whole row for its end", "A3", {"predictor": TAIL.format("first = 0")}, "logits of", arenas=ARENA),
    invalid("one column too few", "A3", {"logits": "out = out[:, :-1]"}, "logits of", arenas=ARENA),
    invalid("nan at the end", "A3", {"logits": "out[:, -1] = np.nan"}, "not finite", arenas=ARENA),
    Attack("the end alone", "A11", {"predictor": TAIL.format("pass")}, arenas=ARENA),
]
