from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from risk_builders import (
    BTC,
    DAY,
    ETH,
    NOW,
    SOL,
    WEEK,
    account,
    buy_intent,
    control,
    exposed,
    market_rules,
    opportunity,
    position,
    quote,
    request,
    scan,
    signal,
)

from bn_ml.domain.account import ControlState
from bn_ml.domain.decisions import RiskDecision, RuleVerdict
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import IntentState
from bn_ml.domain.signals import Action, MarketMood, MarketRegime
from bn_ml.errors import ConfigError
from bn_ml.settings import RiskSettings, Settings
from trader.breakers import BreakerStatus
from trader.entry_request import EntryRequest
from trader.risk_manager import RULES_AFTER_BREAKERS, RULES_BEFORE_BREAKERS, RiskManager, ranked


def judged(entry: EntryRequest | None = None, **keys: object) -> RiskDecision:
    return RiskManager(Settings.from_mapping(keys)).judge(entry or request())


def verdict(decision: RiskDecision, rule: str) -> RuleVerdict:
    return next(item for item in decision.verdicts if item.rule == rule)


def test_approves_a_good_opportunity_and_shows_every_rule() -> None:
    decision = judged()
    assert decision.approved, decision.reason
    assert decision.stop == Decimal("98.50")
    assert decision.reserved_quote > decision.size_quote > 0
    assert len(decision.verdicts) == len(RULES_BEFORE_BREAKERS) + len(RULES_AFTER_BREAKERS)
    assert decision.as_dict()["approved"] is True


def test_takes_a_mapping_a_risk_section_or_all_settings() -> None:
    by_section = RiskManager(RiskSettings(max_position_size_usdt=50)).judge(request())
    by_mapping = RiskManager({"risk": {"max_position_size_usdt": 50}}).judge(request())
    assert by_section.size_quote == by_mapping.size_quote <= 50


def test_a_wrong_mapping_is_refused_with_its_key() -> None:
    with pytest.raises(ConfigError, match="max_open_positionz"):
        RiskManager({"risk": {"max_open_positionz": 3}})


@pytest.mark.parametrize("state", [ControlState.REDUCE_ONLY, ControlState.HALTED])
def test_refuses_under_any_tightened_control_state(state: ControlState) -> None:
    assert judged(request(control=control(state))).reason == "control_state"


@pytest.mark.parametrize("source", ["synthetic", "replay", "fallback"])
def test_real_money_never_trades_on_unreal_data(source: str) -> None:
    entry = request(data_source=source)
    assert judged(entry).approved
    assert judged(replace(entry, real_money=True)).reason == "synthetic_data"
    assert judged(request(real_money=True, quote=quote(source=source))).reason == "synthetic_data"


@pytest.mark.parametrize(("free", "passes"), [(500.0, True), (500.1, True), (499.9, False)])
def test_disk_floor(free: float, passes: bool) -> None:
    assert judged(request(disk_free_mb=free)).reason == (None if passes else "disk_low")


@pytest.mark.parametrize(("sent", "passes"), [(8, True), (9, True), (10, False)])
def test_order_rate(sent: int, passes: bool) -> None:
    assert judged(request(orders_last_minute=sent)).reason == (None if passes else "order_rate")


def test_a_tripped_breaker_refuses_by_its_name() -> None:
    breaker = BreakerStatus("breaker_daily_loss", 0.04, 0.03, True)
    assert judged(request(breakers=(breaker,))).reason == "breaker_daily_loss"
    assert judged(request(breakers=(replace(breaker, tripped=False),))).approved


def test_refuses_frozen_quarantined_and_untraded_symbols() -> None:
    assert judged(request(frozen=frozenset({BTC}))).reason == "symbol_frozen"
    assert judged(request(quarantined=frozenset({BTC}))).reason == "symbol_quarantined"
    assert judged(request(rules=market_rules(trading=False))).reason == "symbol_not_trading"
    assert judged(request(frozen=frozenset({ETH}), quarantined=frozenset({ETH}))).approved


