"""The book the venue trades against: made from a quote or a bar, as deep as the symbol's trading volume suggests.

Spreads and best-level sizes are medians of actively traded symbols by 24 h quote volume. The thinnest class had nine
symbols only, so it takes their 90th percentile spread. Beyond the best level depth grows evenly up to 1 % away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from bn_ml.domain.market import ZERO, Bar, MarketRules, Quote, Symbol, exact, to_ms
from bn_ml.domain.orders import Side
from bn_ml.venue.orders import BASIS_POINTS

DAY = timedelta(days=1)
BASE_BAR = timedelta(minutes=15)
UNKNOWN_VOLUME_QUOTE = Decimal(1_000_000)
EDGE_BP = 100
OFFSETS_BP = (0, 1, 2, 5, 10, 20, 50, EDGE_BP)


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of symbols from `volume_quote` per day upwards: full spread and what the best level holds."""

    volume_quote: Decimal
    spread_bp: Decimal
    best_quote: Decimal


TIERS = (
    Tier(Decimal(100_000_000), Decimal("1.2"), Decimal(911)),
    Tier(Decimal(20_000_000), Decimal("2.1"), Decimal(123)),
    Tier(Decimal(5_000_000), Decimal("4.5"), Decimal(99)),
    Tier(Decimal(1_000_000), Decimal("6.4"), Decimal(77)),
    Tier(ZERO, Decimal("9.2"), Decimal(6)),
)


@dataclass(frozen=True, slots=True)
class Level:
    """A quantity at a price."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Book:
    """What is known of a symbol's market: prices, size, and how much of each side our own takers have used up.

    `bought` and `sold` are base quantities taken since the prices last changed.
    """

    symbol: Symbol
    bid: Decimal
    ask: Decimal
    last: Decimal
    at_ms: int
    depth_quote: Decimal = ZERO
    volume_24h_quote: Decimal = ZERO
    bought: Decimal = ZERO
    sold: Decimal = ZERO

    def used(self, side: Side) -> Decimal:
        """Give what takers of a side have used up."""
        return self.bought if side is Side.BUY else self.sold

    def after_taking(self, side: Side, quantity: Decimal) -> Book:
        """Give the book with less to take."""
        if side is Side.BUY:
            return replace(self, bought=self.bought + quantity)
        return replace(self, sold=self.sold + quantity)

    def moved(self, price: Decimal, at_ms: int) -> Book:
        """Give the book after trades have carried the market to `price`."""
        return replace(self, bid=price, ask=price, last=price, at_ms=at_ms)

    def updated(self, quote: Quote) -> Book:
        """Give the book a quote describes; the same quote again brings no fresh depth."""
        fresh = book_of(quote)
        same = (fresh.bid, fresh.ask, fresh.last, fresh.at_ms) == (self.bid, self.ask, self.last, self.at_ms)
        return replace(fresh, bought=self.bought, sold=self.sold) if same else fresh


def book_of(quote: Quote) -> Book:
    """Give the untouched book of a quote."""
    return Book(
        quote.symbol, quote.bid, quote.ask, quote.last, to_ms(quote.at), quote.depth_quote, quote.volume_24h_quote
    )


def book_before(bar: Bar, known: Book | None, symbol: Symbol) -> Book:
    """Give the untouched book a bar opens with; daily volume is projected from the bar when nothing better is known."""
    length = (bar.close_at - bar.open_at) / DAY
    projected = bar.volume * bar.open / exact(length)
    volume = known.volume_24h_quote if known and known.volume_24h_quote > 0 else projected
    depth = known.depth_quote if known else ZERO
    return Book(symbol, bar.open, bar.open, bar.open, to_ms(bar.open_at), depth, volume)


@dataclass(frozen=True, slots=True)
class Liquidity:
    """How deep a book is.

    `depth_share` is one side's depth within 1 % as a fraction of 24 h volume, used where no depth is known.
    `participation` is the share of a base bar's volume that resting orders may fill. `slippage_frac` is added to every
    taker price.
    """

    participation: Decimal = Decimal("0.01")
    depth_share: Decimal = Decimal("0.005")
    slippage_frac: Decimal = ZERO

    def touch(self, book: Book, side: Side) -> Decimal:
        """Give the price a taker of `side` meets first, before rounding to the tick."""
        if book.ask > book.bid:
            return book.ask if side is Side.BUY else book.bid
        half_spread = tier_of(book).spread_bp / (2 * BASIS_POINTS)
        return book.bid * (1 + half_spread if side is Side.BUY else 1 - half_spread)

    def ladder(self, book: Book, side: Side, rules: MarketRules) -> tuple[Level, ...]:
        """Give what a taker of `side` can still take, best level first; prices on the tick, quantities on the step."""
        touch = self.touch(book, side)
        best = tier_of(book).best_quote
        depth = self._side_depth(book)
        best = min(best, depth)
        levels = []
        reached = ZERO
        for offset_bp in OFFSETS_BP:
            amount = best + (depth - best) * offset_bp / EDGE_BP
            price = _worse(touch, offset_bp / BASIS_POINTS + self.slippage_frac, side, rules)
            if price > 0:
                levels.append(Level(price, rules.quantity_down((amount - reached) / price)))
            reached = amount
        return _without(levels, book.used(side))

    def resting_quantity(self, bar: Bar, rules: MarketRules) -> Decimal:
        """Give what resting orders may fill in one bar: a share of a base bar's volume, never more than was traded."""
        scale = exact(BASE_BAR / (bar.close_at - bar.open_at))
        return rules.quantity_down(min(bar.volume, bar.volume * self.participation * max(scale, Decimal(1))))

    def _side_depth(self, book: Book) -> Decimal:
        if book.depth_quote > 0:
            return book.depth_quote / 2
        return (book.volume_24h_quote or UNKNOWN_VOLUME_QUOTE) * self.depth_share


def tier_of(book: Book) -> Tier:
    """Give the class of a symbol by its 24 h volume; an unknown volume counts as one million."""
    volume = book.volume_24h_quote or UNKNOWN_VOLUME_QUOTE
    return next(tier for tier in TIERS if volume >= tier.volume_quote)


def _worse(touch: Decimal, fraction: Decimal, side: Side, rules: MarketRules) -> Decimal:
    if side is Side.BUY:
        return rules.price_up(touch * (1 + fraction))
    return rules.price_down(touch * (1 - fraction))


def _without(levels: list[Level], used: Decimal) -> tuple[Level, ...]:
    left = []
    for level in levels:
        taken = min(used, level.quantity)
        used -= taken
        if level.quantity > taken:
            left.append(Level(level.price, level.quantity - taken))
    return tuple(left)
