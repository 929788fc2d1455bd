"""Side-by-side differences. No database."""

from __future__ import annotations

import random

from trials.diffview import MAX_LINES, Block, FileDiff, diff_files


def one(old: str, new: str) -> FileDiff:
    (found,) = diff_files({"a.py": old.encode()}, {"a.py": new.encode()})
    return found


def side(blocks: list[Block], name: str) -> list[str]:
    lines = [line for block in blocks for line in getattr(block, name)]
    return ["".join(piece.text for piece in line.pieces) for line in lines if line.number is not None]


def test_unchanged_files_are_left_out() -> None:
    assert diff_files({"a.py": b"1", "b.py": b"2"}, {"a.py": b"1", "b.py": b"2"}) == []


def test_changed_words_are_marked_within_a_line() -> None:
    (block,) = one("momentum = 0.92\n", "momentum = 0.95\n").blocks
    assert block.kind == "change"
    assert [piece.text for piece in block.old[0].pieces if piece.changed] == ["92"]
    assert [piece.text for piece in block.new[0].pieces if piece.changed] == ["95"]


def test_long_unchanged_runs_are_folded_and_numbers_go_on() -> None:
    lines = [f"line {number}" for number in range(40)]
    found = one("\n".join(lines), "\n".join([*lines[:20], "new", *lines[20:]]))
    assert [block.kind for block in found.blocks] == ["fold", "equal", "change", "equal", "fold"]
    assert (found.added, found.removed) == (1, 0)
    assert found.blocks[0].hidden == 17
    assert [line.number for line in found.blocks[3].old] == [21, 22, 23]
    assert [line.number for line in found.blocks[3].new] == [22, 23, 24]
    assert sum(block.hidden + block.rows for block in found.blocks) == 41


def test_both_sides_can_be_read_back() -> None:
    generator = random.Random(3)
    old = [str(generator.randrange(5)) for _ in range(60)]
    new = [line for line in old if generator.random() < 0.7] + ["end"]
    found = one("\n".join(old), "\n".join(new))
    hidden = sum(block.hidden for block in found.blocks)
    assert len(side(list(found.blocks), "old")) + hidden == len(old)
    assert len(side(list(found.blocks), "new")) + hidden == len(new)
    assert all(len(block.old) == len(block.new) for block in found.blocks)


def test_added_and_removed_files_have_one_side() -> None:
    added, removed = diff_files({"b.py": b"gone\n"}, {"a.py": b"fresh\n"})
    assert (added.name, added.status, added.added, added.removed) == ("a.py", "added", 1, 0)
    assert (removed.name, removed.status, removed.added, removed.removed) == ("b.py", "removed", 0, 1)


def test_any_bytes_can_be_shown() -> None:
    found = one("x\u202ey\r\n", "x\n")
    assert side(list(found.blocks), "old") == ["x[U+202E]y"]
    assert diff_files({"a": b"\xff\x00"}, {"a": b""})[0].removed == 1


def test_hostile_sizes_stay_bounded() -> None:
    old = "\n".join(f"{number} {'a ' * 400}" for number in range(MAX_LINES * 2))
    new = "\n".join(f"{number} {'b ' * 400}" for number in range(MAX_LINES * 2))
    found = one(old, new)
    assert found.cut
    assert len(found.blocks) == 1
    assert found.blocks[0].rows == MAX_LINES
    assert max(len(piece.text) for line in found.blocks[0].new for piece in line.pieces) < 1100


def test_a_rewrite_of_everything_is_folded_an_edit_is_not() -> None:
    old = {f"{name}.py": "\n".join(f"{name} {line}" for line in range(120)).encode() for name in "abcd"}
    new = dict.fromkeys(old, b"")
    assert [file.folded for file in diff_files(old, new)] == [False, False, True, True]
