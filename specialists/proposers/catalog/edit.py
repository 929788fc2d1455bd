"""The editor with which a transformation changes the syntax tree of one recipe file."""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Mapping
from typing import Any, cast

import libcst as cst

from specialists.proposers.catalog import trees
from specialists.proposers.catalog.trees import Refused


def _same(left: str, right: str) -> bool:
    """True for two texts of one number, rounding aside."""
    try:
        return math.isclose(float(left), float(right), rel_tol=0.01)
    except ValueError:
        return False


class Edit:
    """The tree of one file while it is being changed; the other files are there to read.

    Paths name definitions: ``"Block.forward"``, ``"schedule"``, ``""`` for the module. Every method raises Refused when
    the place that it needs is not there.
    """

    def __init__(self, file: str, files: Mapping[str, str], rng: random.Random) -> None:
        self.file, self.files, self.rng = file, files, rng
        self.module = trees.parse(files[file])

    def mentions(self, *names: str) -> bool:
        """True when every name occurs as an identifier in the file as it was."""
        return set(names) <= trees.identifiers(self.files[self.file])

    def refuse_if(self, condition: bool, why: str) -> None:
        if condition:
            raise Refused(why)

    def get(self, path: str) -> cst.CSTNode:
        """The definition at a path; of several with one name the last, which is the one that counts."""
        node: cst.CSTNode = self.module
        for name in filter(None, path.split(".")):
            found = [statement for statement in trees.body_of(node) if trees.defines(statement, name)]
            if not found:
                raise Refused(f"there is no {path} in {self.file}")
            node = found[-1]
        return node

    def put(self, path: str, new: cst.CSTNode) -> None:
        """Replace the definition at a path."""
        if not path:
            self.module = cst.ensure_type(new, cst.Module)
            return
        owner_path = path.rpartition(".")[0]
        owner, old = self.get(owner_path), self.get(path)
        body = [cast(trees.Statement, new) if statement is old else statement for statement in trees.body_of(owner)]
        self.put(owner_path, trees.with_body(owner, body))

    def rewrite(self, path: str, pattern: str, replacement: str) -> None:
        """Replace every expression at a path that matches."""
        rewriter = trees.Rewriter(pattern, replacement)
        new = cast(cst.CSTNode, self.get(path).visit(rewriter))
        if not rewriter.count:
            raise Refused(f"{path or self.file} has no `{pattern}`")
        self.put(path, new)

    def finds(self, path: str, pattern: str) -> bool:
        rewriter = trees.Rewriter(pattern, pattern)
        self.get(path).visit(rewriter)
        return rewriter.count > 0

    def replace(self, path: str, pattern: str, code: str) -> None:
        """Replace every simple statement that matches by statements."""
        rewriter = trees.StatementRewriter(pattern, code)
        new = cast(cst.CSTNode, self.get(path).visit(rewriter))
        if not rewriter.count:
            raise Refused(f"{path} has no statement `{pattern}`")
        self.put(path, new)

    def replace_run(self, path: str, patterns: list[str], code: str) -> None:
        """Replace consecutive statements of a body that match the patterns one by one."""
        node = self.get(path)
        body = trees.body_of(node)
        wanted = [trees.statements(pattern)[0] for pattern in patterns]
        for at in range(len(body) - len(wanted) + 1):
            bound: trees.Bindings = {}
            if all(trees.unify(want, body[at + i], bound) for i, want in enumerate(wanted)):
                new = [cast(trees.Statement, trees.fill(statement, bound)) for statement in trees.statements(code)]
                self.put(path, trees.with_body(node, [*body[:at], *new, *body[at + len(wanted) :]]))
                return
        raise Refused(f"{path} has no `{'; '.join(patterns)}`")

    def wrap_return(self, path: str, template: str) -> None:
        """Replace the value V_ of the last return statement of a function by a template of it."""
        node = self.get(path)
        body = trees.body_of(node)
        bound: trees.Bindings = {}
        if not body or not trees.unify(trees.statements("return V_")[0], body[-1], bound):
            raise Refused(f"{path} does not end in a return of a value")
        value = trees.fill(trees.expression(template), bound)
        line = cst.ensure_type(body[-1], cst.SimpleStatementLine)
        body[-1] = line.with_deep_changes(line.body[0], value=value)
        self.put(path, trees.with_body(node, body))

    def insert(self, path: str, code: str, *, after: str | None = None, at_end: bool = False) -> None:
        """Insert statements behind one that matches ``after``, at the end (before a final return), or at the start."""
        node = self.get(path)
        body = trees.body_of(node)
        if after is not None:
            pattern = trees.statements(after)[0]
            places = [i + 1 for i, statement in enumerate(body) if trees.unify(pattern, statement, {})]
            if not places:
                raise Refused(f"{path} has no statement `{after}`")
            at = places[0]
        elif at_end:
            last = body[-1] if body else None
            returns = isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[0], cst.Return)
            at = len(body) - 1 if returns else len(body)
        else:
            at = 1 if body and trees.is_docstring(body[0]) else 0
        new = [statement.deep_clone() for statement in trees.statements(code)]
        if at < len(body) and isinstance(new[-1], cst.FunctionDef):
            body[at] = body[at].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
        self.put(path, trees.with_body(node, [*body[:at], *new, *body[at:]]))

    def body(self, path: str, code: str) -> None:
        """Replace a function's body, all but its docstring."""
        node = self.get(path)
        kept = [statement for statement in trees.body_of(node)[:1] if trees.is_docstring(statement)]
        new = [statement.deep_clone() for statement in trees.statements(code)]
        self.put(path, trees.with_body(node, [*kept, *new]))

    def parameter(self, path: str, code: str) -> None:
        """Add a last positional parameter."""
        node = cst.ensure_type(self.get(path), cst.FunctionDef)
        extra = cst.ensure_type(trees.statements(f"def f({code}): pass")[0], cst.FunctionDef).params.params[0]
        params = [*node.params.params, extra.deep_clone()]
        self.put(path, node.with_changes(params=node.params.with_changes(params=params)))

    def define(self, code: str, *, before: str) -> None:
        """Insert top-level definitions in front of another, two blank lines apart."""
        anchor = self.get(before)
        body = trees.body_of(self.module)
        at = body.index(cast(trees.Statement, anchor))
        new = [self._spaced(statement) for statement in trees.statements(code)]
        self.module = self.module.with_changes(body=[*body[:at], *new, *body[at:]])

    def method(self, path: str, code: str) -> None:
        """Append a method to a class."""
        node = self.get(path)
        new = trees.statements(code)[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
        self.put(path, trees.with_body(node, [*trees.body_of(node), new.deep_clone()]))

    @staticmethod
    def _spaced(statement: trees.Statement) -> trees.Statement:
        lines = [cst.EmptyLine(indent=False)] * 2
        return statement.with_changes(leading_lines=lines).deep_clone()

    def remove(self, name: str) -> None:
        """Drop a top-level function or class if it is there."""
        body = [statement for statement in self.module.body if not trees.defines(statement, name)]
        self.module = self.module.with_changes(body=body)

    def constant(self, name: str, file: str | None = None) -> Any:
        """Value of a literal module-level constant, of this file or another."""
        module = self.module if file is None else trees.parse(self.files.get(file, ""))
        for statement in reversed(module.body):
            found = trees.constant_target(statement, name)
            if found is not None and found.value is not None:
                try:
                    return ast.literal_eval(module.code_for_node(found.value))
                except (ValueError, SyntaxError):
                    raise Refused(f"{name} is not a literal") from None
        raise Refused(f"there is no constant {name} in {file or self.file}")

    def number(self, name: str, file: str | None = None) -> float:
        """A constant that must be a number."""
        value = self.constant(name, file)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused(f"{name} is {value!r}, not a number")
        return value

    def set_constant(self, name: str, code: str, comment: str = "") -> None:
        """Give a module-level constant another value; a comment is added to the end of its line."""
        body = list(self.module.body)
        for at in range(len(body) - 1, -1, -1):
            found = trees.constant_target(body[at], name)
            if found is None:
                continue
            line = cst.ensure_type(body[at], cst.SimpleStatementLine)
            line = line.with_changes(body=[found.with_changes(value=trees.expression(code).deep_clone())])
            body[at] = self._commented(line, comment) if comment else line
            self.module = self.module.with_changes(body=body)
            return
        raise Refused(f"there is no constant {name} in {self.file}")

    @staticmethod
    def _commented(line: cst.SimpleStatementLine, comment: str) -> cst.SimpleStatementLine:
        before = line.trailing_whitespace.comment
        text = f"{before.value}; {comment}" if before is not None else f"# {comment}"
        trailing = cst.TrailingWhitespace(cst.SimpleWhitespace("  "), cst.Comment(text))
        return line.with_changes(trailing_whitespace=trailing)

    def add_constant(self, code: str) -> None:
        """Add a module-level constant behind the last one (behind the imports when there is none)."""
        body = list(self.module.body)
        head = next((i for i, s in enumerate(body) if isinstance(s, (cst.FunctionDef, cst.ClassDef))), len(body))
        new = trees.statements(code)[0].deep_clone()
        if head and trees.is_import(body[head - 1]):
            new = new.with_changes(leading_lines=[cst.EmptyLine(indent=False)])
        self.module = self.module.with_changes(body=[*body[:head], new, *body[head:]])

    def need_import(self, code: str) -> None:
        """Add an import line in its sorted place unless it is there: standard library first, then by module name."""
        body = list(self.module.body)
        line = trees.statements(code)[0]
        if any(trees.unify(line, statement, {}) for statement in body):
            return
        key = trees.import_key(line)
        places = [i for i, statement in enumerate(body) if trees.is_import(statement)]
        later = [i for i in places if trees.import_key(body[i]) > key]
        at = later[0] if later else (places[-1] + 1 if places else int(bool(body) and trees.is_docstring(body[0])))
        apart = [cst.EmptyLine(indent=False)]
        new = line.deep_clone()
        same_group_before = at > 0 and trees.is_import(body[at - 1]) and trees.import_key(body[at - 1])[0] == key[0]
        if later:
            new = new.with_changes(leading_lines=cast(Any, body[at]).leading_lines)
            body[at] = body[at].with_changes(leading_lines=[] if trees.import_key(body[at])[0] == key[0] else apart)
        if not later or same_group_before:
            new = new.with_changes(leading_lines=[] if same_group_before else apart)
        self.module = self.module.with_changes(body=[*body[:at], new, *body[at:]])

    def drop_import(self, module: str) -> None:
        """Remove ``import module`` when nothing mentions the module any more."""
        line = trees.statements(f"import {module}")[0]
        kept = [statement for statement in self.module.body if not trees.unify(line, statement, {})]
        without = self.module.with_changes(body=kept)
        if len(kept) < len(self.module.body) and module not in trees.identifiers(without.code):
            first = self.module.body[0]
            if kept and kept[0] is not first and isinstance(first, cst.SimpleStatementLine):
                kept[0] = kept[0].with_changes(leading_lines=first.leading_lines)
            self.module = self.module.with_changes(body=kept)

    def rewrite_return(self, path: str, pattern: str, replacement: str) -> None:
        """Replace expressions that match inside the value of a function's last return statement only."""
        body = trees.body_of(self.get(path))
        bound: trees.Bindings = {}
        if not body or not trees.unify(trees.statements("return V_")[0], body[-1], bound):
            raise Refused(f"{path} does not end in a return of a value")
        rewriter = trees.Rewriter(pattern, replacement)
        new = cast(trees.Statement, body[-1].visit(rewriter))
        if not rewriter.count:
            raise Refused(f"{path} does not return `{pattern}`")
        self.put(path, trees.with_body(self.get(path), [*body[:-1], new]))

    def rename(self, path: str, name: str) -> None:
        """Give a function or class another name; who calls it is the caller's business."""
        node = cst.ensure_type(self.get(path), cst.FunctionDef)
        self.put(path, node.with_changes(name=cst.Name(name)))

    def constant_code(self, name: str) -> str:
        """The expression that a module-level constant is set to, as text."""
        for statement in reversed(self.module.body):
            found = trees.constant_target(statement, name)
            if found is not None and found.value is not None:
                return self.module.code_for_node(found.value)
        raise Refused(f"there is no constant {name} in {self.file}")

    def comment(self, name: str) -> str:
        """The comment at the end of a constant's line."""
        for statement in reversed(self.module.body):
            if trees.constant_target(statement, name) is not None:
                comment = cst.ensure_type(statement, cst.SimpleStatementLine).trailing_whitespace.comment
                return "" if comment is None else comment.value
        raise Refused(f"there is no constant {name} in {self.file}")

    def move(self, name: str, code: str, mark: str) -> None:
        """Set a constant whose former value and reason stay in a comment, so that the same move is made once only."""
        if mark in self.comment(name):
            raise Refused(f"already applied: {name} carries `{mark}`")
        former = [part.rpartition("was ")[2] for part in self.comment(name).split(";") if "was " in part]
        if any(_same(code, value) for value in former):
            raise Refused(f"conflict: {name} was {code} before and would be so again")
        self.set_constant(name, code, f"{mark}, was {self.constant_code(name)}")

    def append(self, code: str) -> None:
        """Add top-level definitions at the end of the file."""
        new = [self._spaced(statement) for statement in trees.statements(code)]
        self.module = self.module.with_changes(body=[*self.module.body, *new])

    def bind(self, name: str, pattern: str) -> trees.Bindings:
        """Match the expression of a module-level constant; what the metavariables stand for."""
        for statement in reversed(self.module.body):
            found = trees.constant_target(statement, name)
            if found is not None and found.value is not None:
                bound = trees.matches(pattern, found.value)
                if bound is None:
                    raise Refused(f"{name} is not `{pattern}`")
                return bound
        raise Refused(f"there is no constant {name} in {self.file}")

    def literal(self, node: object) -> Any:
        """Value of a literal expression."""
        try:
            return ast.literal_eval(self.module.code_for_node(cast(cst.CSTNode, node)))
        except (ValueError, SyntaxError):
            raise Refused("an expression is not a literal") from None
