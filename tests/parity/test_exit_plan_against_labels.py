"""The exits the bot plans and the trades the labels follow make the same fills on the same bars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from bn_ml.domain.exit_levels import BarPath, TradeOutcome, walk_trade
from bn_ml.domain.market import EPOCH, MarketRules, Quote, Symbol, exact
from bn_ml.domain.positions import ExitReason, Position, PositionStatus
from bn_ml.exit_rules import exit_rules
from bn_ml.settings import RiskSettings
from trader.exit_manager import ExitManager, stop_reason

BTC = Symbol("BTC/USDC")
RULES = MarketRules(BTC, tick=Decimal("1e-8"), step=Decimal("0.1"), min_notional=Decimal(1))
BAR = timedelta(minutes=15)
BARS = 110
ATR = 0.004


@dataclass(frozen=True)
class Sale:
    share: float
    price: float
    index: int
    reason: ExitReason


def history(seed: int, swing: float) -> BarPath[Decimal]:
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.normal(0, swing, BARS)))
    opening = np.r_[100.0, close[:-1]] * np.exp(generator.normal(0, swing / 4, BARS))
    high = np.maximum(opening, close) * np.exp(np.abs(generator.normal(0, swing / 2, BARS)))
    low = np.minimum(opening, close) * np.exp(-np.abs(generator.normal(0, swing / 2, BARS)))
    return BarPath(*([exact(round(float(price), 8)) for price in column] for column in (opening, high, low, close)))


def bought(entry: Decimal, exits: ExitManager, fee: Decimal) -> Position:
    levels = exits.levels(entry, ATR, RULES)
    held = Position(
        position_id="p",
        symbol=BTC,
        status=PositionStatus.OPEN,
        opened_at=EPOCH,
        entry_price=entry,
        initial_quantity=Decimal(100),
        remaining_quantity=Decimal(100),
        cost_quote=entry * 100 * (1 + fee),
        cost_open_quote=entry * 100 * (1 + fee),
        stop=levels.stop,
        target_1=levels.target_1,
        target_2=levels.target_2,
        max_price_seen=entry,
        atr_frac=ATR,
    )
    return replace(held, tranches=exits.tranches(held, RULES))


def lived(path: BarPath[Decimal], risk: RiskSettings) -> list[Sale]:
    """At every open let it meet the resting orders and look at the position, then let the rest of the bar meet them."""
    exits = ExitManager(risk)
    held = bought(path.open[0], exits, exact(risk.fees_pct))
    sales: list[Sale] = []
    for index in range(BARS):
        price = path.open[index]
        held, sold = met(held, index, price)
        sales += sold
        if not held.remaining_quantity:
            return sales
        quote = Quote(BTC, price, price, price, EPOCH, "test")
        plan = exits.plan(held, quote, held.atr_frac, EPOCH + index * BAR, False, RULES)
        if plan.close_all is not None:
            timed = plan.close_all is ExitReason.TIME_STOP
            at = (path.close[index - 1], index - 1) if timed else (price, index)
            return [*sales, Sale(float(held.remaining_quantity) / 100, float(at[0]), at[1], plan.close_all)]
        held = replace(
            held,
            stop=plan.new_stop or held.stop,
            trailing_active=plan.trailing_active,
            max_price_seen=max(plan.max_price_seen, path.high[index]),
        )
        held, sold = met(held, index, path.low[index], path.high[index])
        sales += sold
        if not held.remaining_quantity:
            return sales
    return sales


def met(held: Position, index: int, *prices: Decimal) -> tuple[Position, list[Sale]]:
    sales: list[Sale] = []
    for place, price in enumerate(prices):
        if price <= held.stop and held.remaining_quantity:
            at = price if place == 0 and len(prices) == 1 else held.stop
            sales.append(Sale(float(held.remaining_quantity) / 100, float(at), index, stop_reason(held)))
            return replace(held, remaining_quantity=Decimal(0)), sales
        for tranche in held.tranches:
            if tranche.target_price is None or price <= tranche.target_price:
                continue
            reason = ExitReason.TP1 if tranche.label == "tp1" else ExitReason.TP2
            sales.append(Sale(float(tranche.quantity) / 100, float(tranche.target_price), index, reason))
            held = replace(
                held,
                remaining_quantity=held.remaining_quantity - tranche.quantity,
                tranches=tuple(item for item in held.tranches if item.label != tranche.label),
                tp1_hit=True,
                tp2_hit=held.tp2_hit or reason is ExitReason.TP2,
            )
    return held, sales


def labelled(path: BarPath[Decimal], risk: RiskSettings) -> TradeOutcome[float]:
    plain = BarPath(*([float(price) for price in column] for column in (path.open, path.high, path.low, path.close)))
    rules = exit_rules(risk, float)
    return walk_trade(plain.open[0], plain, rules, atr_frac=ATR, max_bars=rules.holding_bars(BAR))


@pytest.mark.parametrize("swing", [0.001, 0.003, 0.01])
@pytest.mark.parametrize(
    "risk",
    [
        RiskSettings(),
        RiskSettings(exit_mode="atr"),
        RiskSettings(trailing_after="pct", trailing_activation_pct=0.01),
        RiskSettings(trailing_enabled=False),
        RiskSettings(stop_loss_pct=0.06),
        RiskSettings(breakeven_after_tp1=False, trailing_enabled=False, max_holding_period=6),
    ],
    ids=["default", "atr", "trailing by gain", "no trailing", "wide stop", "plain"],
)
def test_planned_exits_fill_like_labelled_trades(risk: RiskSettings, swing: float) -> None:
    seen: set[ExitReason] = set()
    for seed in range(25):
        path = history(seed, swing)
        sales, outcome = lived(path, risk), labelled(path, risk)
        assert [(sale.index, sale.reason) for sale in sales] == [(leg.index, leg.reason) for leg in outcome.legs]
        assert [sale.share for sale in sales] == pytest.approx([leg.share for leg in outcome.legs])
        assert [sale.price for sale in sales] == pytest.approx([leg.price for leg in outcome.legs], abs=1e-7)
        seen |= {sale.reason for sale in sales}
    assert seen
