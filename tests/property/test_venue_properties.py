from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Bar
from bn_ml.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from bn_ml.errors import Refused
from bn_ml.venue.account import FeeRates, truncate
from bn_ml.venue.invariants import violations
from bn_ml.venue.liquidity import Liquidity
from bn_ml.venue.persistence import MemoryPersistence
from bn_ml.venue.venue import Venue
from tests.fakes.venue_world import QUARTER, START, SYMBOL, StepClock, TinyMarket, bar, intent, quote, request, rules
from tests.fakes.venue_world import venue as a_venue
from trader.exchanges.paper import PaperExchange

CENT = Decimal("0.01")
TYPES = (
    OrderType.MARKET,
    OrderType.LIMIT,
    OrderType.LIMIT_MAKER,
    OrderType.STOP_LOSS,
    OrderType.STOP_LOSS_LIMIT,
    OrderType.TAKE_PROFIT,
    OrderType.TAKE_PROFIT_LIMIT,
)


@dataclass(frozen=True)
class Step:
    kind: str
    side: Side
    type: OrderType
    quantity: Decimal
    away: int
    further: int
    tif: TimeInForce
    gap: int
    up: int
    down: int
    end: int
    volume: int


STEPS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(["order", "order", "oco", "cancel", "bar", "bar", "bar"]),
        side=st.sampled_from(Side),
        type=st.sampled_from(TYPES),
        quantity=st.integers(50, 60_000).map(lambda count: Decimal(count) / 1000),
        away=st.integers(-300, 300),
        further=st.integers(1, 300),
        tif=st.sampled_from(TimeInForce),
        gap=st.integers(-200, 200),
        up=st.integers(0, 400),
        down=st.integers(0, 400),
        end=st.integers(0, 100),
        volume=st.sampled_from([0, 40, 1000, 100_000]),
    ),
    min_size=12,
    max_size=40,
)


class World:
    def __init__(self, fees: FeeRates, liquidity: Liquidity, depth: int = 2_000_000) -> None:
        self.clock = StepClock()
        self.market = TinyMarket(self.clock, [bar("100", "100", "100", "100", at=START - QUARTER)])
        self.market.depth = Decimal(depth)
        self.persistence = MemoryPersistence()
        self._fees, self._liquidity = fees, liquidity
        self.start()

    def start(self) -> None:
        self.venue = Venue(self.persistence, fees=self._fees, liquidity=self._liquidity)
        self.exchange = PaperExchange(self.venue, self.market, self.clock, max_quote_age=timedelta(minutes=15))
        self.exchange.fund("USDT", Decimal(20_000))
        if "ABC" not in self.venue.state.deposits:
            self.venue.deposit("ABC", Decimal(200))

    @property
    def price(self) -> Decimal:
        return self.market.bars[-1].close

    def take(self, number: int, step: Step) -> None:
        with suppress(Refused):
            self._take(f"n{number}", step)

    def _take(self, name: str, step: Step) -> None:
        if step.kind == "bar":
            self._advance(step)
        elif step.kind == "cancel":
            opened = self.venue.open_orders()
            if opened:
                chosen = opened[step.up % len(opened)]
                self.exchange.cancel_order(SYMBOL, chosen.client_id)
        elif step.kind == "oco":
            up, down = self.price + step.further * CENT, self.price - step.further * CENT
            amount = str(step.quantity)
            target = intent(
                Side.SELL, OrderType.LIMIT_MAKER, amount, client_id=f"{name}-t", price=str(up), list_id=name
            )
            stop = intent(Side.SELL, OrderType.STOP_LOSS, amount, client_id=f"{name}-s", stop=str(down), list_id=name)
            self.exchange.create_oco(target, stop)
        else:
            self._order(name, step)

    def _order(self, name: str, step: Step) -> None:
        price = str(self.price + step.away * CENT)
        stop = str(self.price + (step.further if step.away > 0 else -step.further) * CENT)
        priced = step.type in (TYPES[1], TYPES[2], TYPES[4], TYPES[6])
        made = intent(
            step.side,
            step.type,
            str(step.quantity),
            client_id=name,
            price=price if priced else None,
            stop=stop if step.type in TYPES[3:] else None,
            tif=step.tif if priced and step.type is not OrderType.LIMIT_MAKER else None,
        )
        self.exchange.create_order(made)

    def _advance(self, step: Step) -> None:
        opened = max(self.price + step.gap * CENT, Decimal(10))
        low = max(opened - step.down * CENT, Decimal(9))
        high = opened + step.up * CENT
        closed = low + ((high - low) * step.end / 100).quantize(CENT)
        at = self.market.bars[-1].close_at
        self.market.bars.append(Bar(at, at + QUARTER, opened, high, low, min(closed, high), Decimal(step.volume)))
        self.clock.sleep_until(at + QUARTER)
        self.exchange.sync(self.clock.now())


