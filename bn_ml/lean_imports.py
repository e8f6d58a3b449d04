"""Imports modules of a large package without the package itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType


@contextmanager
def without_its_package(name: str) -> Iterator[None]:
    """Let modules of a package be imported without what the package itself imports: everything at once.

    Whoever imports the package later gets it whole, with the same classes.
    """
    spec = None if name in sys.modules else find_spec(name)
    if spec is None:
        yield
        return
    shell = ModuleType(name)
    shell.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = shell
    try:
        yield
    finally:
        del sys.modules[name]
