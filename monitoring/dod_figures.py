"""The figures of a checked day: cycles, trades, and what the sales of the day earned net of all fees."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import to_ms
from monitoring.dod_cycles import Coverage
from monitoring.dod_findings import Window
from monitoring.dod_rows import Rows


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts and sums of one day. `winning` of `sells` brought more than their share of the cost."""

    coverage: Coverage
    buys: int
    sells: int
    winning: int
    realized_quote: Decimal
    max_open_positions: int

    def as_dict(self) -> dict[str, object]:
        """Give them as plain values; shares are fractions, the win rate is null without sales."""
        return {
            "cycles": self.coverage.cycles,
            "expected_cycles": self.coverage.expected,
            "coverage_pct": round(self.coverage.share, 6),
            "trades": self.buys + self.sells,
            "buys": self.buys,
            "sells": self.sells,
            "winning_sells": self.winning,
            "realized_pnl_usdt": float(round(self.realized_quote, 8)),
            "sell_win_rate": round(self.winning / self.sells, 6) if self.sells else None,
            "max_open_positions_seen": self.max_open_positions,
        }


def figures(rows: Rows, window: Window, covered: Coverage, *, most_open: int) -> Figures:
    """Count what was traded inside a day, by the instants of the trades."""
    sides = Counter(fill.side for fill in rows.fills if window.holds(fill.at_ms))
    legs = [leg for item in rows.positions for leg in item.legs if window.holds(to_ms(leg.at))]
    return Figures(
        coverage=covered,
        buys=sides["BUY"],
        sells=sides["SELL"],
        winning=_winning_sales(rows, window),
        realized_quote=sum((leg.pnl_quote for leg in legs), Decimal(0)),
        max_open_positions=most_open,
    )


def _winning_sales(rows: Rows, window: Window) -> int:
    """Count the sales of a day that brought more than the average cost of what they sold."""
    owner = {row.client_id: row.position_id for row in rows.intents}
    held: dict[str, tuple[int, Decimal]] = {}
    winning = 0
    for fill in rows.fills:
        name = owner.get(fill.client_id, fill.client_id)
        quantity, cost = held.get(name, (0, Decimal(0)))
        if fill.side == "BUY":
            held[name] = (quantity + fill.qty - fill.base_fee, cost + fill.quote + fill.quote_fee)
            continue
        share = cost * fill.qty / quantity if quantity > 0 else Decimal(0)
        held[name] = (quantity - fill.qty, cost - share)
        winning += window.holds(fill.at_ms) and fill.quote - fill.quote_fee > share
    return winning
