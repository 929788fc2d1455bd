"""Whether an edit turns knobs or changes the program: syntax trees compared with every literal masked. Pure."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256


class EditKind(StrEnum):
    """KNOB: equal but for literals (numbers, strings, truth values, and containers of nothing else). SAME: equal to the
    parser, so only comments, spacing or docstrings differ. PROGRAM: anything else, files added or removed included."""

    SAME = "same"
    KNOB = "knob"
    PROGRAM = "program"


def kind_of(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> EditKind:
    """The kind of edit between two source trees (file name -> bytes); only files that differ are parsed."""
    if before.keys() != after.keys():
        return EditKind.PROGRAM
    found = EditKind.SAME
    for name in before:
        if before[name] == after[name]:
            continue
        if not name.endswith(".py"):
            return EditKind.PROGRAM
        old, new = _shape(before[name]), _shape(after[name])
        if old is None or old != new:
            return EditKind.PROGRAM
        if found is EditKind.SAME and _text(before[name]) != _text(after[name]):
            found = EditKind.KNOB
    return found


@lru_cache(maxsize=64)  # children of one parent are compared one after the other
def _shape(source: bytes) -> bytes | None:
    """SHA-256 of the program's syntax tree with its literals masked; None for what does not parse."""
    try:
        return sha256(ast.dump(_Mask().visit(_tree(source))).encode("utf-8", "surrogatepass")).digest()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _text(source: bytes) -> str:
    return ast.dump(_tree(source))


def _tree(source: bytes) -> ast.Module:
    """The syntax tree without docstrings. Raises what ``ast.parse`` raises."""
    tree = ast.parse(source)
    _drop_docstrings(tree)
    return tree


def _drop_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]


class _Mask(ast.NodeTransformer):
    """Literals, signed numbers and containers of literals become one and the same node."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        return ast.Constant(value=0) if self._is_literal(node) else node

    @staticmethod
    def _is_literal(node: ast.AST) -> bool:
        if isinstance(node, ast.Constant):
            return True
        if isinstance(node, ast.UnaryOp):
            return isinstance(node.op, ast.USub | ast.UAdd) and isinstance(node.operand, ast.Constant)
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return bool(node.elts) and all(isinstance(item, ast.Constant) for item in node.elts)
        if isinstance(node, ast.Dict):
            return bool(node.keys) and all(isinstance(item, ast.Constant) for item in (*node.keys, *node.values))
        return False
