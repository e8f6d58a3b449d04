"""What an entry tells of itself: why it was made, what it risked, and what the market looked like."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.orders import OrderType, Purpose, TimeInForce
from bn_ml.state_reader import StateReader
from tests.fakes.money_world import AAA, BBB, MoneyWorld, NewWorld, money_settings

STORY = {
    "order_id",
    "client_id",
    "base_qty",
    "fee",
    "fee_asset",
    "slippage_pct",
    "confidence",
    "probas",
    "score",
    "expected_net_pct",
    "daily_risk_used_pct",
    "daily_risk_with_trade_pct",
    "weekly_risk_used_pct",
    "weekly_risk_with_trade_pct",
    "market_volatility_ratio",
    "market_drift_detected",
    "market_regime",
    "santrade_signal",
    "santrade_confidence",
    "santrade_profile",
    "santrade_score",
    "santrade_regime",
    "data_source",
    "bundle_version",
}


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


def stories(world: MoneyWorld) -> list[dict[str, object]]:
    """What the trade rows tell beyond price and size, oldest first."""
    return [dict(row.extra) for row in reversed(StateReader(world.path).trades()) if row.side == "BUY"]


def test_an_entry_tells_every_promised_field(world: MoneyWorld) -> None:
    world.buy(AAA)
    (story,) = stories(world)
    assert set(story) >= STORY
    assert story["confidence"] == pytest.approx(0.6)
    assert story["probas"] == {"SELL": 0.1, "HOLD": 0.3, "BUY": 0.6}
    assert (story["score"], story["data_source"]) == (8.0, "test")


def test_an_entry_tells_the_account_it_was_made_with_and_what_it_adds(world: MoneyWorld) -> None:
    world.buy(AAA, BBB)
    first, second = stories(world)
    assert (first["equity"], first["exposure_before"], first["open_positions_before"]) == (1000.0, 0.0, 0)
    assert (first["daily_risk_used_pct"], first["weekly_risk_used_pct"]) == (0.0, 0.0)
    assert second["open_positions_before"] == 1
    assert second["daily_risk_used_pct"] == pytest.approx(first["daily_risk_with_trade_pct"], rel=1e-3)
    held = world.held(AAA)
    assert second["exposure_before"] == pytest.approx(float(held.remaining_quantity) * 99.99)
    for story in (first, second):
        for span in ("daily", "weekly"):
            used, with_trade = story[f"{span}_risk_used_pct"], story[f"{span}_risk_with_trade_pct"]
            assert isinstance(used, float)
            assert isinstance(with_trade, float)
            assert 0.0005 < with_trade - used < 0.01


def test_an_entry_tells_the_mood_of_its_scan(world: MoneyWorld) -> None:
    world.scanner.changes = {"volatility_ratio": 1.25}
    world.buy(AAA)
    (story,) = stories(world)
    assert (story["market_volatility_ratio"], story["market_drift_detected"]) == (1.25, False)
    assert story["market_regime"] == story["santrade_regime"]


@pytest.mark.parametrize(
    ("kind", "sent", "lifetime"),
    [
        ("limit_ioc", OrderType.LIMIT, TimeInForce.IOC),
        ("limit", OrderType.LIMIT, TimeInForce.GTC),
        ("market", OrderType.MARKET, None),
    ],
)
def test_an_entry_is_sent_as_the_settings_say(
    new_world: NewWorld, tmp_path: Path, kind: str, sent: OrderType, lifetime: TimeInForce | None
) -> None:
    world = new_world(tmp_path, money_settings(exchange={"orders": {"entry_type": kind}}))
    world.start()
    world.buy(AAA)
    (record,) = (item for item in world.bot.store.recent_intents(20) if item.intent.purpose is Purpose.ENTRY)
    intent = record.intent
    assert (intent.type, intent.time_in_force, intent.reason) == (sent, lifetime, "signal")
    assert intent.reference_price == Decimal("100.01")
    assert (intent.limit_price is None) == (kind == "market")
    assert intent.position_id == f"AAA_USDC-{intent.client_id}"
    if intent.limit_price is not None:
        cap = Decimal(str(world.settings.exchange.orders.entry_slippage_cap_pct))
        assert (
            Decimal("100.01")
            <= intent.limit_price
            <= Decimal("100.01") * (1 + cap)
            < intent.limit_price + Decimal("0.01")
        )
