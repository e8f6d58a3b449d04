"""Rows as a table on a terminal, as tab-separated lines when piped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def table(rows: Sequence[Row], *, terminal: bool) -> str:
    """Give rows of equal keys as text, headed by their keys; numbers to the right on a terminal.

    >>> table([{"symbol": "BTC/USDC", "bars": 2}], terminal=False)
    'symbol\\tbars\\nBTC/USDC\\t2'
    """
    if not rows:
        return "nothing"
    names = list(rows[0])
    lines = [names, *([_text(row[name]) for name in names] for row in rows)]
    if not terminal:
        return "\n".join("\t".join(line) for line in lines)
    widths = [max(len(line[place]) for line in lines) for place in range(len(names))]
    right = [isinstance(rows[0][name], int | float) and not isinstance(rows[0][name], bool) for name in names]
    padded = (
        [
            text.rjust(width) if numeric else text.ljust(width)
            for text, width, numeric in zip(line, widths, right, strict=True)
        ]
        for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "; ".join(str(item) for item in value)
    return str(value)
