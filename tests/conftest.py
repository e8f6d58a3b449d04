"""Fixtures every test folder shares."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from decimal import getcontext, setcontext
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded market data; skips where it is absent."""
    folder = Path(os.environ.get("BNML_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "spot_2022_2023").is_dir():
        pytest.skip(f"recorded market data not found at {folder} (set BNML_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """Give the process back as it was: log handlers and their filters, disabled logs, and the decimal context."""
    root = logging.getLogger()
    before, level, context = list(root.handlers), root.level, getcontext().copy()
    filters = {handler: list(handler.filters) for handler in before}
    yield
    for handler, kept in filters.items():
        handler.filters[:] = kept
    for handler in list(root.handlers):
        if handler not in before and not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    logging.disable(logging.NOTSET)
    setcontext(context)
