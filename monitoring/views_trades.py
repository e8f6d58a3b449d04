"""The blotter: what was bought and sold, what it cost, what it brought, and where the money went.

Money is in the quote asset, shares are fractions, instants are aware UTC. A number nobody knows is NaN.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bn_ml.domain.market import Symbol, iso
from bn_ml.state_reader import CycleRow, TradeRow
from monitoring.plain_values import mapping, number

ENTRY = "entry"
"""The reason shown for a purchase."""


@dataclass(frozen=True, slots=True)
class TradeLine:
    """One fill as the blotter shows it.

    `pnl_quote` and `pnl_frac` are those of a sale, net of all fees, `cost_quote` what was paid for the coins sold;
    `slippage_frac` is positive when the price was worse
    than asked; `fee_quote` is NaN for a fee in a third asset.
    """

    id: int
    at: datetime
    symbol: Symbol
    side: str
    reason: str
    quantity: float
    price: float
    size_quote: float
    fee: float
    fee_asset: str
    slippage_frac: float
    cost_quote: float
    pnl_quote: float
    pnl_frac: float
    held_s: float
    expected_frac: float
    confidence: float
    bundle_version: str
    mode: str
    data_source: str
    order_id: str

    @property
    def is_sale(self) -> bool:
        """Whether it reduced a position."""
        return self.side == "SELL"

    @property
    def fee_quote(self) -> float:
        """The fee in the quote asset, NaN when it was paid in a third asset."""
        if self.fee_asset == self.symbol.quote:
            return self.fee
        return self.fee * self.price if self.fee_asset == self.symbol.base else math.nan

    @property
    def slippage_quote(self) -> float:
        """What the price was worse than asked, in the quote asset."""
        return self.slippage_frac * self.size_quote


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of the trades shown; `wins` and `losses` count sales. `third_asset_fees` are not in `fees_quote`."""

    trades: int = 0
    buys: int = 0
    sales: int = 0
    bought_quote: float = 0.0
    sold_quote: float = 0.0
    fees_quote: float = 0.0
    third_asset_fees: int = 0
    slippage_quote: float = 0.0
    pnl_quote: float = 0.0
    wins: int = 0
    losses: int = 0
    mean_win: float = math.nan
    mean_loss: float = math.nan

    @property
    def win_share(self) -> float:
        """Sales with a gain over all sales, NaN without any."""
        return self.wins / self.sales if self.sales else math.nan


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """What sales for one reason brought; `share` is that of all sales shown."""

    reason: str
    sales: int
    share: float
    pnl_quote: float
    mean_frac: float


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A position from its first purchase to its last sale; `expected_frac` is what the bundle promised, net."""

    symbol: Symbol
    opened_at: datetime
    closed_at: datetime
    cost_quote: float
    pnl_quote: float
    fees_quote: float
    slippage_quote: float
    expected_frac: float
    reason: str

    @property
    def realised_frac(self) -> float:
        """Net result over cost, NaN without a cost."""
        return self.pnl_quote / self.cost_quote if self.cost_quote > 0 else math.nan


@dataclass(frozen=True, slots=True)
class CostSteps:
    """From the result at the prices asked to the one booked: `gross - slippage - fees = net`, over closed positions."""

    positions: int
    gross: float
    slippage: float
    fees: float
    net: float
    unknown_fees: int = 0


@dataclass(frozen=True, slots=True)
class Promise:
    """What closed positions were expected to bring and what they brought, per position, as fractions of cost."""

    expected: tuple[float, ...] = ()
    realised: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def mean_expected(self) -> float:
        """Mean of what was expected, NaN without positions."""
        return _mean(self.expected)

    @property
    def mean_realised(self) -> float:
        """Mean of what was realised, NaN without positions."""
        return _mean(self.realised)


def trade_line(row: TradeRow) -> TradeLine:
    """Give a row of the book as the blotter shows it."""
    extra = row.extra
    sale = row.side == "SELL"
    return TradeLine(
        id=row.id,
        at=row.at,
        symbol=row.symbol,
        side=row.side,
        reason=_text(extra.get("reason")) or ("" if sale else ENTRY),
        quantity=number(extra.get("base_qty")),
        price=row.price,
        size_quote=row.size_usdt,
        fee=number(extra.get("fee")),
        fee_asset=_text(extra.get("fee_asset")),
        slippage_frac=number(extra.get("slippage_pct")),
        cost_quote=number(extra.get("cost_basis_closed")) if sale else math.nan,
        pnl_quote=number(extra.get("pnl_usdt")) if sale else math.nan,
        pnl_frac=number(extra.get("pnl_pct")) if sale else math.nan,
        held_s=number(extra.get("held_s")),
        expected_frac=number(extra.get("expected_net_pct")),
        confidence=number(extra.get("confidence")),
        bundle_version=_text(extra.get("bundle_version")),
        mode=row.mode,
        data_source=_text(extra.get("data_source")),
        order_id=_text(extra.get("order_id")),
    )


def reasons_in(lines: Iterable[TradeLine]) -> tuple[str, ...]:
    """Give the reasons that occur, in alphabetical order."""
    return tuple(sorted({line.reason for line in lines if line.reason}))


def shown(
    lines: Iterable[TradeLine], takes: Callable[[str, datetime, str], bool], reasons: Sequence[str]
) -> tuple[TradeLine, ...]:
    """Give the lines a filter of symbol, instant and side takes, of certain reasons or of all when none is named."""
    wanted = frozenset(reasons)
    return tuple(
        line for line in lines if (not wanted or line.reason in wanted) and takes(str(line.symbol), line.at, line.side)
    )


def refusals_sentence(cycles: int, newest: Iterable[CycleRow]) -> str:
    """Say why there is nothing in the blotter, of a book with so many cycles, from the newest of them.

    >>> refusals_sentence(0, ())
    'No trades yet, and no cycle: the bot has not run on this book.'
    """
    if not cycles:
        return "No trades yet, and no cycle: the bot has not run on this book."
    refused: Counter[str] = Counter()
    looked_at = list(newest)
    for cycle in looked_at:
        counts = {reason: number(count) for reason, count in mapping(cycle.data.get("funnel")).items()}
        refused.update({reason: int(count) for reason, count in counts.items() if math.isfinite(count)})
    total = sum(refused.values())
    if not total:
        return f"No trades yet. {cycles:,} cycles, nothing was refused."
    reason, count = refused.most_common(1)[0]
    spoken = f"{total:,} refusals" + (f" in the newest {len(looked_at):,}" if len(looked_at) < cycles else "")
    return f"No trades yet. {cycles:,} cycles, {spoken}; most frequent: {reason} {100 * count / total:.0f} %."


def totals_of(lines: Sequence[TradeLine]) -> Totals:
    """Sum what is shown; numbers nobody knows count as nothing."""
    sales = [line for line in lines if line.is_sale]
    buys = [line for line in lines if not line.is_sale]
    return Totals(
        trades=len(lines),
        buys=len(buys),
        sales=len(sales),
        bought_quote=_sum(line.size_quote for line in buys),
        sold_quote=_sum(line.size_quote for line in sales),
        fees_quote=_sum(line.fee_quote for line in lines),
        third_asset_fees=sum(_is_unconverted(line) for line in lines),
        slippage_quote=_sum(line.slippage_quote for line in lines),
        pnl_quote=_sum(line.pnl_quote for line in sales),
        wins=sum(line.pnl_quote > 0 for line in sales),
        losses=sum(line.pnl_quote < 0 for line in sales),
        mean_win=_mean([line.pnl_quote for line in sales if line.pnl_quote > 0]),
        mean_loss=_mean([line.pnl_quote for line in sales if line.pnl_quote < 0]),
    )


def by_reason(lines: Iterable[TradeLine]) -> tuple[ReasonLine, ...]:
    """Give what the sales of each reason brought, the most frequent first."""
    groups: dict[str, list[TradeLine]] = defaultdict(list)
    for line in lines:
        if line.is_sale:
            groups[line.reason or "unknown"].append(line)
    total = sum(map(len, groups.values()))
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(
        ReasonLine(
            reason=reason,
            sales=len(sales),
            share=len(sales) / total,
            pnl_quote=_sum(line.pnl_quote for line in sales),
            mean_frac=_mean([line.pnl_frac for line in sales]),
        )
        for reason, sales in ordered
    )


def round_trips(lines: Iterable[TradeLine], still_open: frozenset[str]) -> tuple[RoundTrip, ...]:
    """Give the closed positions, oldest first by their end; `lines` may come in any order.

    A purchase after a sale begins a new position; the last one of a symbol in `still_open` is not closed.
    """
    trips: list[RoundTrip] = []
    by_symbol: dict[Symbol, list[TradeLine]] = defaultdict(list)
    for line in sorted(lines, key=lambda item: item.id):
        by_symbol[line.symbol].append(line)
    for symbol, own in by_symbol.items():
        groups = _positions(own)
        closed = groups[:-1] if str(symbol) in still_open else groups
        trips.extend(_trip(group) for group in closed if not group[0].is_sale and group[-1].is_sale)
    return tuple(sorted(trips, key=lambda trip: trip.closed_at))


def cost_steps(trips: Sequence[RoundTrip]) -> CostSteps:
    """Give the way from the result at the prices asked to the one booked."""
    net = _sum(trip.pnl_quote for trip in trips)
    fees = _sum(trip.fees_quote for trip in trips)
    slippage = _sum(trip.slippage_quote for trip in trips)
    unknown = sum(math.isnan(trip.fees_quote) for trip in trips)
    return CostSteps(len(trips), net + fees + slippage, slippage, fees, net, unknown)


def promise_of(trips: Iterable[RoundTrip]) -> Promise:
    """Give what was expected beside what was realised, of positions where both are known."""
    known = [trip for trip in trips if math.isfinite(trip.expected_frac) and math.isfinite(trip.realised_frac)]
    return Promise(
        expected=tuple(trip.expected_frac for trip in known),
        realised=tuple(trip.realised_frac for trip in known),
        labels=tuple(f"{trip.symbol} {iso(trip.closed_at)[:16]} {trip.reason}" for trip in known),
    )


def _positions(own: Sequence[TradeLine]) -> list[list[TradeLine]]:
    groups: list[list[TradeLine]] = []
    for line in own:
        if not groups or (not line.is_sale and groups[-1][-1].is_sale):
            groups.append([])
        groups[-1].append(line)
    return groups


def _trip(group: Sequence[TradeLine]) -> RoundTrip:
    sales = [line for line in group if line.is_sale]
    first, last = group[0], sales[-1]
    return RoundTrip(
        symbol=first.symbol,
        opened_at=first.at,
        closed_at=last.at,
        cost_quote=sum(line.cost_quote for line in sales),
        pnl_quote=sum(line.pnl_quote for line in sales),
        fees_quote=sum(line.fee_quote for line in group),
        slippage_quote=_sum(line.slippage_quote for line in group),
        expected_frac=first.expected_frac,
        reason=last.reason,
    )


def _is_unconverted(line: TradeLine) -> bool:
    return math.isnan(line.fee_quote) and line.fee > 0


def _sum(values: Iterable[float]) -> float:
    return math.fsum(value for value in values if math.isfinite(value))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _text(value: object) -> str:
    return "" if value is None else str(value)
