"""Tranches lose nothing, stops on ticks never fall, and equity is cash plus positions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.account import Balance
from bn_ml.domain.market import EPOCH, MarketRules, Quote, Symbol
from bn_ml.domain.positions import Position, PositionStatus
from bn_ml.settings import RiskSettings
from trader.accounting import account_state, book_closed_position, day_key, new_book, week_key
from trader.exit_manager import ExitManager
from trader.ladder import is_sellable

ETH, SOL = Symbol("ETH/USDC"), Symbol("SOL/USDC")
RISK = RiskSettings()
EXITS = ExitManager(RISK)
TICKS = st.sampled_from((Decimal("0.01"), Decimal("0.0001"), Decimal("1e-8")))
STEPS = st.sampled_from((Decimal("1e-5"), Decimal("0.01"), Decimal(1)))
MONEY = st.decimals(Decimal("0"), Decimal("10000"), places=8)


@st.composite
def rule_books(draw: st.DrawFn) -> MarketRules:
    return MarketRules(
        ETH,
        draw(TICKS),
        draw(STEPS),
        min_notional=draw(st.sampled_from((Decimal(1), Decimal(5), Decimal(10)))),
        min_quantity=draw(st.sampled_from((Decimal(0), Decimal("0.1"), Decimal(3)))),
    )


def held(symbol: Symbol, entry: Decimal, quantity: Decimal) -> Position:
    return Position(
        position_id="p",
        symbol=symbol,
        status=PositionStatus.OPEN,
        opened_at=EPOCH,
        entry_price=entry,
        initial_quantity=quantity,
        remaining_quantity=quantity,
        cost_quote=entry * quantity,
        cost_open_quote=entry * quantity,
        stop=entry * Decimal("0.985"),
        target_1=entry * Decimal("1.02"),
        target_2=entry * Decimal("1.035"),
        max_price_seen=entry,
        atr_frac=0.003,
    )


@settings(max_examples=300, deadline=None)
@given(
    rule_books(),
    st.integers(100, 10_000_000),
    st.decimals(Decimal("0.000001"), Decimal("5000"), places=6),
    st.booleans(),
    st.booleans(),
)
def test_tranches_sum_to_all_that_can_be_sold(
    rules: MarketRules, ticks: int, quantity: Decimal, tp1_hit: bool, tp2_hit: bool
) -> None:
    position = replace(held(ETH, rules.tick * ticks, quantity), tp1_hit=tp1_hit, tp2_hit=tp1_hit and tp2_hit)
    tranches = EXITS.tranches(position, rules)
    whole = rules.quantity_down(quantity)
    if not is_sellable(whole, position.stop, rules):
        assert tranches == ()
        return
    assert sum(item.quantity for item in tranches) == whole
    for item in tranches:
        assert item.quantity % rules.step == 0
        assert is_sellable(item.quantity, position.stop, rules)
        assert item.stop_price == position.stop
    assert len({item.label for item in tranches}) == len(tranches)


@settings(max_examples=200, deadline=None)
@given(rule_books(), st.integers(200, 10_000_000), st.floats(0.0001, 0.2))
def test_entry_levels_are_ordered_on_ticks(rules: MarketRules, ticks: int, atr_frac: float) -> None:
    entry = rules.tick * ticks
    for exits in (EXITS, ExitManager(RiskSettings(exit_mode="atr"))):
        levels = exits.levels(entry, atr_frac, rules)
        assert 0 < levels.stop < entry < levels.target_1 < levels.target_2
        assert levels.stop % rules.tick == levels.target_1 % rules.tick == levels.target_2 % rules.tick == 0


@settings(max_examples=150, deadline=None)
@given(
    rule_books(),
    st.lists(st.integers(9000, 13000), min_size=1, max_size=25),
    st.booleans(),
    st.sampled_from(("tp1", "pct")),
)
def test_stops_on_ticks_never_move_down_and_stay_below_the_price(
    rules: MarketRules, path: list[int], tp1_hit: bool, after: str
) -> None:
    exits = ExitManager(RiskSettings(trailing_after=after))  # type: ignore[arg-type]
    position = replace(held(ETH, rules.tick * 10_000, Decimal(1)), tp1_hit=tp1_hit)
    for ticks in path:
        price = rules.tick * ticks
        quote = Quote(ETH, price, price, price, EPOCH, "test")
        plan = exits.plan(position, quote, 0.003, EPOCH + timedelta(hours=1), False, rules)
        assert plan.max_price_seen >= position.max_price_seen
        if plan.close_all is not None:
            assert plan.new_stop is None
            return
        if plan.new_stop is not None:
            assert position.stop < plan.new_stop < price
            assert plan.new_stop % rules.tick == 0
            position = replace(position, stop=plan.new_stop)
        position = replace(position, trailing_active=plan.trailing_active, max_price_seen=plan.max_price_seen)


@given(MONEY, MONEY, MONEY.filter(bool), MONEY.filter(bool), st.booleans())
def test_equity_is_cash_plus_positions(
    free: Decimal, locked: Decimal, price: Decimal, quantity: Decimal, quoted: bool
) -> None:
    positions = (held(ETH, price, quantity), held(SOL, price, quantity))
    quotes = {ETH: Quote(ETH, price * 2, price * 3, price * 2, EPOCH, "test")} if quoted else {}
    state, book = account_state(
        new_book(free, EPOCH),
        cash=Balance("USDC", free, locked),
        positions=positions,
        quotes=quotes,
        intents=(),
        now=EPOCH,
    )
    worth = quantity * price * (3 if quoted else 2)
    assert state.equity == free + locked + worth
    assert state.exposure == sum(state.symbol_exposure.values()) == worth
    assert state.unrealized == state.equity - free - locked - 2 * quantity * price
    assert book.equity_peak >= state.equity


@given(st.lists(st.decimals(Decimal(-50), Decimal(50), places=2), max_size=20), st.integers(0, 400))
def test_the_book_counts_every_closed_position_once(results: list[Decimal], days: int) -> None:
    now = EPOCH + timedelta(days=days)
    book = new_book(Decimal(1000), now)
    for result in results:
        book = book_closed_position(book, replace(held(ETH, Decimal(1), Decimal(1)), realized_quote=result), now, RISK)
    statistics = book.statistics
    assert statistics.closed == len(results)
    assert statistics.sum_wins + statistics.sum_losses == book.day.realized == book.week.realized == sum(results)
    assert (book.day.key, book.week.key) == (day_key(now), week_key(now))
    assert statistics.half_size <= (statistics.loss_pause_until is not None)
