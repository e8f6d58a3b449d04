"""Named instants around each durable step and exchange call, where tests end the process; nothing in production."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAMES = (
    "commit.before",
    "commit.after",
    "order.sending",
    "order.answered",
    "oco.sending",
    "oco.answered",
    "replace.sending",
    "replace.answered",
    "cancel.sending",
    "cancel.answered",
)
"""Every crash point of the money path."""

Hook = Callable[[str], None]
_hooks: list[Hook] = []


def crash_point(name: str) -> None:
    """Pass a named instant; does nothing unless a test listens."""
    for hook in _hooks:
        hook(name)


@contextmanager
def crash_points(hook: Hook) -> Iterator[None]:
    """Tell `hook` of every instant passed inside the block; it may raise or end the process."""
    _hooks.append(hook)
    try:
        yield
    finally:
        _hooks.remove(hook)