@pytest.mark.parametrize(("age", "passes"), [(4.9, True), (5.0, True), (5.1, False), (-5.1, False)])
def test_quote_age(age: float, passes: bool) -> None:
    assert judged(request(quote=quote(age_s=age))).reason == (None if passes else "quote_stale")


def test_a_quote_of_another_symbol_is_no_quote() -> None:
    assert judged(request(quote=quote(ETH))).reason == "quote_stale"


def test_only_buy_opens() -> None:
    sells = opportunity(signal=signal(action=Action.SELL))
    holds = opportunity(signal=signal(action=Action.HOLD))
    assert judged(request(opportunity=sells)).reason == "long_only"
    assert judged(request(opportunity=holds)).reason == "signal_not_buy"


@pytest.mark.parametrize(("score", "passes"), [(6.01, True), (6.0, True), (5.99, False)])
def test_score_floor(score: float, passes: bool) -> None:
    assert judged(request(opportunity=opportunity(score=score))).reason == (None if passes else "min_score")


@pytest.mark.parametrize(("buy", "passes"), [(0.43, True), (0.42, True), (0.41, False)])
def test_confidence_floor(buy: float, passes: bool) -> None:
    entry = request(opportunity=opportunity(signal=signal(buy=buy)))
    assert judged(entry).reason == (None if passes else "min_confidence")


@pytest.mark.parametrize(("confidence", "passes"), [(0.77, True), (0.78, False), (0.79, False)])
def test_bearish_mood_refuses_from_the_profiles_confidence(confidence: float, passes: bool) -> None:
    mood = MarketMood(MarketRegime.NEUTRAL, "BEARISH", confidence, 0.0, "defensive")
    assert judged(request(scan=scan(mood=mood))).reason == (None if passes else "market_regime")


@pytest.mark.parametrize(("score", "passes"), [(-0.27, True), (-0.28, False), (-0.29, False)])
def test_market_score_floor(score: float, passes: bool) -> None:
    mood = MarketMood(MarketRegime.NEUTRAL, "NEUTRAL", 0.1, score, "defensive")
    assert judged(request(scan=scan(mood=mood))).reason == (None if passes else "market_regime")


def test_mood_is_ignored_when_it_may_not_filter_or_cannot_be_read() -> None:
    mood = MarketMood(MarketRegime.RISK_OFF, "BEARISH", 1.0, -1.0, "defensive")
    assert judged(request(scan=scan(mood=mood)), santrade_intelligence={"filter_entries": False}).approved
    unread = replace(mood, regime=MarketRegime.INSUFFICIENT_DATA)
    assert judged(request(scan=scan(mood=unread))).approved


def test_one_position_or_order_per_symbol() -> None:
    assert judged(request(positions=(position(BTC),))).reason == "already_open"
    assert judged(request(intents=(buy_intent(BTC, state=IntentState.UNKNOWN),))).reason == "already_open"
    assert judged(request(intents=(buy_intent(BTC, state=IntentState.FILLED),))).approved


@pytest.mark.parametrize(("left_s", "passes"), [(-1, True), (0, True), (1, False)])
def test_cooldown(left_s: int, passes: bool) -> None:
    state = account(cooldown_until={BTC: NOW + timedelta(seconds=left_s)})
    assert judged(request(account=state)).reason == (None if passes else "symbol_cooldown")


@pytest.mark.parametrize(("limit", "passes"), [(3, True), (2, False), (1, False)])
def test_book_counts_positions_and_buys_in_flight(limit: int, passes: bool) -> None:
    entry = request(positions=(position(ETH),), intents=(buy_intent(SOL, state=IntentState.UNKNOWN),))
    decision = judged(entry, risk={"max_open_positions": limit})
    assert decision.reason == (None if passes else "max_open_positions")


@pytest.mark.parametrize(("equity", "passes"), [("1001", True), ("1000", True), ("999.99", False)])
def test_least_capital(equity: str, passes: bool) -> None:
    entry = request(account=account(equity=Decimal(equity)))
    assert judged(entry, risk={"min_capital_usdt": 1000}).reason == (None if passes else "min_capital")


