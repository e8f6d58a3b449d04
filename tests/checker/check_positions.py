"""Positions recomputed from their fills, and the rows people read held against the exact ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from tests.checker.book_rows import UNITS, Book, Facts, FillRow, PositionRow, TradeRow, units
from tests.checker.findings import Complaints, near

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TINY = Decimal("1e-9")


@dataclass(slots=True)
class Recomputed:
    """What the fills of one position make of it. Decimals in the quote asset, quantities in units."""

    received: int = 0
    sold: int = 0
    cost: int = 0
    proceeds: int = 0
    fees: Decimal = Decimal(0)
    cost_open: Decimal = Decimal(0)
    realized: Decimal = Decimal(0)
    sales: int = 0

    @property
    def left(self) -> int:
        return self.received - self.sold

    def buy(self, fill: FillRow) -> None:
        """Add what was bought."""
        self.received += fill.qty - fill.base_fee
        self.cost += fill.quote + fill.quote_fee
        self.cost_open += Decimal(fill.quote + fill.quote_fee) / UNITS
        self._pay(fill)

    def sell(self, fill: FillRow) -> None:
        """Take off what was sold, with its share of the cost."""
        brought = Decimal(fill.quote - fill.quote_fee) / UNITS
        share = self.cost_open * fill.qty / self.left if self.left else Decimal(0)
        self.sold += fill.qty
        self.proceeds += fill.quote - fill.quote_fee
        self.cost_open -= share
        self.realized += brought - share
        self.sales += 1
        self._pay(fill)

    def _pay(self, fill: FillRow) -> None:
        self.fees += (Decimal(fill.base_fee) * fill.price / UNITS + fill.quote_fee) / UNITS


def recomputed(fills: tuple[FillRow, ...]) -> Recomputed:
    """Apply the fills of one position in booking order."""
    state = Recomputed()
    for fill in fills:
        if fill.side == "BUY":
            state.buy(fill)
        else:
            state.sell(fill)
    return state


def check_positions(book: Book, complain: Complaints) -> None:
    """Check every position, the readable positions and the readable trades."""
    held = Counter(row.symbol for row in book.positions if row.status == "OPEN")
    for symbol, count in held.items():
        complain.equal("one_open_per_symbol", symbol, count, 1)
    known = {row.position_id for row in book.positions}
    for position_id in book.fills_by_position:
        complain.demand("position_exists", position_id in known, f"fills of {position_id} belong to no position")
    dust: defaultdict[str, int] = defaultdict(int)
    for row in book.positions:
        state = recomputed(book.fills_by_position.get(row.position_id, ()))
        dust[row.symbol.partition("/")[0]] += state.left
        _check_exact(row, state, complain)
        if row.status == "CLOSED":
            _check_closed(row, state, book, complain)
    bases = {row.symbol.partition("/")[0] for row in book.positions}
    for asset in sorted(bases):
        owned = sum(row.amount for row in book.ledger if row.asset == asset)
        deposited = sum(row.amount for row in book.ledger if row.asset == asset and row.symbol is None)
        complain.equal("positions_equal_balance", asset, owned - deposited, dust[asset])
    _check_readable(book, complain)
    _check_trades(book, complain)


def _check_exact(row: PositionRow, state: Recomputed, complain: Complaints) -> None:
    name, facts = f"position {row.position_id}", row.facts
    complain.demand("position_holds", 0 <= state.left <= state.received, f"{name}: {state.left} of {state.received}")
    complain.equal("position_quantity", f"{name} initial", units(facts["initial_quantity"]), state.received)
    resting = "dust_quantity" if row.status == "CLOSED" else "remaining_quantity"
    complain.equal("position_quantity", f"{name} {resting}", units(facts[resting]), state.left)
    if row.status == "CLOSED":
        complain.equal("position_quantity", f"{name} remaining", units(facts["remaining_quantity"]), 0)
    complain.equal("position_money", f"{name} cost", units(facts["cost_quote"]), state.cost)
    complain.equal("position_money", f"{name} proceeds", units(facts["proceeds_quote"]), state.proceeds)
    _close_to("position_money", f"{name} fees", facts["fees_quote"], state.fees, complain)
    realized = Decimal(state.proceeds - state.cost) / UNITS if row.status == "CLOSED" else state.realized
    _close_to("position_realized", f"{name} realized", facts["realized_quote"], realized, complain)
    legs = sum((Decimal(leg["pnl_quote"]) for leg in facts["legs"]), Decimal(0))
    _close_to("position_realized", f"{name} sum of legs", str(legs), realized, complain)
    if row.status == "OPEN":
        _close_to("position_money", f"{name} open cost", facts["cost_open_quote"], state.cost_open, complain)


def _check_closed(row: PositionRow, state: Recomputed, book: Book, complain: Complaints) -> None:
    name, rules, step = f"position {row.position_id}", book.rules(row.position_id), book.step(row.position_id)
    # Too small for a stop may still be enough for a sale, which leaves nothing to write off.
    written_off = row.facts["close_reason"] == "below_min_size" and state.left >= step
    complain.demand("position_closed", row.closed_ms is not None, f"{name}: closed without a time")
    complain.equal("position_realized", f"{name} legs", len(row.facts["legs"]) - state.sales, int(written_off))
    worth = Decimal(state.left) / UNITS * Decimal(row.facts["entry_price"])
    too_small = written_off and (
        worth < 2 * Decimal(rules.get("min_notional", "0")) or state.left < units(rules.get("min_quantity", "0"))
    )
    complain.demand("position_dust", state.left < step or too_small, f"{name}: {state.left} units left, step {step}")


def _check_readable(book: Book, complain: Complaints) -> None:
    last: dict[str, PositionRow] = {}
    for row in book.positions:
        if row.symbol not in last or row.opened_ms >= last[row.symbol].opened_ms:
            last[row.symbol] = row
    complain.equal("readable_position", "symbols", set(book.readable), set(last))
    for symbol in sorted(set(book.readable) & set(last)):
        _check_shown(symbol, book.readable[symbol], last[symbol], complain)


def _check_shown(symbol: str, shown: Facts, row: PositionRow, complain: Complaints) -> None:
    complain.equal("readable_position", f"{symbol} status", (shown["status"], shown["side"]), (row.status, "LONG"))
    exact = {name: Decimal(row.facts[name]) for name in ("entry_price", "stop", "target_1", "target_2")}
    size = Decimal(row.facts["remaining_quantity"]) * exact["entry_price"]
    pairs = (
        ("entry_price", exact["entry_price"]),
        ("stop_loss", exact["stop"]),
        ("take_profit_1", exact["target_1"]),
        ("take_profit_2", exact["target_2"]),
        ("size_usdt", size),
    )
    for column, value in pairs:
        complain.demand(
            "readable_position", near(shown[column], float(value)), f"{symbol} {column}: {shown[column]}, book {value}"
        )


def _check_trades(book: Book, complain: Complaints) -> None:
    complain.equal("readable_trade", "rows", len(book.trades), len(book.fills))
    legs = _legs(book)
    for trade, fill in zip(book.trades, book.fills, strict=False):
        _check_trade(trade, fill, complain)
        if fill.side == "SELL" and fill.client_id in book.intent_of:
            position_id = book.intent_of[fill.client_id].position_id
            pnl = legs[position_id].pop(0) if legs[position_id] else Decimal("NaN")
            shown = trade.extra.get("pnl_usdt")
            complain.demand(
                "readable_trade",
                shown is not None and near(float(shown), float(pnl)),
                f"trade {trade.id}: profit {shown}, the position's leg says {pnl}",
            )


def _legs(book: Book) -> defaultdict[str, list[Decimal]]:
    legs: defaultdict[str, list[Decimal]] = defaultdict(list)
    for row in book.positions:
        legs[row.position_id] = [Decimal(leg["pnl_quote"]) for leg in row.facts["legs"]]
    return legs


def _check_trade(trade: TradeRow, fill: FillRow, complain: Complaints) -> None:
    name = f"trade {trade.id}"
    at = EPOCH + timedelta(milliseconds=fill.at_ms)
    told = (trade.symbol, trade.side, trade.extra.get("order_id"), trade.extra.get("client_id"))
    complain.equal("readable_trade", name, told, (fill.symbol, fill.side, fill.trade_id, fill.client_id))
    complain.equal("readable_trade", f"{name} time", datetime.fromisoformat(trade.ts.replace("Z", "+00:00")), at)
    pairs = (
        (trade.size_usdt, fill.quote),
        (trade.price, fill.price),
        (trade.extra.get("base_qty"), fill.qty),
        (trade.extra.get("fee"), fill.fee),
    )
    for shown, exact in pairs:
        good = shown is not None and near(float(shown), exact / UNITS)
        complain.demand("readable_trade", good, f"{name}: shows {shown}, fill says {exact / UNITS}")


def _close_to(rule: str, name: str, found: str, expected: Decimal, complain: Complaints) -> None:
    complain.demand(rule, abs(Decimal(found) - expected) <= TINY, f"{name}: {found}, expected {expected}")
