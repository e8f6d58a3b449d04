"""Fixtures of the tests that join real parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bn_ml.settings import Settings
from tests.fakes.money_world import MoneyWorld, NewWorld


@pytest.fixture
def new_world() -> Iterator[NewWorld]:
    """Makes worlds whose books are closed after the test."""
    with ExitStack() as books:

        def make(folder: Path, settings: Settings | None = None, **options: object) -> MoneyWorld:
            world = MoneyWorld(folder, settings, **options)  # type: ignore[arg-type]
            books.callback(world.close)
            return world

        yield make
