"""TA-Lib's functions on plain arrays, loaded without its optional data frame libraries.

TA-Lib's package imports pandas and polars when they are installed, only to accept their series. This project passes
arrays alone, and pandas would cost the trading process half a second and 80 MB, so both are hidden during the import.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from data_manager.bars import FloatArray

_OPTIONAL = ("pandas", "polars")


def function(name: str) -> Callable[..., FloatArray | tuple[FloatArray, ...]]:
    """Give a TA-Lib function by its name: float64 arrays in, one array or a tuple out, NaN in the lookback."""
    found: Callable[..., FloatArray | tuple[FloatArray, ...]] = getattr(_LIBRARY, name)
    return found


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _load() -> ModuleType:
    with _hidden(_OPTIONAL):
        return importlib.import_module("talib")


_LIBRARY = _load()