LIQUIDITIES = st.sampled_from([Liquidity(), Liquidity(participation=Decimal("0.1"))])
DEPTHS = st.sampled_from([2_000_000, 4_000])
FEES = st.sampled_from([FeeRates(), FeeRates(maker=Decimal("0.00075"), taker=Decimal("0.00123457"))])


@settings(max_examples=120, deadline=None)
@given(steps=STEPS, fees=FEES, liquidity=LIQUIDITIES, depth=DEPTHS)
def test_money_is_conserved_and_locks_match_after_every_request(
    steps: list[Step], fees: FeeRates, liquidity: Liquidity, depth: int
) -> None:
    world = World(fees, liquidity, depth)
    for number, step in enumerate(steps):
        world.take(number, step)
        assert violations(world.venue.state) == ()


@settings(max_examples=80, deadline=None)
@given(steps=STEPS, restarts=st.sets(st.integers(0, 39), min_size=1), depth=DEPTHS)
def test_restarts_at_any_point_change_nothing(steps: list[Step], restarts: set[int], depth: int) -> None:
    steady, restarted = (World(FeeRates(), Liquidity(), depth) for _ in range(2))
    for number, step in enumerate(steps):
        steady.take(number, step)
        restarted.take(number, step)
        if number in restarts:
            restarted.start()
            restarted.exchange.sync(restarted.clock.now())
    assert restarted.exchange.balances() == steady.exchange.balances()
    assert restarted.exchange.open_orders() == steady.exchange.open_orders()
    assert restarted.persistence.orders() == steady.persistence.orders()
    assert restarted.persistence.trades() == steady.persistence.trades()


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_reports_agree_with_their_fills_and_orders_end_once(steps: list[Step]) -> None:
    world = World(FeeRates(), Liquidity())
    ended: dict[str, OrderStatus] = {}
    for number, step in enumerate(steps):
        world.take(number, step)
        for name in {f"n{number}", f"n{number}-t", f"n{number}-s", *ended}:
            report = world.exchange.order_status(SYMBOL, name)
            if report is None:
                continue
            assert report.executed_quantity == sum((fill.quantity for fill in report.fills), Decimal(0))
            assert report.executed_quote == sum((fill.quote_quantity for fill in report.fills), Decimal(0))
            assert len({fill.trade_id for fill in report.fills}) == len(report.fills)
            assert ended.get(name, report.status) is report.status
            if not report.status.is_open:
                ended[name] = report.status


@settings(max_examples=100, deadline=None)
@given(
    quantity=st.integers(1, 200_000).map(lambda count: Decimal(count) / 1000),
    depth=st.integers(1_000, 5_000_000),
    side=st.sampled_from(Side),
)
def test_takers_never_do_better_than_the_touch_and_never_take_more_than_there_is(
    quantity: Decimal, depth: int, side: Side
) -> None:
    made = a_venue(usdt="1000000000", base="1000000")
    made.set_rules(rules(min_notional=CENT))
    made.on_quote(quote(at=START + timedelta(seconds=1), depth=str(depth)))
    order = made.place(request(side, OrderType.MARKET, str(quantity)), START)
    trades = made.my_trades(order)
    assert order.executed_quote <= truncate(Decimal(depth) / 2) * Decimal("1.02")
    assert order.executed <= quantity
    if side is Side.BUY:
        assert all(trade.price >= Decimal("100.01") for trade in trades)
    else:
        assert all(trade.price <= Decimal("99.99") for trade in trades)