@pytest.mark.parametrize(("bid", "passes"), [("99.9", True), ("99.8", False)])
def test_spread_of_a_major(bid: str, passes: bool) -> None:
    assert judged(request(quote=quote(bid=bid))).reason == (None if passes else "spread")


@pytest.mark.parametrize(("limit", "passes"), [(0.0011, True), (0.001, True), (0.0009, False)])
def test_spread_limit_of_one_symbol(limit: float, passes: bool) -> None:
    own = {"dynamic_pair_filters": {"by_symbol": {"BTC/USDC": {"spread_max_pct": limit}}}}
    entry = request(quote=quote(bid="999.5", ask="1000.5", last=Decimal(1000)))
    assert judged(entry, scanner=own).reason == (None if passes else "spread")


@pytest.mark.parametrize(("depth", "passes"), [("45001", True), ("45000", True), ("44999", False)])
def test_depth_of_a_major(depth: str, passes: bool) -> None:
    entry = request(quote=quote(depth_quote=Decimal(depth)))
    assert judged(entry).reason == (None if passes else "depth")


def test_depth_must_bear_the_size() -> None:
    shallow = request(quote=quote(depth_quote=Decimal(1900)))
    assert judged(shallow, scanner={"depth_min_usdt": 0}).reason == "depth"


def test_volume_must_bear_the_size() -> None:
    assert judged(request(quote=quote(volume_24h_quote=Decimal(9_000)))).reason == "volume"
    assert judged(request(quote=quote(volume_24h_quote=Decimal(10_001)))).approved


@pytest.mark.parametrize(("traded", "passes"), [("1000001", True), ("1000000", True), ("999999", False)])
def test_discovered_symbols_need_their_turnover(traded: str, passes: bool) -> None:
    pepe = Symbol("PEPE/USDC")
    entry = request(
        opportunity=opportunity(pepe),
        quote=quote(pepe, volume_24h_quote=Decimal(traded)),
        rules=market_rules(pepe),
    )
    assert judged(entry).reason == (None if passes else "volume")


@pytest.mark.parametrize(("least", "passes"), [(0.0168, True), (0.016899, True), (0.0169, False), (0.0170, False)])
def test_net_profit_at_the_first_target(least: float, passes: bool) -> None:
    """2 % less two fees of 0.105 % and two slippages of 0.05 % leaves 1.69 %, less a trace of dust."""
    fine = market_rules(step=Decimal("0.00000001"))
    entry = request(quote=quote(bid="100.00", ask="100.00"), fee_frac=Decimal("0.00105"), rules=fine)
    assert judged(entry, risk={"min_net_profit_pct": least}).reason == (None if passes else "net_profit")


def test_refuses_when_the_tick_is_too_coarse_for_the_stop() -> None:
    assert judged(request(rules=market_rules(tick=Decimal("0.5")))).approved
    assert judged(request(rules=market_rules(tick=Decimal(1)))).approved
    assert judged(request(rules=market_rules(tick=Decimal(2)))).reason == "no_valid_stop"


def test_refuses_a_stop_outside_the_price_band_or_bounds() -> None:
    assert judged(request(rules=market_rules(ask_multiplier_down=Decimal("0.985")))).approved
    assert judged(request(rules=market_rules(ask_multiplier_down=Decimal("0.9851")))).reason == "no_valid_stop"
    assert judged(request(rules=market_rules(ask_multiplier_up=Decimal("1.034")))).reason == "no_valid_stop"
    assert judged(request(rules=market_rules(min_price=Decimal("98.51")))).reason == "no_valid_stop"


def test_refuses_a_symbol_that_takes_no_stops() -> None:
    assert judged(request(rules=market_rules(stops_allowed=False))).reason == "no_valid_stop"


def test_refuses_a_stop_that_is_not_below_the_bid() -> None:
    wide = request(quote=quote(bid="98.50", ask="100.00"))
    assert judged(wide, scanner={"spread_max_pct": 0.05}).reason == "no_valid_stop"


