from __future__ import annotations

from decimal import Decimal

import pytest
from risk_builders import BTC, ETH, SOL, account, exposed, market_rules, opportunity, request, scan

from bn_ml.domain.account import TradeStatistics
from bn_ml.domain.decisions import RiskDecision
from bn_ml.domain.signals import MarketMood, MarketRegime
from bn_ml.settings import Settings
from trader.entry_request import EntryRequest
from trader.risk_manager import RiskManager
from trader.sizing import kelly_edge, mood_scale

FREE = {"capital_active_ratio": 1.0, "reserve_ratio": 0.0, "cash_buffer_ratio": 0.0, "max_symbol_exposure_pct": 1.0}
OPEN = {
    **FREE,
    "capital_total": 100_000,
    "max_position_size_usdt": 5000,
    "max_position_pct_active": 1.0,
    "max_exposure_pct": 1.0,
    "max_cluster_exposure_pct": 1.0,
    "risk_per_trade_pct": 0.1,
    "max_daily_risk_pct": 1.0,
    "max_weekly_risk_pct": 1.0,
    "max_var_pct": 1.0,
    "target_daily_vol_pct": 1.0,
}
ORDERS = {"orders": {"max_notional_per_day_usdt": 100_000}}


def decided(entry: EntryRequest | None = None, **risk: object) -> RiskDecision:
    return RiskManager(Settings.from_mapping({"risk": {**OPEN, **risk}, "exchange": ORDERS})).judge(entry or request())


@pytest.mark.parametrize(
    ("key", "value", "binding", "size"),
    [
        ("max_position_size_usdt", 80, "max_position_size", "80"),
        ("max_position_pct_active", 0.2, "max_position_pct_active", "200"),
        ("max_symbol_exposure_pct", 0.15, "max_symbol_exposure", "150"),
        ("max_cluster_exposure_pct", 0.25, "max_cluster_exposure", "250"),
    ],
)
def test_the_smallest_limit_binds_and_is_named(key: str, value: float, binding: str, size: str) -> None:
    decision = decided(**{key: value})
    assert decision.approved, decision.reason
    assert decision.binding == binding
    assert Decimal(size) - Decimal("0.01") < decision.size_quote <= Decimal(size)


def test_the_room_left_under_the_total_exposure_binds() -> None:
    entry = request(account=exposed({ETH: "50"}), scan=scan({(BTC, ETH): 0.0}))
    shares = {"max_exposure_pct": 0.4, "max_symbol_exposure_pct": 0.4, "max_cluster_exposure_pct": 0.4}
    decision = decided(entry, **shares)
    assert decision.binding == "max_exposure"
    assert decision.size_quote == pytest.approx(Decimal(350), rel=Decimal("1e-3"))


def test_risk_per_trade_over_the_stop_distance_with_costs() -> None:
    """Ask 100, worst price 100.1, stop 98.5: 1.6 plus fees .1986 plus slippage .04925 is lost per unit."""
    decision = decided(risk_per_trade_pct=0.005)
    assert decision.binding == "risk_per_trade"
    assert decision.planned_loss_quote == pytest.approx(Decimal(5), rel=Decimal("1e-4"))
    assert decision.planned_loss_quote <= 5
    assert decision.quantity == pytest.approx(Decimal(5) / Decimal("1.84785"), rel=Decimal("1e-4"))


def test_volatility_target_halves_when_volatility_doubles() -> None:
    calm = decided(request(opportunity=opportunity(volatility_frac=0.002)), target_daily_vol_pct=0.005)
    wild = decided(request(opportunity=opportunity(volatility_frac=0.004)), target_daily_vol_pct=0.005)
    assert calm.binding == wild.binding == "volatility_target"
    assert wild.size_quote * 2 == pytest.approx(calm.size_quote, rel=Decimal("1e-3"))


def test_fixed_method_leaves_volatility_and_kelly_out() -> None:
    losing = TradeStatistics(closed=100, wins=10, losses=90, sum_wins=Decimal(10), sum_losses=Decimal(-900))
    entry = request(account=account(statistics=losing))
    decision = decided(entry, method="fixed", target_daily_vol_pct=0.001, max_position_size_usdt=100)
    assert decision.approved
    assert decision.binding == "max_position_size"


def test_kelly_edge_is_p_minus_q_over_b() -> None:
    assert kelly_edge(0.6, 1.0) == pytest.approx(0.2)
    assert kelly_edge(0.5, 1.0) == 0
    assert kelly_edge(0.9, 0.0) < 0


@pytest.mark.parametrize(("closed", "takes_part"), [(29, False), (30, True), (31, True)])
def test_kelly_takes_part_after_enough_trades_and_refuses_without_edge(closed: int, takes_part: bool) -> None:
    wins = TradeStatistics(closed=closed, wins=1, losses=1, sum_wins=Decimal(1), sum_losses=Decimal(-10))
    decision = decided(request(account=account(statistics=wins)))
    assert decision.reason == ("size_zero" if takes_part else None)


