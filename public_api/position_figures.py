"""What a position is worth at the price of the newest scan, and how far its exits are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from monitoring.plain_values import instant, mapping, number, sequence
from public_api.schemas import PositionRow
from public_api.schemas_base import fitted

Row = Mapping[str, object]


def position_row(row: Row, scan: Row, now: datetime) -> PositionRow:
    """Give a position as shown; prices are known for an open one whose symbol the scan has quoted."""
    extra = mapping(row.get("extra"))
    ends = instant(extra.get("closed_at")) if row.get("status") == "CLOSED" else now
    opened = instant(row.get("opened_at"))
    price = _price(row.get("symbol"), scan) if row.get("status") == "OPEN" else None
    return fitted(
        PositionRow,
        {
            **row,
            **(_at_price(row, extra, price) if price else {}),
            "price_at": scan.get("at") if price else None,
            "age_sec": None if opened is None or ends is None else max((ends - opened).total_seconds(), 0.0),
        },
    )


def _price(symbol: object, scan: Row) -> float | None:
    for row in map(mapping, sequence(scan.get("rows"))):
        if row.get("symbol") == symbol:
            price = number(row.get("price"))
            return price if price > 0 else None
    return None


def _at_price(row: Row, extra: Row, price: float) -> dict[str, object]:
    entry, held = number(row.get("entry_price")), number(extra.get("remaining_base_qty"))
    worth = {
        "unrealized_usdt": held * (price - entry),
        "unrealized_pct": price / entry - 1.0 if entry > 0 else None,
        "stop_distance_pct": (price - number(row.get("stop_loss"))) / price,
        "take_profit_1_distance_pct": (number(row.get("take_profit_1")) - price) / price,
        "take_profit_2_distance_pct": (number(row.get("take_profit_2")) - price) / price,
    }
    known = {name: value for name, value in worth.items() if value is not None and value == value}
    return {"current_price": price, **known}
