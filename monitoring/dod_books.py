"""The books to the last unit: ledger, trades, orders, positions and the paper exchange's own record tell one story."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.codecs import UNITS_PER_ONE
from bn_ml.domain.market import to_ms
from monitoring.dod_findings import Findings, Violation
from monitoring.dod_rows import BookPosition, FillRow, IntentRow, Rows, TradeRow, VenueTrade, to_whole
from monitoring.dod_story import NEVER_PLACED

TINY = Decimal("1e-9")
NEAR = 1e-9
RECONCILED = "reconciled"
Change = tuple[str, str, str, int, str]


@dataclass(frozen=True, slots=True)
class _Complaints:
    """Complains of what happened before the end of the day; later rows are judged on their own day."""

    findings: Findings

    def demand(self, subject: str, at_ms: int, *, holds: bool, detail: str) -> None:
        if at_ms >= self.findings.window.end_ms:
            return
        self.findings.judged[Violation.BOOKS] += 1
        if not holds:
            self.findings.blame(Violation.BOOKS, subject, detail)


def check_books(rows: Rows, findings: Findings) -> None:
    """Check everything booked until the end of the day; what was unequal before is unequal still."""
    complain = _Complaints(findings)
    _check_ledger(rows, complain)
    _check_orders(rows, complain)
    _check_positions(rows, complain)
    _check_trades(rows, complain)
    _check_venue(rows, complain)
    for row in rows.told:
        if row.kind == "BalanceUnexplained":
            detail = f"the exchange holds {row.payload.difference} more than the books explain"
            complain.demand(f"balance of {row.payload.asset}", row.at_ms, holds=False, detail=detail)


def _check_ledger(rows: Rows, complain: _Complaints) -> None:
    """Every trade is booked exactly once as its three changes, and nothing owned is ever below zero."""
    times = {(fill.symbol, fill.trade_id): fill.at_ms for fill in rows.fills}
    expected = Counter(change for fill in rows.fills for change in _changes(fill))
    booked: Counter[Change] = Counter()
    balance: defaultdict[str, int] = defaultdict(int)
    origin: tuple[str | None, str | None] = (None, None)
    for row in rows.ledger:
        if (row.symbol, row.trade_id) != origin:
            _check_not_negative(balance, row.at_ms, complain)
        origin = (row.symbol, row.trade_id)
        if row.symbol is None or row.asset in row.symbol.split("/"):
            # Fees in a third asset are paid from coins that were never ours to trade with.
            balance[row.asset] += row.amount
        if row.symbol is None or row.trade_id is None:
            sign = {"deposit": 1, "withdrawal": -1}.get(row.reason, 0)
            detail = f"{row.amount / 1e8:g} {row.asset} has no trade"
            complain.demand(f"ledger row {row.id}", row.at_ms, holds=row.amount * sign > 0, detail=detail)
        else:
            booked[row.symbol, row.trade_id, row.asset, row.amount, row.reason] += 1
            times.setdefault((row.symbol, row.trade_id), row.at_ms)
    _check_not_negative(balance, rows.ledger[-1].at_ms if rows.ledger else 0, complain)
    for change in {*booked, *expected}:
        symbol, trade_id, asset, amount, reason = change
        told = (
            f"{booked[change]} ledger rows of {amount / 1e8:g} {asset} ({reason}), the trade makes {expected[change]}"
        )
        equal = booked[change] == expected[change]
        complain.demand(f"trade {symbol} {trade_id}", times[symbol, trade_id], holds=equal, detail=told)


def _check_not_negative(balance: Mapping[str, int], at_ms: int, complain: _Complaints) -> None:
    for asset, total in balance.items():
        complain.demand(f"balance of {asset}", at_ms, holds=total >= 0, detail=f"{total / 1e8:g}")


def _changes(fill: FillRow) -> Iterator[Change]:
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


def _check_orders(rows: Rows, complain: _Complaints) -> None:
    """Trades belong to an order of ours and are what it asked for; an order has traded what its state says."""
    intents = {row.client_id: row for row in rows.intents}
    filled: Counter[str] = Counter()
    for fill in rows.fills:
        intent, name = intents.get(fill.client_id), f"trade {fill.symbol} {fill.trade_id}"
        filled[fill.client_id] += fill.qty
        mine = intent is not None and (intent.symbol, intent.side) == (fill.symbol, fill.side)
        complain.demand(name, fill.at_ms, holds=mine, detail=f"{fill.side}, order {fill.client_id or 'unknown'}")
        exact = abs(fill.quote * UNITS_PER_ONE - fill.price * fill.qty) < UNITS_PER_ONE
        told = f"{fill.qty / 1e8:g} at {fill.price / 1e8:g} is not {fill.quote / 1e8:g}"
        complain.demand(name, fill.at_ms, holds=exact, detail=told)
    for row in rows.intents:
        detail = f"{row.state}: traded {filled[row.client_id] / 1e8:g} of {row.qty / 1e8:g}"
        at_ms = row.created_ms if row.resolved_ms is None else row.resolved_ms
        complain.demand(f"order {row.client_id}", at_ms, holds=_adds_up(row, filled[row.client_id]), detail=detail)


def _adds_up(row: IntentRow, filled: int) -> bool:
    if row.state in NEVER_PLACED:
        return filled == 0
    return filled == row.qty if row.state == "FILLED" else filled <= row.qty


@dataclass(slots=True)
class _Sums:
    """What the trades of one position come to, in units."""

    received: int = 0
    sold: int = 0
    cost: int = 0
    proceeds: int = 0
    last_ms: int = 0

    def add(self, fill: FillRow) -> None:
        """Add a trade."""
        self.last_ms = max(self.last_ms, fill.at_ms)
        if fill.side == "BUY":
            self.received += fill.qty - fill.base_fee
            self.cost += fill.quote + fill.quote_fee
        else:
            self.sold += fill.qty
            self.proceeds += fill.quote - fill.quote_fee


def _check_positions(rows: Rows, complain: _Complaints) -> None:
    """Positions hold, cost and earned what their trades say."""
    owner = {row.client_id: row.position_id for row in rows.intents}
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    for fill in rows.fills:
        if fill.client_id in owner:
            sums[owner[fill.client_id]].add(fill)
    for position in rows.positions:
        _check_position(position, sums.pop(position.position_id, _Sums()), complain)
    for name, left in sums.items():
        complain.demand(f"position {name}", left.last_ms, holds=False, detail="was traded and is not in the book")


def _check_position(position: BookPosition, sums: _Sums, complain: _Complaints) -> None:
    name = f"position {position.position_id}"
    at_ms = max(sums.last_ms, to_ms(position.opened_at))
    gone = sum((leg.quantity for leg in position.legs if leg.reason == RECONCILED), Decimal(0))
    late = position.dust_quantity if position.closed_at is not None else Decimal(0)
    left = to_whole(position.remaining_quantity + late)
    traded = sums.received - sums.sold
    # What was bought after the close stands in the legs as gone though it is still there.
    held = traded in (left, left + to_whole(gone))
    complain.demand(name, at_ms, holds=held, detail=f"holds {left / 1e8:g}, its trades leave {traded / 1e8:g}")
    money = (to_whole(position.cost_quote), to_whole(position.proceeds_quote))
    told = (
        f"cost and proceeds {money[0] / 1e8:g} {money[1] / 1e8:g}, trades {sums.cost / 1e8:g} {sums.proceeds / 1e8:g}"
    )
    complain.demand(name, at_ms, holds=money == (sums.cost, sums.proceeds), detail=told)
    legs = sum((leg.pnl_quote for leg in position.legs), Decimal(0))
    profit = abs(legs - position.realized_quote) <= TINY
    if position.closed_at is not None:
        profit = profit and abs(position.realized_quote - Decimal(sums.proceeds - sums.cost) / UNITS_PER_ONE) <= TINY
    complain.demand(name, at_ms, holds=profit, detail=f"earned {position.realized_quote:f}, its parts {legs:f}")


def _check_trades(rows: Rows, complain: _Complaints) -> None:
    """Each trade stands among the trades that people read, with its amounts."""
    left = Counter((row.symbol, row.notes.order_id) for row in rows.trades)
    shown = {(row.symbol, row.notes.order_id): row for row in rows.trades}
    for fill in rows.fills:
        key = (fill.symbol, fill.trade_id)
        left[key] -= 1
        row = shown.get(key)
        good = row is not None and _shows(row, fill)
        complain.demand(f"trade {key[0]} {key[1]}", fill.at_ms, holds=good, detail="is not shown as it was traded")
    for key, count in left.items():
        at_ms = shown[key].at_ms if key in shown else 0
        complain.demand(f"shown trade {key[0]} {key[1]}", at_ms, holds=count <= 0, detail=f"{count} without a trade")


def _shows(row: TradeRow, fill: FillRow) -> bool:
    pairs = ((row.size, fill.quote / 1e8), (row.price, fill.price / 1e8))
    same = (row.side, row.notes.client_id) == (fill.side, fill.client_id)
    return same and all(abs(told - exact) <= NEAR * max(abs(exact), 1.0) for told, exact in pairs)


def _check_venue(rows: Rows, complain: _Complaints) -> None:
    """The paper exchange knows the same trades and holds what the ledger says, but for trades not booked yet."""
    if not rows.venue_balances:
        return
    known = {(fill.symbol, fill.trade_id): fill for fill in rows.fills}
    open_orders = {row.client_id for row in rows.intents if row.resolved_ms is None}
    owned: Counter[str] = Counter()
    for row in rows.ledger:
        owned[row.asset] += row.amount
    at_exchange = {(trade.symbol, str(trade.trade_id)): trade for trade in rows.venue_trades}
    for key, trade in at_exchange.items():
        fill = known.get(key)
        if fill is None:
            waits = trade.client_id in open_orders
            complain.demand(f"trade {key[0]} {key[1]}", trade.at_ms, holds=waits, detail="was never booked")
            for _, _, asset, change, _ in _changes(_as_fill(trade)):
                owned[asset] += change
        else:
            same = _as_fill(trade, fill.id) == fill
            complain.demand(
                f"trade {key[0]} {key[1]}", fill.at_ms, holds=same, detail="the exchange tells it otherwise"
            )
    for key, fill in known.items():
        detail = "the exchange knows no such trade"
        complain.demand(f"trade {key[0]} {key[1]}", fill.at_ms, holds=key in at_exchange, detail=detail)
    for asset in sorted({*owned, *rows.venue_balances}):
        ours, theirs = owned[asset], rows.venue_balances.get(asset, 0)
        detail = f"the ledger says {ours / 1e8:.8f}, the exchange {theirs / 1e8:.8f}"
        complain.demand(f"balance of {asset}", 0, holds=ours == theirs, detail=detail)


def _as_fill(trade: VenueTrade, number: int = 0) -> FillRow:
    return FillRow(
        id=number,
        symbol=trade.symbol,
        trade_id=str(trade.trade_id),
        client_id=trade.client_id,
        side=trade.side,
        price=to_whole(trade.price),
        qty=to_whole(trade.quantity),
        quote=to_whole(trade.quote_quantity),
        fee=to_whole(trade.fee),
        fee_asset=trade.fee_asset,
        at_ms=trade.at_ms,
    )
