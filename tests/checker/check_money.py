"""The exact books: ledger, fills, intents and the exchange's own records must tell one story to the last unit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction

from tests.checker.book_rows import NEVER_PLACED, TERMINAL, UNITS, Book, Facts, FillRow, IntentRow, units
from tests.checker.findings import Complaints, Limits

VENUE_STATE = {
    "FILLED": {"FILLED"},
    "CANCELED": {"CANCELED"},
    "EXPIRED": {"EXPIRED"},
    "REFUSED": {"REJECTED"},
    "NEW": {"SENT", "OPEN", "UNKNOWN"},
}


def check_money(book: Book, limits: Limits, complain: Complaints) -> None:
    """Check ledger, fills, intents and the exchange's orders, trades and balances against each other."""
    _check_ledger(book, complain)
    _check_fills(book, complain)
    _check_fees(book, limits, complain)
    _check_intents(book, complain)
    _check_venue_orders(book, complain)
    _check_venue_trades(book, complain)


def _check_ledger(book: Book, complain: Complaints) -> None:
    expected = Counter(change for fill in book.fills for change in _changes(fill))
    booked: Counter[tuple[str, str, str, int, str]] = Counter()
    balance: defaultdict[str, int] = defaultdict(int)
    previous: tuple[str | None, str | None] | None = None
    for row in book.ledger:
        origin = (row.symbol, row.trade_id)
        if origin != previous:
            _never_negative(balance, f"before ledger row {row.id}", complain)
        previous = origin
        balance[row.asset] += row.amount
        if row.symbol is None or row.trade_id is None:
            sign = {"deposit": 1, "withdrawal": -1}.get(row.reason, 0)
            complain.demand("ledger_explained", row.amount * sign > 0, f"row {row.id} has no fill: {row}")
        else:
            booked[row.symbol, row.trade_id, row.asset, row.amount, row.reason] += 1
    _never_negative(balance, "at the end", complain)
    for change, count in (booked - expected).items():
        complain.add("ledger_explained", f"{count} rows without a fill: {change}")
    for change, count in (expected - booked).items():
        complain.add("ledger_explained", f"{count} rows missing for a fill: {change}")
    for asset in sorted(set(balance) | set(book.venue_balances)):
        complain.equal("ledger_equals_venue", asset, balance.get(asset, 0), book.venue_balances.get(asset, 0))


def _changes(fill: FillRow) -> Iterator[tuple[str, str, str, int, str]]:
    base, _, quote = fill.symbol.partition("/")
    sign = 1 if fill.side == "BUY" else -1
    changes = (
        (base, sign * fill.qty, "fill_base"),
        (quote, -sign * fill.quote, "fill_quote"),
        (fill.fee_asset, -fill.fee, "fee"),
    )
    for asset, change, reason in changes:
        if change:
            yield fill.symbol, fill.trade_id, asset, change, reason


def _never_negative(balance: defaultdict[str, int], when: str, complain: Complaints) -> None:
    for asset, total in balance.items():
        complain.demand("never_negative", total >= 0, f"{asset} is {total} units {when}")


def _check_fills(book: Book, complain: Complaints) -> None:
    seen = Counter((fill.symbol, fill.trade_id) for fill in book.fills)
    for trade, count in seen.items():
        complain.equal("fill_unique", f"trade {trade}", count, 1)
    for fill in book.fills:
        intent = book.intent_of.get(fill.client_id)
        if intent is None:
            complain.add("fill_has_intent", f"trade {fill.symbol} {fill.trade_id}: no intent {fill.client_id}")
            continue
        name = f"trade {fill.symbol} {fill.trade_id} of {fill.client_id}"
        complain.equal("fill_matches_intent", name, (fill.symbol, fill.side), (intent.symbol, intent.side))
        complain.demand("fill_matches_intent", fill.at_ms >= intent.created_ms, f"{name}: filled before it was sent")
        complain.demand(
            "fill_quote", abs(fill.quote * UNITS - fill.price * fill.qty) < UNITS, f"{name}: quote is not price x qty"
        )
        _check_fill_price(fill, intent, name, complain)


def _check_fees(book: Book, limits: Limits, complain: Complaints) -> None:
    """On paper every trade costs the configured share of what it brings, in that asset: none is free."""
    if not book.venue_trades:
        return
    rate = Fraction(str(limits.risk.fees_pct))
    for fill in book.fills:
        base, _, quote = fill.symbol.partition("/")
        received, asset = (fill.qty, base) if fill.side == "BUY" else (fill.quote, quote)
        name = f"trade {fill.symbol} {fill.trade_id} of {fill.client_id}"
        complain.equal("fill_fee", f"{name}: asset", fill.fee_asset, asset)
        complain.demand("fill_fee", abs(fill.fee - received * rate) <= 1, f"{name}: {fill.fee} of {received} {asset}")