@pytest.mark.parametrize("atr_frac", [0.0, float("nan"), float("inf")])
def test_atr_levels_need_an_atr(atr_frac: float) -> None:
    entry = request(opportunity=opportunity(atr_frac=atr_frac))
    assert judged(entry, risk={"exit_mode": "atr"}).reason == "no_valid_stop"
    assert judged(entry).approved


@pytest.mark.parametrize(
    ("held", "keys", "reason"),
    [
        ({ETH: "490"}, {"max_symbol_exposure_pct": 0.5, "max_cluster_exposure_pct": 0.5}, None),
        ({ETH: "495.1"}, {"max_symbol_exposure_pct": 0.5, "max_cluster_exposure_pct": 0.5}, "max_exposure"),
        ({BTC: "140"}, {}, None),
        ({BTC: "145.1"}, {}, "max_symbol_exposure"),
    ],
)
def test_exposure_limits_leave_room_for_at_least_the_smallest_size(
    held: dict[Symbol, str], keys: dict[str, float], reason: str | None
) -> None:
    full = {
        "capital_active_ratio": 1.0,
        "reserve_ratio": 0.0,
        "cash_buffer_ratio": 0.0,
        "min_position_pct_active": 0.001,
    }
    decision = judged(request(account=exposed(held)), risk={**full, **keys})
    assert decision.reason == reason


@pytest.mark.parametrize(("rho", "passes"), [(0.59, True), (0.6, False), (0.61, False)])
def test_cluster_exposure_counts_symbols_from_the_threshold_on(rho: float, passes: bool) -> None:
    entry = request(account=exposed({ETH: "300"}), scan=scan({(BTC, ETH): rho}))
    decision = judged(entry)
    assert verdict(decision, "max_cluster_exposure").passed is passes
    assert decision.reason == (None if passes else "max_cluster_exposure")


@pytest.mark.parametrize(("rho", "passes"), [(0.74, True), (0.75, True), (0.76, False)])
def test_correlation_with_a_held_symbol(rho: float, passes: bool) -> None:
    """The limit of a major is 0.70 + 0.05; the benchmark itself has its own of 1."""
    held = scan({(ETH, SOL): rho})
    entry = request(
        opportunity=opportunity(ETH), quote=quote(ETH), rules=market_rules(ETH), positions=(position(SOL),), scan=held
    )
    assert judged(entry).reason == (None if passes else "max_correlation")


def test_an_unmeasured_correlation_counts_as_one() -> None:
    entry = request(
        opportunity=opportunity(ETH),
        quote=quote(ETH),
        rules=market_rules(ETH),
        positions=(position(Symbol("NEW/USDC")),),
    )
    assert judged(entry).reason == "max_correlation"


@pytest.mark.parametrize(("spent", "passes"), [("19.8", True), ("19.9", True), ("20", False)])
def test_daily_risk_budget(spent: str, passes: bool) -> None:
    state = account(day=replace(DAY, planned_loss=Decimal(spent)))
    decision = judged(request(account=state), risk={"min_position_pct_active": 0.0})
    assert decision.reason == (None if passes else "daily_risk_budget")


@pytest.mark.parametrize(("spent", "passes"), [("59.8", True), ("59.9", True), ("60", False)])
def test_weekly_risk_budget(spent: str, passes: bool) -> None:
    state = account(week=replace(WEEK, planned_loss=Decimal(spent)))
    decision = judged(request(account=state), risk={"min_position_pct_active": 0.0})
    assert decision.reason == (None if passes else "weekly_risk_budget")


def test_risk_budget_counts_unresolved_buys() -> None:
    state = account(day=replace(DAY, planned_loss=Decimal("19.0")))
    flying = request(account=state, intents=(buy_intent(ETH, reserved="60", state=IntentState.UNKNOWN),))
    assert judged(flying, risk={"min_position_pct_active": 0.0}).reason == "daily_risk_budget"


