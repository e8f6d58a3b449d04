from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.market import Bar, MarketRules, Symbol, exact
from bn_ml.domain.orders import OrderStatus, OrderType, Side
from bn_ml.exchange_info import read_exchange_info
from bn_ml.venue.account import Account
from bn_ml.venue.errors import VenueError
from bn_ml.venue.liquidity import Liquidity, book_of, tier_of
from bn_ml.venue.orders import OrderRequest
from bn_ml.venue.persistence import (
    MemoryPersistence,
    book_from,
    book_text,
    order_from,
    order_text,
    trade_from,
    trade_text,
)
from bn_ml.venue.state import VenueState
from bn_ml.venue.venue import Venue
from tests.fakes.venue_world import START, SYMBOL, oco, quote, request, rules, venue

BUY, SELL = Side.BUY, Side.SELL


def test_records_survive_their_text_unchanged() -> None:
    made = venue(base="5")
    order = made.place(request(type_=OrderType.MARKET), START)
    above, below = made.place_oco(oco(), START)
    for item in (order, above, below):
        assert order_from(order_text(item)) == item
    trade = made.my_trades(order)[0]
    assert trade_from(trade_text(trade)) == trade
    book = made.state.books[SYMBOL]
    assert book_from(SYMBOL, book_text(book)) == book


def test_old_closed_orders_are_forgotten_but_read_back() -> None:
    persistence = MemoryPersistence()
    made = venue(persistence=persistence)
    for number in range(6):
        made.place(request(type_=OrderType.MARKET, quantity="0.1", client_id=f"c{number}"), START)
    made.place(request(price="90", client_id="open"), START)
    small = VenueState(persistence, closed_kept=2)
    assert len(small._orders) == 3
    oldest = small.by_client_id(SYMBOL, "c0")
    assert oldest is not None
    assert oldest.status is OrderStatus.FILLED
    assert small.trades_of(oldest) == tuple(made.my_trades(oldest))
    assert small.by_order_id(SYMBOL, 2) == made.find(SYMBOL, order_id=2)
    assert small.by_client_id(SYMBOL, "never") is None
    assert [order.client_id for order in small.open_orders()] == ["open"]


def test_a_restart_goes_on_with_the_next_numbers() -> None:
    persistence = MemoryPersistence()
    first = venue(persistence=persistence)
    first.place(request(type_=OrderType.MARKET), START)
    with pytest.raises(VenueError):
        first.place(request(type_=OrderType.MARKET, quantity="500", client_id="b"), START)
    second = Venue(persistence)
    second.set_rules(rules())
    order = second.place(request(type_=OrderType.MARKET, client_id="c"), START)
    assert (order.order_id, second.my_trades(order)[0].trade_id) == (2, 2)


def test_an_account_never_goes_negative() -> None:
    account = Account({})
    with pytest.raises(ValueError, match="would become -1"):
        account.move("USDT", free=Decimal(-1))
    with pytest.raises(VenueError, match="insufficient"):
        account.lock("USDT", Decimal("0.01"))
    with pytest.raises(ValueError, match="deposit must be positive"):
        venue().deposit("USDT", Decimal(0))


@pytest.mark.parametrize(
    ("volume", "spread_bp"),
    [
        ("100000000", "1.2"),
        ("99999999", "2.1"),
        ("20000000", "2.1"),
        ("5000000", "4.5"),
        ("1000000", "6.4"),
        ("1", "9.2"),
    ],
)
def test_the_spread_follows_the_volume_class(volume: str, spread_bp: str) -> None:
    base = quote(spread="0")
    book = book_of(
        base.__class__(base.symbol, base.bid, base.ask, base.last, base.at, "t", Decimal(0), Decimal(volume))
    )
    assert tier_of(book).spread_bp == Decimal(spread_bp)
    half = Decimal(spread_bp) / 20000
    assert Liquidity().touch(book, BUY) == 100 * (1 + half)
    assert Liquidity().touch(book, SELL) == 100 * (1 - half)


