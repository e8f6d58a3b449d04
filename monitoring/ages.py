"""How long ago something was, as people say it."""

from __future__ import annotations

from monitoring.wording import UNKNOWN, age, known


def ago(seconds: float | None) -> str:
    """Write an age; nothing known is a dash.

    >>> ago(180.0), ago(float("nan"))
    ('3 min ago', '-')
    """
    return f"{age(seconds)} ago" if known(seconds) else UNKNOWN
