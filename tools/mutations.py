"""Small changes of Python source that a test should notice: tools/mutate.py puts them into mpidl one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "reversed": "list"}


@dataclass(frozen=True)
class Mutation:
    """Bytes `start` to `stop` of a source, which are on lines `first` to `last`, and what stands there instead."""

    first: int
    last: int
    start: int
    stop: int
    text: str
    kind: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.stop :]


def mutations(source: bytes) -> Iterator[Mutation]:
    """All mutations of a module, in the order of its syntax tree."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, kind, text in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[node.end_lineno - 1] + node.end_col_offset
        if source[start:stop] != text.encode():
            yield Mutation(node.lineno, node.end_lineno, start, stop, text, kind)


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    """The node that is replaced, what is done to it, and its new text."""
    for node in _walk(tree):
        if isinstance(node, ast.expr):
            yield from ((node, kind, f"({ast.unparse(new)})") for kind, new in _other_expressions(node))
        elif isinstance(node, ast.If | ast.While):
            yield node.test, "condition negated", f"(not ({ast.unparse(node.test)}))"
        elif _is_droppable(node):
            yield node, "statement dropped", "pass"
        elif isinstance(node, ast.Break | ast.Continue):
            yield node, "break and continue", "continue" if isinstance(node, ast.Break) else "break"


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but annotations, decorators, texts of errors, imports for types, and what is logged."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "exc", "cause", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_talk(child):
                yield from _walk(child)


def _is_talk(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        return isinstance(function, ast.Attribute) and ast.unparse(function.value) == "log"
    return isinstance(node, ast.JoinedStr)


def _is_droppable(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Subscript)
    return isinstance(node, ast.AugAssign | ast.Raise)


def _other_expressions(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare) and type(new.ops[0]) in COMPARISONS:
        new.ops[0] = COMPARISONS[type(new.ops[0])]()
        yield "comparison", new
    elif isinstance(new, ast.BinOp) and type(new.op) in ARITHMETIC and not _has_text(new):
        new.op = ARITHMETIC[type(new.op)]()
        yield "arithmetic", new
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        yield "and and or", new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not | ast.USub):
        yield "sign or not", new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool | int | float):
        value = new.value
        yield "constant", ast.Constant(not value if isinstance(value, bool) else value + 1)
    elif isinstance(new, ast.IfExp):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield "condition negated", new
    elif isinstance(new, ast.Call) and isinstance(new.func, ast.Name) and new.func.id in CALLS:
        new.func.id = CALLS[new.func.id]
        new.keywords = [] if new.func.id == "list" else new.keywords
        yield "function", new


def _has_text(node: ast.BinOp) -> bool:
    """Whether the operator joins texts or paths, where another one fails at once."""
    sides = [side for side in ast.walk(node) if isinstance(side, ast.Constant | ast.JoinedStr)]
    return any(isinstance(side, ast.JoinedStr) or isinstance(side.value, str) for side in sides)