def test_kelly_binds_as_a_fraction_of_capital_at_risk() -> None:
    """p = .6/.7, payoff 1: full Kelly .714; a hundredth of it at risk over a loss of 1.846 % is 38.7 % of capital."""
    fair = TradeStatistics(closed=50, wins=25, losses=25, sum_wins=Decimal(25), sum_losses=Decimal(-25))
    decision = decided(request(account=account(statistics=fair)), kelly_fraction=0.01)
    assert decision.binding == "kelly"
    assert float(decision.size_quote) == pytest.approx(1000 * 0.01 * (0.6 / 0.7 - 0.1 / 0.7) / 0.0184600, rel=1e-3)


def test_half_size_after_a_loss_pause() -> None:
    whole = decided(max_position_size_usdt=80)
    half = decided(request(account=account(statistics=TradeStatistics(half_size=True))), max_position_size_usdt=80)
    assert half.size_quote * 2 == pytest.approx(whole.size_quote, rel=Decimal("1e-3"))
    assert half.binding == "max_position_size*half_size"


@pytest.mark.parametrize(
    ("mood", "scale"),
    [
        (MarketMood(MarketRegime.NEUTRAL, score=0.5), 1.0),
        (MarketMood(MarketRegime.NEUTRAL, score=-0.2), 0.8),
        (MarketMood(MarketRegime.RISK_OFF, score=-0.2), 0.4),
        (MarketMood(MarketRegime.BEAR_PRESSURE, score=-0.9), 0.25),
        (MarketMood(MarketRegime.HIGH_RISK_NEUTRAL, score=0.0), 0.75),
        (MarketMood(MarketRegime.INSUFFICIENT_DATA, score=-1.0), 1.0),
        (MarketMood(MarketRegime.NEUTRAL, score=float("nan")), 0.25),
    ],
)
def test_mood_only_shrinks(mood: MarketMood, scale: float) -> None:
    assert mood_scale(mood) == pytest.approx(scale)


def test_mood_scale_shrinks_the_size() -> None:
    decision = decided(
        request(scan=scan(mood=MarketMood(MarketRegime.NEUTRAL, "NEUTRAL", 0.5, -0.2, "neutral"))),
        max_position_size_usdt=100,
    )
    assert decision.size_quote == pytest.approx(Decimal(80), rel=Decimal("1e-3"))


def test_correlated_company_shrinks_the_size() -> None:
    def size(rho: float, portfolio: str) -> Decimal:
        entry = request(account=exposed({ETH: "100"}), scan=scan({(BTC, ETH): rho}))
        return decided(entry, portfolio=portfolio, max_position_size_usdt=100).size_quote

    assert size(0.5, "correlation_aware") == pytest.approx(Decimal(100) / Decimal("1.5"), rel=Decimal("1e-3"))
    assert size(-0.5, "correlation_aware") == size(0.5, "none") == pytest.approx(Decimal(100), rel=Decimal("1e-3"))


def test_inverse_volatility_shrinks_the_wilder_symbol() -> None:
    others = (opportunity(ETH, volatility_frac=0.002),)
    entry = request(
        account=exposed({ETH: "100"}),
        opportunity=opportunity(volatility_frac=0.004),
        scan=scan(opportunities=others),
    )
    decision = decided(entry, portfolio="inverse_vol", max_position_size_usdt=100)
    assert decision.size_quote == pytest.approx(Decimal(50), rel=Decimal("1e-3"))


def test_value_at_risk_leaves_what_room_there_is() -> None:
    decision = decided(request(opportunity=opportunity(volatility_frac=0.01)), max_var_pct=0.03)
    assert decision.binding == "var_limit"
    var = next(item for item in decision.verdicts if item.rule == "var_limit")
    assert 0.0299 < var.value <= 0.03 * (1 + 1e-9)
    assert decision.approved


def test_venue_maxima_bind() -> None:
    assert decided(request(rules=market_rules(max_quantity=Decimal("0.5")))).binding == "max_quantity"
    assert decided(request(rules=market_rules(market_max_quantity=Decimal("0.5")))).quantity <= Decimal("0.5")
    assert decided(request(rules=market_rules(max_notional=Decimal(40)))).size_quote <= 40


def test_live_uses_the_accounts_own_fee() -> None:
    cheap = decided(request(fee_frac=Decimal(0)), risk_per_trade_pct=0.005)
    dear = decided(request(fee_frac=Decimal("0.002")), risk_per_trade_pct=0.005)
    assert cheap.size_quote > dear.size_quote


def test_unrelated_holdings_do_not_shrink() -> None:
    entry = request(account=exposed({SOL: "100"}), scan=scan({(BTC, SOL): 0.0}))
    assert decided(entry, max_position_size_usdt=100).binding == "max_position_size"
