"""Syntax trees of recipe files: parse once, match by structure, rewrite without touching anything else.

Patterns are ordinary Python text in which names such as ``X_`` (capitals, then an underscore) stand for any expression,
and ``*REST_`` among the arguments of a call for all that follow. Matching compares trees: layout, comments, parentheses
and trailing commas never matter. The idea is that of semantic patches (Padioleau et al. 2008, Coccinelle).
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

import libcst as cst

MAX_SOURCE_BYTES = 60_000
FILES = 64
"""That are remembered: a tree takes thirty times the bytes of its text. Those of the newest bases are asked again."""
MAX_DEPTH = 80
METAVARIABLE = re.compile(r"[A-Z]+[0-9]?_")
LAYOUT = frozenset(
    {"lpar", "rpar", "lbracket", "rbracket", "lbrace", "rbrace", "comma", "semicolon", "equal", "dot", "first_colon"}
    | {"second_colon", "newline", "indent", "header", "footer", "leading_lines", "lines_after_decorators"}
    | {"trailing_whitespace", "encoding", "default_indent", "default_newline", "has_trailing_newline"}
)
COMPOUND = (
    cst.BinaryOperation,
    cst.BooleanOperation,
    cst.Comparison,
    cst.UnaryOperation,
    cst.IfExp,
    cst.Lambda,
    cst.NamedExpr,
    cst.Await,
    cst.Yield,
)

Bound = cst.CSTNode | tuple[cst.Arg, ...]
Bindings = dict[str, Bound]
Statement = cst.BaseStatement
Body = Sequence[Statement]


class Refused(Exception):
    """A transformation does not apply; the message says precisely why not."""


@lru_cache(maxsize=FILES)
def parse(text: str) -> cst.Module:
    """Text -> tree, cached per text.

    Raises Refused for text that is too large, nested too deeply for a recursive visit, or not Python.
    """
    if len(text.encode("utf-8", "replace")) > MAX_SOURCE_BYTES:
        raise Refused(f"the file has more than {MAX_SOURCE_BYTES} bytes")
    try:
        if _depth(ast.parse(text)) > MAX_DEPTH:
            raise Refused(f"the file nests more than {MAX_DEPTH} levels")
        return cst.parse_module(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, cst.ParserSyntaxError) as error:
        raise Refused(f"the file does not parse: {type(error).__name__}: {str(error).splitlines()[0][:120]}") from None


def _depth(tree: ast.AST) -> int:
    """Levels of a tree, without recursion."""
    deepest, level = 0, [tree]
    while level:
        deepest += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return deepest


@lru_cache(maxsize=FILES)
def identifiers(text: str) -> frozenset[str]:
    """Every name that a file defines, reads or imports; empty when it does not parse."""
    found: set[str] = set()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.add(value)
    return frozenset(found)


@lru_cache(maxsize=1024)
def expression(code: str) -> cst.BaseExpression:
    return cst.parse_expression(code)


class _Unindented(cst.CSTTransformer):
    """Blank lines of a template get no trailing blanks where it is inserted."""

    def leave_EmptyLine(self, original_node: cst.EmptyLine, updated_node: cst.EmptyLine) -> cst.EmptyLine:
        return updated_node if updated_node.comment else updated_node.with_changes(indent=False)


@lru_cache(maxsize=1024)
def statements(code: str) -> tuple[Statement, ...]:
    """Statements of a piece of code, as they would stand in a body."""
    module = cst.parse_module(code.strip("\n") + "\n").visit(_Unindented())
    return cast(tuple[Statement, ...], tuple(module.body))


def is_metavariable(node: object) -> bool:
    return isinstance(node, cst.Name) and METAVARIABLE.fullmatch(node.value) is not None


def unify(pattern: object, node: object, bound: Bindings) -> bool:
    """Match a pattern with a node; metavariables are added to ``bound``, and one that occurs twice must match alike."""
    if isinstance(pattern, cst.Name) and is_metavariable(pattern):
        if not isinstance(node, cst.BaseExpression):
            return False
        before = bound.setdefault(pattern.value, node)
        return before is node or unify(before, node, {})
    if isinstance(pattern, cst.Call) and isinstance(node, cst.Call):
        return unify(pattern.func, node.func, bound) and _arguments(pattern.args, node.args, bound)
    if isinstance(pattern, cst.CSTNode):
        return type(pattern) is type(node) and all(
            unify(getattr(pattern, field.name), getattr(node, field.name), bound)
            for field in dataclasses.fields(pattern)
            if field.name not in LAYOUT and not field.name.startswith("whitespace")
        )
    if isinstance(pattern, (tuple, list)) and isinstance(node, (tuple, list)):
        return len(pattern) == len(node) and all(unify(a, b, bound) for a, b in zip(pattern, node, strict=True))
    return bool(pattern == node)


def _arguments(pattern: Sequence[cst.Arg], given: Sequence[cst.Arg], bound: Bindings) -> bool:
    last = pattern[-1] if pattern else None
    if last is not None and last.star == "*" and is_metavariable(last.value):
        head = pattern[:-1]
        bound[cast(cst.Name, last.value).value] = tuple(given[len(head) :])
        return len(given) >= len(head) and unify(tuple(head), tuple(given[: len(head)]), bound)
    return unify(tuple(pattern), tuple(given), bound)


def matches(pattern: str, node: cst.CSTNode) -> Bindings | None:
    """Bindings when an expression pattern matches a node."""
    bound: Bindings = {}
    return bound if unify(expression(pattern), node, bound) else None


class _Substitute(cst.CSTTransformer):
    """Fills metavariables; parentheses written around one in the template stay only where they are needed."""

    def __init__(self, bound: Mapping[str, Bound]) -> None:
        super().__init__()
        self.bound = bound

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        value = self.bound.get(original_node.value)
        if not isinstance(value, cst.BaseExpression):
            return updated_node
        if original_node.lpar and isinstance(value, COMPOUND) and not value.lpar:
            return value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return value

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        args: list[cst.Arg] = []
        spliced = False
        for arg in updated_node.args:
            rest = self.bound.get(arg.value.value) if arg.star == "*" and isinstance(arg.value, cst.Name) else None
            spliced = spliced or isinstance(rest, tuple)
            args += rest if isinstance(rest, tuple) else (arg,)
        tidy = [arg.with_changes(comma=cst.MaybeSentinel.DEFAULT) for arg in args]
        return updated_node.with_changes(args=tidy) if spliced else updated_node


def fill(template: cst.CSTNode, bound: Mapping[str, Bound]) -> cst.CSTNode:
    """A fresh copy of a template with its metavariables filled in."""
    return cast(cst.CSTNode, template.deep_clone().visit(_Substitute(bound)))


class Rewriter(cst.CSTTransformer):
    """Replaces every expression that matches; ``count`` says how many."""

    def __init__(self, pattern: str, replacement: str) -> None:
        super().__init__()
        self.pattern = expression(pattern)
        self.replacement = expression(replacement)
        self.count = 0

    def on_leave(
        self, original_node: cst.CSTNodeT, updated_node: cst.CSTNodeT
    ) -> cst.CSTNodeT | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNodeT]:
        if type(updated_node) is not type(self.pattern):
            return updated_node
        bound: Bindings = {}
        if not unify(self.pattern, updated_node, bound):
            return updated_node
        self.count += 1
        new = cast(cst.BaseExpression, fill(self.replacement, bound))
        old = cast(cst.BaseExpression, updated_node)
        if old.lpar and not new.lpar:
            new = new.with_changes(lpar=old.lpar, rpar=old.rpar)
        return cast(cst.CSTNodeT, new)


class StatementRewriter(cst.CSTTransformer):
    """Replaces every simple statement that matches by the statements of ``code``."""

    def __init__(self, pattern: str, code: str) -> None:
        super().__init__()
        self.pattern = statements(pattern)[0]
        self.code = code
        self.count = 0

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.BaseStatement]:
        bound: Bindings = {}
        if not unify(self.pattern, updated_node, bound):
            return updated_node
        self.count += 1
        new = [cast(Statement, fill(statement, bound)) for statement in statements(self.code)]
        new[0] = new[0].with_changes(leading_lines=updated_node.leading_lines)
        return cst.FlattenSentinel(new)


def body_of(node: cst.CSTNode) -> list[Statement]:
    """Statements directly inside a module, class or function. Raises Refused for one-line suites."""
    if isinstance(node, cst.Module):
        return cast(list[Statement], list(node.body))
    block = getattr(node, "body", None)
    if not isinstance(block, cst.IndentedBlock):
        raise Refused("a body stands on the line of its header")
    return list(block.body)


def with_body(node: cst.CSTNode, body: Body) -> cst.CSTNode:
    if isinstance(node, cst.Module):
        return node.with_changes(body=list(body))
    block = cast(cst.IndentedBlock, cast(cst.FunctionDef, node).body)
    return node.with_changes(body=block.with_changes(body=list(body)))


def defines(statement: cst.CSTNode, name: str) -> bool:
    return isinstance(statement, (cst.FunctionDef, cst.ClassDef)) and statement.name.value == name


def constant_target(statement: cst.CSTNode, name: str) -> cst.AnnAssign | cst.Assign | None:
    """The assignment when a statement is ``name = value`` or ``name: type = value``."""
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return None
    only = statement.body[0]
    if isinstance(only, cst.AnnAssign) and only.value is not None:
        return only if isinstance(only.target, cst.Name) and only.target.value == name else None
    if isinstance(only, cst.Assign) and len(only.targets) == 1:
        target = only.targets[0].target
        return only if isinstance(target, cst.Name) and target.value == name else None
    return None


def is_docstring(statement: cst.CSTNode) -> bool:
    return (
        isinstance(statement, cst.SimpleStatementLine)
        and isinstance(statement.body[0], cst.Expr)
        and isinstance(statement.body[0].value, (cst.SimpleString, cst.ConcatenatedString))
    )


def is_import(statement: cst.CSTNode) -> bool:
    return isinstance(statement, cst.SimpleStatementLine) and isinstance(
        statement.body[0], (cst.Import, cst.ImportFrom)
    )


def import_key(statement: cst.CSTNode) -> tuple[int, str, int]:
    """Order of an import line: standard library before the rest, by module name, ``import`` before ``from``."""
    only = cst.ensure_type(statement, cst.SimpleStatementLine).body[0]
    node = only.names[0].name if isinstance(only, cst.Import) else getattr(only, "module", None)
    name = cst.Module([]).code_for_node(node) if isinstance(node, cst.CSTNode) else ""
    return int(name.split(".")[0] not in sys.stdlib_module_names), name, int(isinstance(only, cst.ImportFrom))
