"""What the banner says of each symbol is what the gates will say of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol
from ml_engine.bundle_store import BundleStore
from scripts.bot_banner import verdict_of
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import open_world
from tests.fakes.trading_world import NAMES, fitted_on, market_bars, store_market, trading_settings

P_VALUES = {NAMES[0]: 0.001, NAMES[1]: 0.2, NAMES[2]: 0.9}


def with_p_values(models: Path, p_values: dict[Symbol, float]) -> None:
    store = BundleStore(models)
    for symbol, p_value in p_values.items():
        bundle = store.load(symbol)
        skill = bundle.metadata.skill
        assert skill is not None
        metadata = bundle.metadata.model_copy(update={"skill": skill.model_copy(update={"slope_p_value": p_value})})
        store.save(replace(bundle, metadata=metadata), {})


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[TradingBot]:
    bars = market_bars()
    store_market(tmp_path, bars, fitted_on(bars[1]))
    with_p_values(tmp_path / "models", P_VALUES)
    settings = trading_settings(tmp_path, tmp_path / "bn_ml.db")
    made = open_bot(settings, open_world(settings, "replay", threading.Event()), Extras())
    yield made
    made.close()


def test_a_bundle_that_luck_among_many_explains_is_not_called_tradable(bot: TradingBot) -> None:
    now = bot.world.clock.now()
    said = {symbol: verdict_of(bot, symbol, now) for symbol in NAMES}
    assert said[NAMES[0]] == ("v2", True)
    for symbol in NAMES[1:]:
        words, proven = said[symbol]
        assert not proven
        assert f"p {P_VALUES[symbol]:.3g} may be luck, 0.0333 is needed" in words