def test_value_at_risk_with_the_trade() -> None:
    wild = request(
        account=exposed({ETH: "300"}),
        positions=(position(ETH, atr_frac=0.01),),
        scan=scan({(BTC, ETH): 0.5}),
        opportunity=opportunity(volatility_frac=0.01),
    )
    calm = replace(wild, positions=(position(ETH, atr_frac=0.003),))
    assert judged(wild).reason == "var_limit"
    assert judged(calm).approved


@pytest.mark.parametrize(("free", "passes"), [("410", True), ("405.2", True), ("405", False)])
def test_balance_beyond_the_reserves(free: str, passes: bool) -> None:
    """400 of 1000 stay in reserve; the smallest size is a little above 5."""
    state = account(quote_free=Decimal(free), quote_total=Decimal(free))
    decision = judged(request(account=state), risk={"min_position_pct_active": 0.0})
    assert decision.reason == (None if passes else "insufficient_balance")


def test_quote_claimed_by_unlocked_orders_is_not_free() -> None:
    state = account(reserved_quote=Decimal(598))
    assert judged(request(account=state)).reason == "insufficient_balance"
    locked = account(reserved_quote=Decimal(598), quote_total=Decimal(1598))
    assert judged(request(account=locked)).approved


@pytest.mark.parametrize(("bought", "passes"), [("990", True), ("994.8", True), ("995", False)])
def test_notional_per_day(bought: str, passes: bool) -> None:
    decision = judged(request(notional_today=Decimal(bought)), risk={"min_position_pct_active": 0.0})
    assert decision.reason == (None if passes else "notional_per_day")


def test_a_symbol_whose_minimum_exceeds_the_largest_position() -> None:
    assert judged(request(rules=market_rules(min_notional=Decimal(98)))).approved
    assert judged(request(rules=market_rules(min_notional=Decimal(100)))).reason == "max_position_size"


def test_a_position_below_the_smallest_share_is_not_opened() -> None:
    keys = {"min_position_pct_active": 0.17, "max_position_size_usdt": 100}
    assert judged(risk=keys).reason == "size_zero"


def test_the_loss_of_what_is_left_after_a_base_fee_must_still_be_sellable() -> None:
    """A size that is just enough to buy is not enough to protect at the stop."""
    state = account(quote_free=Decimal("405.05"), quote_total=Decimal("405.05"))
    decision = judged(request(account=state), risk={"min_position_pct_active": 0.0})
    assert not decision.approved
    assert not verdict(decision, "min_notional").passed


def test_the_first_refusal_in_order_is_the_reason_and_all_are_shown() -> None:
    entry = request(control=control(ControlState.HALTED), orders_last_minute=99, disk_free_mb=0.0)
    decision = judged(entry)
    assert decision.reason == "control_state"
    assert {item.rule for item in decision.verdicts if not item.passed} == {"control_state", "disk_low", "order_rate"}
    assert decision.as_dict()["adjusted_size_usdt"] == 0.0


def test_live_capital_is_capped_until_raised() -> None:
    rich = account(equity=Decimal(5000), quote_free=Decimal(5000), quote_total=Decimal(5000))
    decision = judged(request(account=rich, real_money=True))
    assert decision.approved
    assert decision.size_quote <= Decimal(100) * Decimal("0.6") * Decimal("0.2")


def test_equal_scores_go_by_diversification() -> None:
    first, second = opportunity(ETH, score=7.0), opportunity(SOL, score=7.04)
    report = scan({(BTC, ETH): 0.2, (BTC, SOL): 0.6})
    assert [item.symbol for item in ranked((second, first), (BTC,), report)] == [ETH, SOL]
    better = replace(second, score=7.5)
    assert [item.symbol for item in ranked((first, better), (BTC,), report)] == [SOL, ETH]


@pytest.mark.parametrize(("step", "passes"), [("0.00001", True), ("0.0001", True), ("0.05", False)])
def test_net_profit_counts_what_a_base_fee_leaves_unsellable(step: str, passes: bool) -> None:
    """A hundredth less than one unit is held: with a step of 0.05 nearly a step of it can never be sold again."""
    assert judged(request(rules=market_rules(step=Decimal(step)))).reason == (None if passes else "net_profit")
