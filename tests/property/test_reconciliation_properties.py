"""Whatever hands do to the account: it is noticed, nothing is made up, and once accepted books and account agree."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bn_ml.domain.account import Balance, ControlState
from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import IntentState
from bn_ml.errors import Transient
from tests.fakes.money_world import AAA, BBB, MoneyWorld, money_settings
from trader.acceptance import accept_differences, is_accepted
from trader.book_comparison import compare
from trader.position_manager import dust
from trader.reconciliation import LONGEST_WAIT

ASSETS = ("AAA", "BBB", "USDC", "BNB")
CALM_LOOKS = 2 * int(LONGEST_WAIT.total_seconds() / 20)
CENTS = st.integers(1, 800).map(lambda cents: Decimal(cents) / 100)
amounts = st.dictionaries(st.sampled_from(ASSETS), st.integers(-50, 50).map(Decimal))


@given(ledger=amounts, foreign=amounts, held=st.dictionaries(st.sampled_from(ASSETS), st.integers(0, 50).map(Decimal)))
def test_a_comparison_names_exactly_the_assets_that_do_not_add_up(
    ledger: dict[str, Decimal], foreign: dict[str, Decimal], held: dict[str, Decimal]
) -> None:
    balances = {asset: Balance(asset, amount / 2, amount / 2) for asset, amount in held.items()}
    rows = {row.asset: row for row in compare(ledger, foreign, balances)}
    for asset in ASSETS:
        difference = held.get(asset, ZERO) - ledger.get(asset, ZERO) - foreign.get(asset, ZERO)
        assert (asset in rows) is (difference != 0)
        if asset in rows:
            row = rows[asset]
            assert (row.amount, row.expected + row.amount) == (difference, row.exchange)
            assert ZERO <= row.taken_from_foreign() <= max(row.foreign, ZERO)
            assert row.taken_from_foreign() <= max(-row.amount, ZERO)


class Hands:
    """Somebody at the account while the bot trades."""

    def __init__(self, world: MoneyWorld, draw: st.DataObject) -> None:
        self.world = world
        self.draw = draw

    def act(self) -> None:
        action = self.draw.draw(
            st.sampled_from(["buy", "price", "price", "deposit", "withdraw", "cancel", "accept", "resume", "restart"])
        )
        getattr(self, f"_{action}")()
        self.world.clock.sleep_until(
            self.world.clock.now() + timedelta(seconds=self.draw.draw(st.sampled_from([1, 5, 11, 40])))
        )
        self.look()

    def look(self) -> None:
        try:
            self.world.bot.exits.run()
            self.world.bot.reconciler.check_if_due()
        except Transient:
            return

    def _buy(self) -> None:
        self.world.scanner.want(*self.draw.draw(st.sampled_from([(AAA,), (BBB,), (AAA, BBB)])))
        self.world.cycle()

    def _price(self) -> None:
        symbol = self.draw.draw(st.sampled_from([AAA, BBB]))
        self.world.market.move(symbol, str(self.draw.draw(st.sampled_from([97, 99, 100, 101, 103, 104]))))

    def _deposit(self) -> None:
        self.world.bot.venue.deposit(self.draw.draw(st.sampled_from(ASSETS)), self.draw.draw(CENTS))

    def _withdraw(self) -> None:
        asset = self.draw.draw(st.sampled_from(ASSETS))
        free = self.world.bot.paper.balances().get(asset, Balance(asset, ZERO)).free
        amount = min(free, self.draw.draw(CENTS))
        if amount > 0:
            self.world.bot.venue.state.account.move(asset, free=-amount)
            self.world.bot.venue.state.save()

    def _cancel(self) -> None:
        for order in self.world.bot.venue.open_orders():
            if order.is_open and self.draw.draw(st.booleans()):
                still = {item.client_id for item in self.world.bot.venue.open_orders()}
                if order.client_id in still:
                    self.world.bot.venue.cancel(order.symbol, order.client_id, self.world.clock.now())

    def _accept(self) -> None:
        store = self.world.bot.store
        if store.control().state is not ControlState.NORMAL:
            accept_differences(store, self.world.clock.now())
            self._resume()

    def _resume(self) -> None:
        store, now = self.world.bot.store, self.world.clock.now()
        if store.control().state is not ControlState.NORMAL:
            store.set_control(ControlState.NORMAL, "resumed: by hand", "operator", now)

    def _restart(self) -> None:
        self.world.close()
        self.world.bot = self.world._open()
        while True:
            try:
                self.world.start()
            except Transient:
                self.world.clock.sleep_until(self.world.clock.now() + timedelta(seconds=5))
            else:
                return


def check_books(world: MoneyWorld) -> None:
    """The books agree with themselves, and every fill in them is a trade of the venue."""
    store = world.bot.store
    left = dust(store)
    for symbol in (AAA, BBB):
        held = sum((item.remaining_quantity for item in store.open_positions() if item.symbol == symbol), ZERO)
        assert store.ledger_balance(symbol.base) == held + left.get(symbol.base, ZERO)
        assert left.get(symbol.base, ZERO) >= 0
    made = {(trade.symbol, str(trade.trade_id)) for trade in world.bot.venue.state.all_trades()}
    for position in (*store.open_positions(), *store.closed_positions()):
        fills = store.fills_of_position(position.position_id)
        assert {(fill.symbol, fill.trade_id) for fill in fills} <= made
        assert sum((leg.pnl_quote for leg in position.legs), ZERO) == position.realized_quote
    assert store.open_positions() == world.bot.positions.open_positions()
    assert world.bot.engine.account().quote_total == store.ledger_balance("USDC")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data(), seed=st.integers(0, 2**16))
def test_whatever_hands_do_is_noticed_and_once_accepted_the_books_agree(draw: st.DataObject, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = MoneyWorld(Path(folder), money_settings(), seed=seed)
        world.start()
        hands = Hands(world, draw)
        world.faults.rate = draw.draw(st.sampled_from([0.0, 0.1]))
        for _ in range(draw.draw(st.integers(1, 15))):
            hands.act()
            check_books(world)
        world.faults.heal()
        for _ in range(CALM_LOOKS):
            world.clock.sleep_until(world.clock.now() + timedelta(seconds=20))
            hands.look()
        if world.bot.reconciler.differences():
            assert world.bot.store.control().state is ControlState.HALTED
        for _ in range(4):
            hands._accept()
            for _ in range(10):
                world.clock.sleep_until(world.clock.now() + timedelta(seconds=11))
                hands.look()
        check_books(world)
        assert not is_accepted(world.bot.store)
        assert world.bot.reconciler.differences() == {}
        assert all(item.state is IntentState.OPEN for item in world.bot.orders.open_intents())
        assert world.bot.store.control().state is not ControlState.HALTED
        for position in world.bot.positions.open_positions():
            assert world.covered(position.symbol)
        world.close()
