"""The mutants of a source file: each has one place of it changed, as a mistake would.

What is mutated: comparisons, conditions, arithmetic, numbers, bytes, slices, what a function
returns; and statements are left out, which is what a forgotten sync looks like. What is not:
types, texts, asserts, imports, calls of the log, the arguments of an error that is raised, and
the values of enumerations and fields that only documents hold together. Positions count bytes.
"""

from __future__ import annotations

import ast
import hashlib
import re
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

COMPARISONS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "is": ("is not",),
    "is not": ("is",),
    "in": ("not in",),
    "not in": ("in",),
}
ARITHMETIC = {
    "+": "-",
    "-": "+",
    "*": "//",
    "//": "*",
    "/": "*",
    "%": "//",
    "<<": ">>",
    ">>": "<<",
    "&": "|",
    "|": "&",
    "^": "&",
    "**": "*",
}
OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LOGGERS = ("logger", "_logger", "logging")
OPERATOR = re.compile(rb"is\s+not\b|not\s+in\b|is\b|in\b|[<>=!]=|\*\*|//|<<|>>|[<>+\-*/%&|^]")


class Edit(NamedTuple):
    """Bytes `[start, end)` of a file become `text`.

    Attributes:
        line: where the statement begins that it is in; counts from 1.
        own_line: where it stands itself: Python counts a condition on several lines from there.
        is_imported: the statement runs when the module is imported, not in a function.
    """

    start: int
    end: int
    text: str
    line: int
    own_line: int
    is_imported: bool


class Mutant(NamedTuple):
    """One edit of one file.

    `name` stays the same while other parts of the file change; `path` is relative to the tree.
    """

    name: str
    path: str
    edit: Edit

    def applied(self, source: bytes) -> bytes:
        """The file as it is with this mistake."""
        return source[: self.edit.start] + self.edit.text.encode() + source[self.edit.end :]


def mutants_of(root: Path, paths: Iterable[Path]) -> list[Mutant]:
    """Every mutant of some files, in an order that is by chance but always the same."""
    found = []
    for path in paths:
        relative = str(path.relative_to(root))
        source = path.read_bytes()
        seen: dict[str, int] = {}
        lines = source.decode().splitlines()
        for edit in edits_of(source):
            line = lines[edit.line - 1].strip()
            said = f"{relative} {line} {source[edit.start : edit.end]!r} {edit.text}"
            seen[said] = seen.get(said, 0) + 1
            name = hashlib.sha256(f"{said} {seen[said]}".encode()).hexdigest()[:16]
            found.append(Mutant(name, relative, edit))
    return sorted(found, key=lambda mutant: mutant.name)


def edits_of(source: bytes) -> list[Edit]:
    """All edits of a file, by position."""
    return sorted(set(_Visitor(source).edits_of_all()))


class _Visitor:
    """Walks a module, and leaves out what is not mutated."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._line = 0
        self._functions = 0  # around what is looked at
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def edits_of_all(self) -> Iterator[Edit]:
        return self._walk(ast.parse(self._source))

    def _walk(self, node: ast.AST) -> Iterator[Edit]:
        if _is_left_alone(node):
            return
        if isinstance(node, ast.stmt):
            self._line = node.lineno
        line, is_function = self._line, isinstance(node, FUNCTIONS)
        yield from self._edits_of(node)
        self._functions += is_function
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params", "bases"):
                continue
            if isinstance(node, ast.Raise):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._walk(child)
                    self._line = line
        self._functions -= is_function

    def _edits_of(self, node: ast.AST) -> Iterator[Edit]:
        match node:
            case ast.Compare():
                yield from self._comparisons(node)
            case ast.BinOp():
                yield from self._operators(node.left, node.right)
            case ast.AugAssign():
                yield from self._operators(node.target, node.value)
            case ast.BoolOp():
                yield from self._junctions(node)
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
                yield self._edit(node, f"({self._text(node.operand)})")
            case ast.Constant():
                yield from self._constants(node)
            case ast.Call(func=ast.Name(id=name)) if name in OPPOSITES:
                yield self._edit(node.func, OPPOSITES[name])
            case ast.If() | ast.IfExp():
                yield self._edit(node.test, "True")
                yield self._edit(node.test, "False")
            case ast.While():
                yield self._edit(node.test, "False")
            case ast.comprehension():
                for test in node.ifs:
                    yield self._edit(test, "True")
            case ast.Slice():
                for bound in (node.lower, node.upper):
                    if bound is not None:
                        yield self._edit(bound, "")
            case ast.Return(value=ast.expr() as value) if not _is_none_or_false(value):
                yield self._edit(value, "None")
            case ast.Continue():
                yield self._edit(node, "break")
                yield self._edit(node, "pass")
            case ast.Break() | ast.Raise() | ast.Delete():
                yield self._edit(node, "pass")
            case ast.Expr(value=ast.Call() | ast.Await() | ast.Yield() | ast.YieldFrom()):
                yield self._edit(node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign():
                yield self._edit(node, "pass")
        if isinstance(node, ast.AugAssign):
            yield self._edit(node, "pass")

    def _comparisons(self, node: ast.Compare) -> Iterator[Edit]:
        sides = [node.left, *node.comparators]
        for left, right in pairwise(sides):
            start, end, operator = self._between(left, right)
            for other in COMPARISONS[operator]:
                yield self._at(start, end, other)

    def _operators(self, left: ast.expr, right: ast.expr) -> Iterator[Edit]:
        start, end, operator = self._between(left, right)
        yield self._at(start, end, ARITHMETIC[operator])

    def _junctions(self, node: ast.BoolOp) -> Iterator[Edit]:
        other = "or" if isinstance(node.op, ast.And) else "and"
        for left, right in pairwise(node.values):
            first, last = self._end(left), self._start(right)
            found = re.search(rb"\b(and|or)\b", self._source[first:last])
            assert found is not None
            yield self._at(first + found.start(), first + found.end(), other)

    def _constants(self, node: ast.Constant) -> Iterator[Edit]:
        match node.value:
            case bool():
                yield self._edit(node, str(not node.value))
            case int():
                yield self._edit(node, str(node.value + 1))
                if node.value:
                    yield self._edit(node, str(node.value - 1))
            case float():
                yield self._edit(node, str(node.value * 2 + 1))
            case bytes() if node.value:
                yield self._edit(node, repr(bytes([node.value[0] ^ 1]) + node.value[1:]))

    def _between(self, left: ast.expr, right: ast.expr) -> tuple[int, int, str]:
        """Where the operator between two operands stands, and which it is."""
        first, last = self._end(left), self._start(right)
        found = OPERATOR.search(self._source[first:last])
        assert found is not None
        operator = re.sub(r"\s+", " ", found[0].decode())
        return first + found.start(), first + found.end(), operator

    def _edit(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        return self._at(self._start(node), self._end(node), text)

    def _at(self, start: int, end: int, text: str) -> Edit:
        own_line = bisect_right(self._starts, start)
        return Edit(start, end, text, self._line, own_line, not self._functions)

    def _text(self, node: ast.expr) -> str:
        return self._source[self._start(node) : self._end(node)].decode()

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset


def _is_none_or_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in LOGGERS
        case ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")]):
            return True
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp(op=ast.BitOr())):
            return name[0].isupper() and not name.isupper()  # a union of types
        case ast.ClassDef(bases=bases):
            return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in bases)
    return False
