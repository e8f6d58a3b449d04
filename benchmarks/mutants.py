"""Small wrong changes to a source text, one at a time.

Each is an edit of the text itself, so that a diff shows what a reviewer would see. Left alone is what changes neither
an order nor a book row nor an event: docstrings, annotations, log lines, prose (texts of several words, f-strings, the
words of a raised error) and crash points, which do nothing in production.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.mutations import Change, Surroundings, changes_of

SILENT_CALLS = frozenset({"crash_point"})


@dataclass(frozen=True)
class Mutant:
    """One changed module: where, what kind of change, and the whole new text. `lines` are those of its statement."""

    module: str
    kind: str
    lines: tuple[int, ...]
    before: str
    after: str

    @property
    def changed(self) -> tuple[str, str]:
        """The changed part as one stripped text before and after, which stays the same when lines move."""
        old, new = self.before.splitlines(), self.after.splitlines()
        found = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        parts = [(old[a:b], new[c:d]) for tag, a, b, c, d in found if tag != "equal"]
        return _joined([line for gone, _ in parts for line in gone]), _joined(
            [line for _, come in parts for line in come]
        )

    def diff(self) -> str:
        """Give the change as a unified diff with one line of context."""
        lines = difflib.unified_diff(
            self.before.splitlines(),
            self.after.splitlines(),
            self.module,
            f"{self.module} ({self.kind})",
            "",
            "",
            1,
            "",
        )
        return "\n".join(lines)


def mutants_of(module: str, source: str) -> tuple[Mutant, ...]:
    """Give every mutant of a module, in the order of its text."""
    tree = ast.parse(source)
    found = []
    for change, lines in _walk(tree):
        text = _applied(source, change)
        if text != source and _compiles(text):
            found.append(Mutant(module, change.kind, lines, source, text))
    unique = {mutant.after: mutant for mutant in found}
    return tuple(unique.values())


def _walk(tree: ast.Module) -> Iterator[tuple[Change, tuple[int, ...]]]:
    for statement, around in _statements(tree.body, Surroundings()):
        lines = _header_lines(statement)
        for change in changes_of(statement, around):
            yield change, lines
        for node, inside in _expressions(statement, around):
            for change in changes_of(node, inside):
                yield change, lines


def _statements(body: list[ast.stmt], around: Surroundings) -> Iterator[tuple[ast.stmt, Surroundings]]:
    for index, statement in enumerate(body):
        if _is_docstring(statement) or _is_silent(statement):
            continue
        inner = around.inside(statement)
        yield statement, around.at(index, len(body))
        for name in ("body", "orelse", "finalbody"):
            block = getattr(statement, name, None)
            if isinstance(block, list):
                yield from _statements(block, inner)
        for handler in getattr(statement, "handlers", []):
            yield from _statements(handler.body, inner)
        for case in getattr(statement, "cases", []):
            yield from _statements(case.body, inner)


def _expressions(statement: ast.stmt, around: Surroundings) -> Iterator[tuple[ast.AST, Surroundings]]:
    """Give the nodes of a statement itself, not those of the statements inside it and not its annotations."""
    inner = around.raising() if isinstance(statement, ast.Raise) else around
    stack: list[ast.AST] = list(_own_parts(statement))
    while stack:
        node = stack.pop(0)
        if isinstance(node, ast.JoinedStr):
            continue
        if not (isinstance(node, ast.ExceptHandler) and all(map(_is_silent, node.body))):
            yield node, inner
        parts = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.arguments):
            parts = [*node.defaults, *(item for item in node.kw_defaults if item is not None)]
        elif isinstance(node, ast.ExceptHandler):
            parts = []
        elif isinstance(node, ast.match_case):
            parts = [node.pattern, *([node.guard] if node.guard else [])]
        stack = parts + stack


def _own_parts(statement: ast.stmt) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(statement):
        if name in {"annotation", "returns", "decorator_list", "bases", "keywords", "type_comment", "type_params"}:
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST) and not isinstance(item, ast.stmt):
                yield item


def _header_lines(statement: ast.stmt) -> tuple[int, ...]:
    """Give the lines of a statement; of one with a body those before it."""
    blocks = [
        block for name in ("body", "cases") if isinstance(block := getattr(statement, name, None), list) and block
    ]
    last = statement.end_lineno or statement.lineno
    if blocks:
        first = blocks[0][0]
        inside = first.pattern.lineno if isinstance(first, ast.match_case) else first.lineno
        last = max(statement.lineno, inside - 1)
    return tuple(range(statement.lineno, last + 1))


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_silent(statement: ast.stmt) -> bool:
    """Whether a statement only tells the log (or decides whether to), marks a crash point, imports or declares."""
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass | ast.Assert):
        return True
    if isinstance(statement, ast.Assign) and any(_is_named(statement.targets[0], name) for name in ("log", "__all__")):
        return True
    if isinstance(statement, ast.If):
        return all(_is_silent(item) for item in (*statement.body, *statement.orelse))
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return False
    called = statement.value.func
    if isinstance(called, ast.Attribute):
        return _is_named(called.value, "log")
    return isinstance(called, ast.Name) and called.id in SILENT_CALLS


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _applied(source: str, change: Change) -> str:
    """Replace the text between the two positions; columns count bytes."""
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: change.line - 1])) + change.column
    end = sum(map(len, lines[: change.end_line - 1])) + change.end_column
    whole = b"".join(lines)
    return (whole[:start] + change.text.encode() + whole[end:]).decode()


def _compiles(text: str) -> bool:
    try:
        compile(text, "<mutant>", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _joined(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines)
