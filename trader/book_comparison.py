"""Our books against the account, asset by asset. Pure: reads nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import Fill, IntentRecord


@dataclass(frozen=True, slots=True)
class Difference:
    """One asset of which the exchange holds another amount than the books explain.

    `ledger` is ours, `foreign` declared not ours, `exchange` free and locked together. `orders` names our unfinished
    orders that touch the asset, `trades` the account's trades in it that no order of ours explains.
    """

    asset: str
    ledger: Decimal
    foreign: Decimal
    exchange: Decimal
    orders: tuple[str, ...] = ()
    trades: tuple[str, ...] = ()

    @property
    def expected(self) -> Decimal:
        """What the exchange should hold."""
        return self.ledger + self.foreign

    @property
    def amount(self) -> Decimal:
        """What it holds more; negative when something is missing."""
        return self.exchange - self.expected

    def taken_from_foreign(self) -> Decimal:
        """Give how much of a shortage the declared foreign amount can bear; 0 for a surplus."""
        return min(max(-self.amount, ZERO), max(self.foreign, ZERO))

    def as_dict(self) -> dict[str, object]:
        """Give the row as plain values; amounts as exact texts."""
        return {
            "asset": self.asset,
            "ledger": f"{self.ledger:f}",
            "foreign": f"{self.foreign:f}",
            "expected": f"{self.expected:f}",
            "exchange": f"{self.exchange:f}",
            "difference": f"{self.amount:+f}",
            "own_open_orders": list(self.orders),
            "unknown_trades": list(self.trades),
        }


def compare(
    ledger: Mapping[str, Decimal], foreign: Mapping[str, Decimal], balances: Mapping[str, Balance]
) -> tuple[Difference, ...]:
    """Give the assets whose books do not explain the account, by name."""
    rows = (
        Difference(
            asset,
            ledger.get(asset, ZERO),
            foreign.get(asset, ZERO),
            balances[asset].total if asset in balances else ZERO,
        )
        for asset in sorted({*ledger, *foreign, *balances})
    )
    return tuple(row for row in rows if row.amount != 0)


def explained(
    difference: Difference, orders: Sequence[IntentRecord], trades: Mapping[Symbol, Sequence[Fill]]
) -> Difference:
    """Give a difference with what may explain it: our orders and the account's strange trades that touch the asset."""
    asset = difference.asset
    ids = tuple(record.intent.client_id for record in orders if touches(record.intent.symbol, asset))
    told = tuple(
        f"{symbol} {fill.trade_id} {fill.side.value} {fill.quantity:f} @ {fill.price:f}"
        for symbol, fills in sorted(trades.items())
        for fill in fills
        if touches(symbol, asset) or fill.fee_asset == asset
    )
    return Difference(asset, difference.ledger, difference.foreign, difference.exchange, ids, told)


def touches(symbol: Symbol, asset: str) -> bool:
    """Whether trading a symbol moves an asset, fees aside."""
    return asset in (symbol.base, symbol.quote)


def touched_assets(fills: Iterable[Fill], orders: Iterable[IntentRecord]) -> frozenset[str]:
    """Give every asset that these fills and orders move."""
    symbols = {record.intent.symbol for record in orders}
    found = {asset for symbol in symbols for asset in (symbol.base, symbol.quote)}
    for fill in fills:
        found.update((fill.symbol.base, fill.symbol.quote, fill.fee_asset))
    return frozenset(found)
