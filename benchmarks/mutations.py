"""The kinds of wrong change: what each node of a program can be turned into."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.money_modules import ROOT

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_SWAPPED_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "price_up": "price_down"} | {
    "price_down": "price_up"
}
_EMPTY = {"tuple": "()", "frozenset": "frozenset()", "dict": "{}", "Mapping": "{}", "Sequence": "()", "list": "[]"}


@dataclass(frozen=True)
class Change:
    """A replacement of the text between two positions (lines from 1, columns in bytes)."""

    kind: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True)
class Surroundings:
    """What stands around a node: the return annotation of its function, and whether it is in a raise or a class."""

    returns: ast.expr | None = None
    raises: bool = False
    alone: bool = False

    def inside(self, statement: ast.stmt) -> Surroundings:
        """Give what surrounds the statements inside one."""
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            return replace(self, returns=statement.returns)
        return self

    def at(self, index: int, count: int) -> Surroundings:
        """Give what surrounds a statement at a place of its block."""
        return replace(self, alone=index == 0 and count == 1)

    def raising(self) -> Surroundings:
        """Give what surrounds the parts of a raise."""
        return replace(self, raises=True)


def changes_of(node: ast.AST, around: Surroundings) -> Iterator[Change]:
    """Give every wrong change of one node itself; the nodes inside it have their own."""
    for kind, rule in _RULES:
        for text in rule(node, around):
            yield _change(kind, node, text)
    yield from _block_changes(node)


def _change(kind: str, node: ast.AST, text: str) -> Change:
    assert isinstance(node, ast.expr | ast.stmt | ast.pattern)
    return Change(kind, node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0, text)


def _comparison(node: ast.AST, around: Surroundings) -> Iterator[str]:
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                wrong = copy.deepcopy(node)
                wrong.ops[index] = other()
                yield _text(wrong)


def _logic(node: ast.AST, around: Surroundings) -> Iterator[str]:
    if isinstance(node, ast.BoolOp):
        yield _text(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
        for index in range(len(node.values)):
            rest = [value for place, value in enumerate(node.values) if place != index]
            yield _text(ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield _text(node.operand)


def _condition(node: ast.AST, around: Surroundings) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield _text(ast.IfExp(node.test, node.orelse, node.body))


def _arithmetic(node: ast.AST, around: Surroundings) -> Iterator[str]:
    if (
        isinstance(node, ast.BinOp)
        and type(node.op) in _ARITHMETIC
        and not (_is_text(node.left) or _is_text(node.right))
    ):
        yield _text(ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right))
    elif isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield ast.unparse(ast.AugAssign(node.target, _ARITHMETIC[type(node.op)](), node.value))


def _constant(node: ast.AST, around: Surroundings) -> Iterator[str]:
    if isinstance(node, ast.Name) and node.id == "ZERO" and isinstance(node.ctx, ast.Load):
        yield "(ZERO + 1)"
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    if isinstance(value, bool):
        yield repr(not value)
    elif isinstance(value, int | float):
        yield f"({value + 1!r})"
        yield f"({value - 1!r})"
    elif isinstance(value, str) and not (around.raises or " " in value):
        yield repr(f"{value}_wrong")


def _neighbour(node: ast.AST, around: Surroundings) -> Iterator[str]:
    """The member after this one of the same enumeration."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ENUMS:
        members = ENUMS[node.value.id]
        if node.attr in members:
            yield f"{node.value.id}.{members[(members.index(node.attr) + 1) % len(members)]}"


def _call(node: ast.AST, around: Surroundings) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if name in _SWAPPED_CALLS:
        wrong = copy.deepcopy(node)
        if isinstance(wrong.func, ast.Name):
            wrong.func.id = _SWAPPED_CALLS[name]
        elif isinstance(wrong.func, ast.Attribute):
            wrong.func.attr = _SWAPPED_CALLS[name]
        yield _text(wrong)
    for index, (one, other) in enumerate(zip(node.args, node.args[1:], strict=False)):
        if type(one) is type(other) and isinstance(one, ast.Name | ast.Attribute) and name not in _SWAPPED_CALLS:
            wrong = copy.deepcopy(node)
            wrong.args[index], wrong.args[index + 1] = other, one
            yield _text(wrong)
    if name == "replace":
        for index in range(len(node.keywords)):
            wrong = copy.deepcopy(node)
            del wrong.keywords[index]
            yield _text(wrong)