def test_a_ladder_worsens_outwards_and_holds_the_known_depth() -> None:
    for side, worse in ((BUY, 1), (SELL, -1)):
        levels = Liquidity().ladder(book_of(quote(depth="200000")), side, rules())
        prices = [level.price * worse for level in levels]
        assert prices == sorted(prices)
        assert all(level.price % Decimal("0.01") == 0 and level.quantity % Decimal("0.001") == 0 for level in levels)
        held = sum((level.price * level.quantity for level in levels), Decimal(0))
        assert Decimal(99_000) < held <= Decimal(100_000)


@pytest.fixture(scope="module")
def recorded(market_data: Path) -> dict[Symbol, MarketRules]:
    return dict(read_exchange_info(market_data / "exchange_info" / "exchangeInfo-spot-2023-08-13.json.gz").rules)


@pytest.mark.parametrize(
    ("symbol", "last"),
    [("BTC/USDT", "29000.00"), ("ETH/USDT", "1850.00"), ("DOGE/USDT", "0.07500"), ("SHIB/USDT", "0.00001000")],
)
def test_recorded_filters_accept_on_their_grid_and_refuse_one_step_off(
    recorded: dict[Symbol, MarketRules], symbol: str, last: str
) -> None:
    market, price = recorded[Symbol(symbol)], Decimal(last)
    made = Venue(MemoryPersistence())
    made.set_rules(market)
    made.deposit(market.symbol.quote, Decimal(100_000))
    made.on_quote(quote(last, spread=str(market.tick * 2), symbol=market.symbol))

    def limit(price: Decimal, quantity: Decimal) -> OrderRequest:
        return request(price=str(price), quantity=str(quantity), symbol=market.symbol)

    below = market.price_down(price * Decimal("0.9"))
    enough = market.quantity_down(market.min_notional * 2 / below) + market.step
    least = market.quantity_down(market.min_notional / below)
    for order, name in (
        (limit(below + market.tick / 10, enough), "PRICE_FILTER|too much precision"),
        (limit(below, enough + market.step / 10), "LOT_SIZE|too much precision"),
        (limit(below, least), "NOTIONAL"),
        (limit(market.price_down(price * market.bid_multiplier_down) - market.tick, enough * 100), "PERCENT_PRICE"),
    ):
        with pytest.raises(VenueError, match=name):
            made.place(order, START)
    assert made.place(limit(below, enough), START).is_open
    market_order = request(type_=OrderType.MARKET, quantity=str(enough), client_id="m", symbol=market.symbol)
    assert made.place(market_order, START).status is OrderStatus.FILLED


def test_recorded_bars_carry_a_stop_and_a_target_to_one_end(market_data: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(next((market_data / "spot_2022_2023").glob("DIA_USDT*.parquet"))).slice(0, 3000)
    columns = [table.column(name).to_pylist() for name in ("timestamp", "open", "high", "low", "close", "volume")]
    bars = [
        Bar(at, at + (columns[0][1] - columns[0][0]), *(exact(value) for value in values))
        for at, *values in zip(*columns, strict=True)
    ]
    market = rules(tick=Decimal("0.0001"), min_price=Decimal("0.0001"))
    made = Venue(MemoryPersistence())
    made.set_rules(market)
    made.deposit("ABC", Decimal(500))
    price = bars[0].open
    made.on_quote(quote(str(price), spread="0.0002", at=bars[0].open_at))
    pair = oco(str(market.price_up(price * Decimal("1.02"))), str(market.price_down(price * Decimal("0.98"))), "500")
    made.place_oco(pair, bars[0].open_at)
    for item in bars:
        made.on_bar(SYMBOL, item)
    target, stop = (made.find(SYMBOL, client_id=name) for name in ("o-t", "o-s"))
    assert target is not None
    assert stop is not None
    assert {target.status, stop.status} == {OrderStatus.FILLED, OrderStatus.EXPIRED}
    assert made.state.account.of("ABC").total == 0
