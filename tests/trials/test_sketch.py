"""Words, keys and failure keys."""

from __future__ import annotations

import weakref

from trials import sketch

ZLOSS = "Add an auxiliary z-loss on the logits, so that the output scale stays bounded during training."
AGAIN = "Auxiliary z-loss on output logits keeps the scale bounded while training runs."
OTHER = "Replace the learned tokenizer by plain bytes and spend the saved artifact size on wider layers."


def test_words_carry_ideas_and_are_bounded() -> None:
    assert sketch.words("The trial SHOULD use z-loss, because Z-LOSS helps.") == {"z-loss"}
    assert len(sketch.words(" ".join(f"word{chr(97 + at % 26)}{chr(97 + at // 26)}" for at in range(600)))) == 80
    assert sketch.words("") == sketch.words("0.5 \u2603 -") == frozenset()


def test_a_process_that_reads_hypotheses_for_weeks_remembers_the_newest() -> None:
    read = []
    for number in range(3 * sketch.TEXTS):
        own = "".join(chr(97 + number // 26**place % 26) for place in range(4))
        found = sketch.words(f"{ZLOSS} {own}a {own}b")
        sketch.keys(found)
        read.append(weakref.ref(found))
    del found
    alive = [number for number, one in enumerate(read) if one() is not None]
    assert len(alive) <= sketch.TEXTS + sketch.KEY_SETS and alive[-1] == len(read) - 1
    assert alive[0] >= len(read) - sketch.TEXTS - sketch.KEY_SETS


def test_likeness_is_the_cosine_of_the_words() -> None:
    one, other = sketch.words(ZLOSS), sketch.words(AGAIN)
    assert sketch.likeness(one, one) == 1.0
    assert sketch.likeness(one, other) > 0.6 and sketch.likeness(one, sketch.words(OTHER)) < 0.2
    assert sketch.likeness(one, frozenset()) == 0.0


def test_texts_that_are_alike_share_a_key_and_the_keys_are_always_the_same() -> None:
    keys = sketch.keys(sketch.words(ZLOSS))
    assert len(set(keys)) == sketch.KEYS and all(-(1 << 63) <= key < 1 << 63 for key in keys)
    assert set(keys) & set(sketch.keys(sketch.words(AGAIN)))
    assert not set(keys) & set(sketch.keys(sketch.words(OTHER)))
    assert sketch.keys(frozenset()) == ()
    assert sketch.keys(frozenset({"alpha"}))[0] == 8964851682286864672


def test_failures_of_a_kind_have_one_key() -> None:
    first = sketch.failure_key("size_blocked", "2,056 bytes over")
    assert first == sketch.failure_key("size_blocked", "17 bytes over") == "size_blocked: # bytes over"
    assert sketch.failure_key("crash", "KeyError: 'wte'") == sketch.failure_key("crash", "KeyError: 'lm_head'")
    assert sketch.failure_key("crash", "KeyError: 'wte'") != sketch.failure_key("crash", "ValueError: 'wte'")
    assert len(sketch.failure_key("crash", "x" * 300)) == sketch.FAILURE_LENGTH
