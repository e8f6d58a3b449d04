"""Fixtures every test folder shares."""

from __future__ import annotations

import os
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
