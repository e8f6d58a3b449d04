"""What users read of every buy and sale, and the facts the journal keeps of them: all promised fields, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.orders import OrderStatus, Purpose
from bn_ml.domain.positions import Tranche
from bn_ml.errors import OutcomeUnknown, Refused, Transient
from bn_ml.state_reader import EventRow, StateReader, TradeRow
from tests.fakes.told_exchange import AAA, OrderWorld, a_trade, done, ended, order_world, report, resting
from trader.lost_orders import belongs
from trader.position_manager import dust

D = Decimal


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = order_world(tmp_path)
    yield made
    made.store.close()


def rows(world: OrderWorld) -> list[TradeRow]:
    """The trade rows, oldest first."""
    return list(reversed(StateReader(world.store.path).trades()))


def facts(world: OrderWorld, kind: str) -> list[EventRow]:
    return list(reversed(StateReader(world.store.path).events(kind=kind)))


def a_buy(world: OrderWorld, *, price: str = "10", fee: str = "0.01", asset: str = "AAA") -> str:
    intent = world.buy()
    fill = a_trade(intent, "1", "2", price, fee=D(fee), fee_asset=asset)
    world.exchange.answers.append(done(intent, fill))
    world.orders.send(intent)
    return intent.client_id


def test_a_buy_tells_its_order_its_cost_and_the_story_of_its_entry(world: OrderWorld) -> None:
    client_id = a_buy(world, price="9.5")
    (row,) = rows(world)
    assert (row.symbol, row.side, row.size_usdt, row.price, row.mode) == (AAA, "BUY", 19.0, 9.5, "live")
    assert row.extra == {
        "order_id": "1",
        "client_id": client_id,
        "base_qty": 2.0,
        "fee": 0.01,
        "fee_asset": "AAA",
        "slippage_pct": -0.05,
    }


def test_a_sale_tells_what_it_cost_what_it_brought_and_why(world: OrderWorld) -> None:
    entry = world.bought()
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=90))
    stop = world.sale(entry, "1")
    world.exchange.answers.append(done(stop, a_trade(stop, "2", "1", "8.91", fee=D("0.01"))))
    world.orders.send(stop)
    row = rows(world)[-1]
    assert (row.side, row.size_usdt, row.price) == ("SELL", 8.91, 8.91)
    assert row.extra == {
        "order_id": "2",
        "client_id": stop.client_id,
        "base_qty": 1.0,
        "fee": 0.01,
        "fee_asset": "USDC",
        "slippage_pct": pytest.approx(0.01),
        "reason": "stop_loss",
        "entry_price": 10.0,
        "cost_basis_closed": 10.0,
        "pnl_usdt": pytest.approx(-1.1),
        "pnl_pct": pytest.approx(-0.11),
        "held_s": 90.0,
        "data_source": "test",
    }


def test_slippage_is_measured_against_what_was_seen_else_the_trigger_else_the_limit(world: OrderWorld) -> None:
    entry = world.bought(quantity="4")
    seen = replace(world.a_sale(entry, "1"), reference_price=D(12))
    trigger = replace(world.a_sale(entry, "1"), limit_price=D(11))
    limit = world.a_sale(entry, "1", Purpose.TARGET)
    market = replace(world.a_sale(entry, "1", Purpose.EXIT), limit_price=None)
    for number, intent in enumerate((seen, trigger, limit, market), 2):
        world.orders.commit(intent)
        world.exchange.answers.append(done(intent, a_trade(intent, str(number), "1", "9")))
        world.orders.send(intent)
    told = [row.extra["slippage_pct"] for row in rows(world)[1:]]
    assert told == [pytest.approx(0.25), 0.0, pytest.approx(2 / 11), 0.0]


def test_the_journal_keeps_each_order_fill_and_leg(world: OrderWorld) -> None:
    entry = world.bought()
    stop = world.sale(entry, "2")
    world.exchange.answers.append(done(stop, a_trade(stop, "2", "2", "9", fee=D("0.02"))))
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=60))
    world.orders.send(stop)
    assert facts(world, "OrderSent")[1].payload == {
        "symbol": "AAA/USDC",
        "client_id": stop.client_id,
        "side": "SELL",
        "type": "STOP_LOSS",
        "quantity": "2",
        "purpose": "stop",
        "limit_price": None,
        "stop_price": "9",
    }
    assert facts(world, "OrderFilled")[1].payload == {
        "symbol": "AAA/USDC",
        "client_id": stop.client_id,
        "trade_id": "2",
        "side": "SELL",
        "price": "9",
        "quantity": "2",
        "fee": "0.02",
        "fee_asset": "USDC",
    }
    (leg,) = facts(world, "LegTaken")
    assert leg.payload == {
        "symbol": "AAA/USDC",
        "position_id": entry.position_id,
        "reason": "stop_loss",
        "quantity": "2",
        "price": "9",
        "pnl_quote": "-2.02",
    }
    (opened,) = facts(world, "PositionOpened")
    assert {name: opened.payload[name] for name in ("position_id", "quantity", "entry_price")} == {
        "position_id": entry.position_id,
        "quantity": "2",
        "entry_price": "10",
    }
    (closed,) = facts(world, "PositionClosed")
    assert closed.payload["reason"] == "stop_loss"
    assert closed.payload["pnl_quote"] == "-2.02"
    assert [row.payload["state"] for row in facts(world, "OrderFinished")] == ["FILLED", "FILLED"]


def test_a_rest_too_small_to_sell_is_dust_and_its_cost_is_lost(world: OrderWorld) -> None:
    entry = world.bought()
    held = world.orders.positions.position(entry.position_id)
    assert held is not None
    now = world.clock.now() + timedelta(minutes=7)
    world.orders.positions.write_off(held, now)
    closed = world.store.position(entry.position_id)
    assert closed is not None
    assert (closed.is_open, closed.remaining_quantity, closed.dust_quantity) == (False, 0, 2)
    assert (closed.cost_open_quote, closed.realized_quote, closed.closed_at) == (0, -20, now)
    assert [(leg.reason.value, leg.quantity, leg.price, leg.pnl_quote, leg.at) for leg in closed.legs] == [
        ("below_min_size", 2, 10, -20, now)
    ]
    assert dust(world.store) == {"AAA": 2}
    assert world.orders.positions.open_positions() == ()
    (told,) = facts(world, "PositionClosed")
    assert (told.payload["reason"], told.payload["held_s"]) == ("below_min_size", 420.0)


def test_what_is_gone_from_the_account_is_taken_from_dust_first(world: OrderWorld) -> None:
    first = world.bought()
    held = world.orders.positions.position(first.position_id)
    assert held is not None
    world.orders.positions.write_off(held, world.clock.now())
    second = world.buy()
    world.exchange.answers.append(done(second, a_trade(second, "7", "2")))
    world.orders.send(second)
    world.orders.positions.take_out("AAA", D("2.5"), world.clock.now(), "gone")
    assert dust(world.store) == {}
    left = world.orders.positions.position(second.position_id)
    assert left is not None
    assert (left.remaining_quantity, left.cost_open_quote) == (D("1.5"), 15)
    assert world.store.ledger_balances()["AAA"] == D("1.5")
    (written_off,) = facts(world, "DifferenceWrittenOff")
    assert written_off.payload == {"asset": "AAA", "amount": "2.5", "note": "gone"}
    (reconciled,) = facts(world, "PositionReconciled")
    assert reconciled.payload == {
        "symbol": "AAA/USDC",
        "position_id": second.position_id,
        "missing": "0.5",
        "lost_quote": "5",
    }
    world.orders.positions.take_out("AAA", D("1.5"), world.clock.now(), "gone as well")
    gone = world.store.position(second.position_id)
    assert gone is not None
    assert (gone.is_open, gone.remaining_quantity) == (False, 0)
    assert facts(world, "PositionClosed")[-1].payload["reason"] == "reconciled"
    last = facts(world, "PositionReconciled")[-1].payload
    assert (last["missing"], last["lost_quote"]) == ("1.5", "15")


def test_quote_that_is_gone_leaves_positions_and_dust_alone(world: OrderWorld) -> None:
    entry = world.bought()
    world.orders.positions.take_out("USDC", D(100), world.clock.now(), "withdrawn")
    assert world.store.ledger_balances() == {"AAA": 2, "USDC": 880}
    held = world.orders.positions.position(entry.position_id)
    assert held is not None
    assert held.remaining_quantity == 2


def test_a_tranche_is_dropped_once_all_of_it_is_sold_by_its_own_orders(world: OrderWorld) -> None:
    entry = world.bought()
    held = world.orders.positions.position(entry.position_id)
    assert held is not None
    first, second = world.sale(entry, "1"), world.sale(entry, "1", tranche="runner")
    tranches = (
        Tranche("tp1", D(1), D(9), client_ids=(first.client_id, "never-sent")),
        Tranche("runner", D(1), D(9), client_ids=(second.client_id,)),
    )
    world.orders.positions.save(replace(held, tranches=tranches))
    part = a_trade(first, "2", "0.4", "9")
    world.exchange.answers.append(resting(first, part))
    world.orders.send(first)
    labels = [item.label for item in world.orders.positions.open_positions()[0].tranches]
    assert labels == ["tp1", "runner"]
    world.orders.book(done(first, part, a_trade(first, "3", "0.6", "9")))
    assert [item.label for item in world.orders.positions.open_positions()[0].tranches] == ["runner"]
    world.exchange.answers.append(ended(second))
    world.orders.send(second)
    assert [item.label for item in world.orders.positions.open_positions()[0].tranches] == ["runner"]


def test_a_trade_that_is_booked_is_no_strange_one_whatever_its_read_leaves_out(world: OrderWorld) -> None:
    entry = world.bought()
    bare = replace(a_trade(entry, "1", "2"), client_id="", order_id="")
    assert world.orders.claim((bare,)) == ()
    unknown = replace(bare, trade_id="99")
    assert world.orders.claim((bare, unknown)) == (unknown,)


def test_of_several_orders_that_cannot_be_asked_for_the_first_failure_is_told(world: OrderWorld) -> None:
    entry = world.bought()
    for number in (1, 2):
        stop = world.sale(entry, "1")
        world.exchange.answers.append(resting(stop))
        world.orders.send(stop)
        world.exchange.known[stop.client_id] = Transient(f"failure {number}")
    with pytest.raises(Transient, match="failure 1"):
        world.orders.refresh()
    assert len(world.exchange.asked) == 2


def test_the_journal_names_the_order_that_was_refused_or_is_in_doubt(world: OrderWorld) -> None:
    entry = world.bought()
    refused, doubtful = world.sale(entry, "1"), world.sale(entry, "1")
    world.exchange.answers.extend([Refused("Filter failure: LOT_SIZE", -1013), OutcomeUnknown("timed out")])
    world.orders.send(refused)
    world.orders.send(doubtful)
    (rejected,), (unknown,) = facts(world, "OrderRejected"), facts(world, "OrderOutcomeUnknown")
    assert rejected.payload == {
        "symbol": "AAA/USDC",
        "client_id": refused.client_id,
        "reason": "-1013 Filter failure: LOT_SIZE",
    }
    assert unknown.payload == {"symbol": "AAA/USDC", "client_id": doubtful.client_id, "reason": "timed out"}


def test_a_sale_after_the_close_has_no_cost_left_to_measure_itself_by(world: OrderWorld) -> None:
    entry = world.bought()
    first, late = world.sale(entry, "1"), world.sale(entry, "1")
    for stop in (first, late):
        world.exchange.answers.append(resting(stop))
        world.orders.send(stop)
    held = world.orders.positions.position(entry.position_id)
    assert held is not None
    world.orders.positions.write_off(held, world.clock.now())
    world.orders.book(done(late, a_trade(late, "3", "1", "9")))
    extra = rows(world)[-1].extra
    assert (extra["cost_basis_closed"], extra["pnl_usdt"], extra["pnl_pct"]) == (0.0, 9.0, 0.0)


@pytest.mark.parametrize(
    ("client_id", "order_id", "shown_as", "ours"),
    [
        ("ours", "", "", True),
        ("ours", "9", "7", True),
        ("theirs", "7", "7", False),
        ("", "7", "7", True),
        ("", "8", "7", False),
        ("", "", "", False),
        ("", "7", "", False),
    ],
)
def test_a_trade_belongs_to_an_order_by_our_id_or_else_by_the_exchange_s_own(
    world: OrderWorld, client_id: str, order_id: str, shown_as: str, ours: bool
) -> None:
    intent = world.buy("ours")
    record = world.store.intent("ours")
    assert record is not None
    fill = replace(a_trade(intent, "1", "2"), client_id=client_id, order_id=order_id)
    assert belongs(fill, replace(record, exchange_id=shown_as)) is ours


def test_an_order_that_filled_too_much_is_told_once_however_often_it_is_reported(world: OrderWorld) -> None:
    intent = world.buy()
    too_much = report(intent, OrderStatus.FILLED, a_trade(intent, "1", "3"))
    world.exchange.answers.append(too_much)
    world.orders.send(intent)
    world.orders.book(too_much)
    (told,) = facts(world, "OrderOverfilled")
    assert told.payload == {"symbol": "AAA/USDC", "client_id": intent.client_id, "asked": "2", "filled": "3"}