def _removal(node: ast.AST, around: Surroundings) -> Iterator[str]:
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    is_effect = isinstance(node, ast.AugAssign | ast.Raise | ast.Break | ast.Continue)
    keeps = isinstance(node, ast.Assign) and all(
        isinstance(item, ast.Attribute | ast.Subscript) for item in node.targets
    )
    if is_call or is_effect or keeps:
        yield "pass"


def _returned(node: ast.AST, around: Surroundings) -> Iterator[str]:
    if not isinstance(node, ast.Return):
        return
    if node.value is None:
        if not around.alone:
            yield "pass"
        return
    wrong = _another(node.value, around.returns)
    if wrong is not None:
        yield f"return {wrong}"


def _another(value: ast.expr, annotation: ast.expr | None) -> str | None:
    told = "" if annotation is None else ast.unparse(annotation)
    if isinstance(value, ast.Constant) and value.value in (None, True, False):
        return None
    if told == "bool":
        return f"not {_text(value)}"
    if told in {"int", "float", "Decimal"}:
        return f"{_text(value)} + 1"
    if told == "str":
        return f"{_text(value)} + '_wrong'"
    if "None" not in told:
        empty = _EMPTY.get(told.split("[")[0])
        return None if empty is None or ast.unparse(value) == empty else empty
    return "None"


def _block_changes(node: ast.AST) -> Iterator[Change]:
    """Changes of what is not one node: headers of blocks and the answers to errors."""
    if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.Name | ast.Attribute | ast.Call):
        yield _change("condition negated", node.test, f"not {_text(node.test)}")
    if isinstance(node, ast.IfExp) and isinstance(node.test, ast.Name | ast.Attribute | ast.Call):
        yield _change("condition negated", node.test, f"(not {_text(node.test)})")
    if isinstance(node, ast.With) and all(item.optional_vars is None for item in node.items):
        last = node.items[-1].context_expr
        end = (last.end_lineno or 0, last.end_col_offset or 0)
        yield Change("block unwrapped", node.lineno, node.col_offset, *end, "if True")
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield _change("filter dropped", test, "True")
    if isinstance(node, ast.ExceptHandler):
        yield from _handler_changes(node)


def _handler_changes(handler: ast.ExceptHandler) -> Iterator[Change]:
    first, last = handler.body[0], handler.body[-1]
    if not isinstance(first, ast.Pass):
        yield Change(
            "handler emptied",
            first.lineno,
            first.col_offset,
            last.end_lineno or 0,
            last.end_col_offset or 0,
            "pass",
        )
    if isinstance(handler.type, ast.Tuple):
        for index in range(len(handler.type.elts)):
            rest = [item for place, item in enumerate(handler.type.elts) if place != index]
            yield _change("error not caught", handler.type, f"({', '.join(map(ast.unparse, rest))},)")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"


def _enumerations() -> dict[str, list[str]]:
    """Read every enumeration of the ground and the trader: its members in their order."""
    found = {}
    for path in [*(ROOT / "bn_ml").rglob("*.py"), *(ROOT / "trader").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Enum") for base in node.bases):
                found[node.name] = [
                    item.targets[0].id
                    for item in node.body
                    if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name)
                ]
    return found


ENUMS = _enumerations()

_RULES = (
    ("comparison", _comparison),
    ("logic", _logic),
    ("branches of a choice swapped", _condition),
    ("arithmetic", _arithmetic),
    ("constant", _constant),
    ("neighbouring member", _neighbour),
    ("call", _call),
    ("statement removed", _removal),
    ("another value returned", _returned),
)
