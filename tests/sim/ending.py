"""The judgement at the end: after a calm while everything must be settled and every book equal, to the unit."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import Side
from bn_ml.venue.invariants import violations as venue_violations
from bn_ml.venue.orders import VenueTrade
from tests.checker.book_rows import Book, read_book
from tests.checker.check_order import check_control, check_journal
from tests.checker.check_positions import check_positions
from tests.checker.findings import Complaints, Limits
from tests.sim.world import SimWorld

UNITS = 10**8


def judge_end(world: SimWorld) -> None:
    """Judge a schedule that has run to its end."""
    book = read_book(world.path)
    _check_state(world)
    _check_orders(world, book)
    _check_fills(world, book)
    _check_balances(world, book)
    _check_holdings(world, book)
    _check_foreign(world)
    complain = Complaints()
    check_positions(book, complain)
    check_control(book, Limits.from_settings(world.plan.settings), complain)
    check_journal(book, complain)
    for line in complain.result():
        world.watch.complain("books", line)
    for line in venue_violations(world.venue.state):
        world.watch.complain("venue", line)


def digest_of(world: SimWorld) -> str:
    """Give the hash over the trace and the exact tables."""
    for table, order in (("intents", "seq"), ("fills", "id"), ("ledger", "id"), ("control", "epoch")):
        for row in world.reader.execute(f"SELECT * FROM {table} ORDER BY {order}"):
            world.digest.update(repr(tuple(row)).encode())
    for row in world.reader.execute("SELECT position_id, status, json FROM position_book ORDER BY rowid"):
        world.digest.update(repr(tuple(row)).encode())
    return world.digest.hexdigest()


def _check_state(world: SimWorld) -> None:
    row = world.reader.execute("SELECT * FROM control ORDER BY epoch DESC LIMIT 1").fetchone()
    state, reason = (row["state"], row["reason"]) if row else ("", "")
    states = world.reader.execute("SELECT state, set_by, epoch FROM control ORDER BY epoch").fetchall()
    for before, after in pairwise(states):
        loosened = before["state"] == "HALTED" != after["state"] and after["set_by"] != "operator"
        world.watch.demand("P9", not loosened, f"epoch {after['epoch']}: HALTED was left by {after['set_by']}")
    must, may = world.happenings.must_halt, world.happenings.may_halt
    # An orphan that ended before the bot looked left nothing to be seen.
    if must == "orphan" and not any(order.client_id in world.happenings.orphans for order in world.venue.open_orders()):
        return
    if must:
        world.watch.demand("halt", state == "HALTED", f"{must}: the bot is {state} ({reason})")
    elif not may:
        world.watch.demand("halt", state != "HALTED", f"HALTED without cause: {reason}")


def _check_orders(world: SimWorld, book: Book) -> None:
    watch = world.watch
    resting = {order.client_id: order for order in world.truth.resting()}
    live = {row.client_id: row for row in book.intents if row.state in ("SENT", "OPEN", "UNKNOWN")}
    for name, row in live.items():
        watch.demand("end", row.state == "OPEN", f"{name} is still {row.state}")
        watch.demand("end", name in resting, f"{name} is {row.state}, but does not rest at the venue")
    for name in resting:
        known = name in live or name in world.happenings.orphans
        watch.demand("end", known, f"{name} rests at the venue unknown to the book")
    rows = {row.client_id: row for row in book.intents}
    for name, count in sorted(world.truth.accepted.items()):
        row = rows.get(name)
        if row is not None:
            copied = any(fault.kind == "duplicate" for fault in world.faults.fired.values())
            watch.demand("P1", count == 1 or copied, f"{name} was accepted {count} times")
            never = row.state == "NEVER_ACCEPTED"
            watch.demand("P2", not never, f"{name} is {row.state}, but the venue accepted it")


def _check_fills(world: SimWorld, book: Book) -> None:
    told = {(str(trade.symbol), str(trade.trade_id)): _told(trade) for trade in world.truth.trades}
    real = {_told(trade) for trade in world.venue.state.all_trades()}
    mine = {
        (row.symbol, row.trade_id): (
            row.client_id,
            row.side,
            row.price,
            row.qty,
            row.quote,
            row.fee,
            row.fee_asset,
            row.at_ms,
        )
        for row in book.fills
    }
    copied = {name for name, count in world.truth.accepted.items() if count > 1}
    for key in sorted(set(told) | set(mine)):
        name = (told.get(key) or mine[key])[0]
        # Asked for its id after a death, the venue shows one of the copies: its trades are then the order's.
        if told.get(key) != mine.get(key) and not (name in copied and mine.get(key, told.get(key)) in real):
            world.watch.complain("P2", f"trade {key}: venue {told.get(key)}, book {mine.get(key)}")


def _told(trade: VenueTrade) -> tuple[object, ...]:
    return (
        trade.client_id,
        trade.side.value,
        *(int(value * UNITS) for value in (trade.price, trade.quantity, trade.quote_quantity, trade.fee)),
        trade.fee_asset,
        trade.at_ms,
    )


def _check_balances(world: SimWorld, book: Book) -> None:
    ledger: defaultdict[str, int] = defaultdict(int)
    for row in book.ledger:
        ledger[row.asset] += row.amount
    venue = {asset: int(balance.total * UNITS) for asset, balance in world.venue.balances().items()}
    declared = {
        row["asset"]: int(row["total"])
        for row in world.reader.execute("SELECT asset, sum(amount) AS total FROM foreign_balances GROUP BY asset")
    }
    hand = {asset: int(amount * UNITS) for asset, amount in world.happenings.moved_by_hand.items()}
    for asset in sorted(set(ledger) | set(venue)):
        expected = venue.get(asset, 0) - hand.get(asset, 0) - declared.get(asset, 0)
        before = int((world.plan.foreign.get(asset, ZERO) + (world.plan.bnb if asset == "BNB" else ZERO)) * UNITS)
        if asset != "USDC":
            world.watch.demand(
                "P2", declared.get(asset, 0) == before, f"{asset}: {before} foreign, declared {declared}"
            )
        if ledger[asset] != expected:
            world.watch.complain("P3", f"{asset}: ledger {ledger[asset]}, venue {expected}")


def _check_holdings(world: SimWorld, book: Book) -> None:
    status = {row.position_id: row.status for row in book.positions}
    state = world.control_state()
    for position_id, held in sorted(world.truth.held.items()):
        symbol = Symbol.from_key(position_id.partition("-")[0]) if position_id else None
        if symbol is None:
            continue
        rules, price = world.market.rule[symbol], world.market.price[symbol]
        sellable = rules.quantity_down(held)
        big = sellable >= rules.min_quantity and sellable * price >= rules.min_notional * Decimal("1.1")
        if status.get(position_id) == "CLOSED":
            small = sellable * price < rules.min_notional * 2 or sellable < rules.min_quantity
            world.watch.demand("P2", small, f"{position_id} is closed, {held} are left")
        elif state == "HALTED" and world.happenings.killed_by_switch:
            world.watch.demand("flat", not big, f"{position_id}: {held} left after the kill switch")
        elif state != "HALTED":
            covered = sum(world.truth.covered(position_id, symbol).values(), ZERO)
            world.watch.demand(
                "end", covered >= sellable or not big, f"{position_id}: {covered} of {sellable} covered at the end"
            )
    sold = {world.truth.position_of(t.client_id) for t in world.truth.trades if t.side is Side.BUY}
    missing = [name for name in sorted(sold) if name not in status]
    world.watch.demand("P2", not missing, f"bought, but no position: {missing}")


def _check_foreign(world: SimWorld) -> None:
    for name, symbol in sorted(world.happenings.foreign.items()):
        order = world.venue.find(symbol, client_id=name)
        gone = order is None or order.status.value == "CANCELED"
        world.watch.demand("foreign", not gone, f"the order {name} of somebody else was cancelled")
