"""Reads which series a PromQL expression asks for: names with the labels they are selected or grouped by."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[A-Za-z_:][A-Za-z0-9_:]*|[0-9.]+(?:e[0-9]+)?|=~|!~|!=|[<>=]=?|\S')
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_MATCH = frozenset({"=", "!=", "=~", "!~"})
_AGGREGATED = _GROUPING | {"("}
_WORDS = frozenset({"and", "or", "unless", "bool", "offset"})


@dataclass(slots=True)
class Asked:
    """What an expression asks for; `selected` holds the labels of each name, `grouped` those of no name."""

    selected: dict[str, set[str]] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)


def asked(expression: str) -> Asked:
    """Give the names and labels of an expression.

    >>> found = asked('sum by (le) (rate(x_bucket{a="1"}[5m])) > 2')
    >>> found.selected, found.grouped
    ({'x_bucket': {'a'}}, {'le'})
    """
    tokens, found, at = _TOKEN.findall(expression), Asked(), 0
    while at < len(tokens):
        token = tokens[at]
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if token in _GROUPING and following == "(":
            end = tokens.index(")", at)
            found.grouped |= {name for name in tokens[at + 2 : end] if name != ","}
            at = end
        elif re.match(r"[A-Za-z_:]", token) and token not in _WORDS | _GROUPING and following not in _AGGREGATED:
            end = tokens.index("}", at) if following == "{" else at
            labels = {name for name, sign in zip(tokens[at:end], tokens[at + 1 : end], strict=False) if sign in _MATCH}
            found.selected.setdefault(token, set()).update(labels)
            at = end
        at += 1
    return found
