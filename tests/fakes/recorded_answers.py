"""Finds the venue's recorded answers, which live beside the repository; tests that need them skip without."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "binance" / "payloads"


def recorded_folder() -> Path | None:
    """Give the folder of recorded answers, None where it is absent."""
    folder = Path(os.environ.get("BNML_TEST_PAYLOADS", _BESIDE))
    return folder if folder.is_dir() else None


def recorded(name: str) -> Any:
    """Give one recorded answer; skips the test where there are none."""
    folder = recorded_folder()
    if folder is None:
        pytest.skip("the venue's recorded answers are not beside the repository (set BNML_TEST_PAYLOADS)")
    return json.loads((folder / name).read_text())
