"""A bot that cannot be opened leaves nothing behind that keeps the next one from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.market import Symbol
from bn_ml.errors import ConfigError, StateError
from bn_ml.settings import Settings
from data_manager.open_source import synthetic_source
from scripts.wiring import Extras, open_bot
from scripts.worlds import World


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_mapping(
        {
            "storage": {"sqlite_path": str(tmp_path / "bn_ml.db"), "backup": {"base_dir": str(tmp_path / "backups")}},
            "model": {"models_dir": str(tmp_path / "models")},
            "monitoring": {"metrics_dir": str(tmp_path / "metrics")},
        }
    )


def world_of(settings: Settings) -> World:
    clock = SystemClock()
    return World(clock, synthetic_source(settings, clock))


def test_a_torn_book_frees_the_lock(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "bn_ml.db").write_bytes(b"no database" * 500)
    with pytest.raises(StateError):
        open_bot(settings, world_of(settings), Extras())
    assert not ProcessLock(tmp_path / "bn_ml.db").is_held()


def test_a_symbol_nobody_lists_frees_lock_and_book(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_bot(settings, world_of(settings), Extras(symbols=(Symbol("NOPE/USDC"),)))
    assert not ProcessLock(tmp_path / "bn_ml.db").is_held()
    open_bot(settings, world_of(settings), Extras()).close()