def _check_fill_price(fill: FillRow, intent: IntentRow, name: str, complain: Complaints) -> None:
    if intent.limit_px is None:
        return
    better = fill.price <= intent.limit_px if fill.side == "BUY" else fill.price >= intent.limit_px
    complain.demand("fill_within_limit", better, f"{name}: at {fill.price}, limit {intent.limit_px}")


def _check_intents(book: Book, complain: Complaints) -> None:
    for client_id, count in Counter(row.client_id for row in book.intents).items():
        complain.equal("order_once", f"intent {client_id}", count, 1)
    for row in book.intents:
        filled = sum(fill.qty for fill in book.fills_by_order.get(row.client_id, ()))
        name = f"{row.client_id} ({row.state})"
        complain.demand("intent_filled", filled <= row.qty, f"{name}: filled {filled} of {row.qty}")
        if row.state == "FILLED":
            complain.equal("intent_filled", name, filled, row.qty)
        if row.state in NEVER_PLACED:
            complain.equal("intent_filled", name, filled, 0)
        complain.equal("intent_resolved", name, row.resolved_ms is not None, row.state in TERMINAL)
        if row.resolved_ms is not None:
            complain.demand("intent_resolved", row.resolved_ms >= row.created_ms, f"{name}: resolved before sent")
        step = book.step(row.position_id)
        complain.demand("intent_on_step", row.qty % step == 0, f"{name}: {row.qty} is no multiple of {step}")


def _check_venue_orders(book: Book, complain: Complaints) -> None:
    placed = Counter(str(order["client_id"]) for order in book.venue_orders)
    for client_id, count in placed.items():
        complain.equal("order_once", f"order {client_id} at the exchange", count, 1)
        complain.demand("order_has_intent", client_id in book.intent_of, f"{client_id} at the exchange has no intent")
    for row in book.intents:
        if row.state in NEVER_PLACED and row.state != "REFUSED":
            complain.demand("order_never_placed", row.client_id not in placed, f"{row.client_id} is at the exchange")
        elif row.state in TERMINAL and row.state != "REFUSED":
            complain.demand("order_placed", row.client_id in placed, f"{row.client_id} ({row.state}) was never placed")
    for order in book.venue_orders:
        intent = book.intent_of.get(str(order["client_id"]))
        if intent is not None:
            _check_order(order, intent, book, complain)


def _check_order(order: Facts, intent: IntentRow, book: Book, complain: Complaints) -> None:
    name = f"order {intent.client_id}"
    found = (order["symbol"], order["side"], order["type"], units(order["quantity"]))
    complain.equal("order_matches_intent", name, found, (intent.symbol, intent.side, intent.type, intent.qty))
    if intent.limit_px is not None:
        complain.equal("order_matches_intent", f"{name} price", units(order["price"]), intent.limit_px)
    if intent.stop_px is not None:
        complain.equal("order_matches_intent", f"{name} stop", units(order["stop_price"]), intent.stop_px)
    fills = book.fills_by_order.get(intent.client_id, ())
    told = (sum(fill.qty for fill in fills), sum(fill.quote for fill in fills))
    done = (units(order["executed"]), units(order["executed_quote"]))
    complain.equal("order_matches_fills", name, told, done)
    status = "NEW" if order["status"] in ("NEW", "PENDING_NEW", "PARTIALLY_FILLED") else str(order["status"])
    states = VENUE_STATE.get(status, {"REFUSED"})
    complain.demand("order_state", intent.state in states, f"{name} is {intent.state}, exchange says {order['status']}")


def _check_venue_trades(book: Book, complain: Complaints) -> None:
    known = book.fill_of
    seen: set[tuple[str, str]] = set()
    for trade in book.venue_trades:
        key = (str(trade["symbol"]), str(trade["trade_id"]))
        complain.demand("trade_unique", key not in seen, f"exchange trade {key} twice")
        seen.add(key)
        fill = known.get(key)
        if fill is None:
            complain.add("trade_booked", f"exchange trade {key} has no fill")
            continue
        amounts = tuple(units(trade[name]) for name in ("price", "quantity", "quote_quantity", "fee"))
        told = (str(trade["client_id"]), str(trade["side"]), *amounts, str(trade["fee_asset"]), int(trade["at_ms"]))
        mine = (fill.client_id, fill.side, fill.price, fill.qty, fill.quote, fill.fee, fill.fee_asset, fill.at_ms)
        complain.equal("fill_equals_trade", f"trade {key}", mine, told)
    for key in known:
        complain.demand("fill_equals_trade", key in seen, f"fill {key} is no trade of the exchange")
