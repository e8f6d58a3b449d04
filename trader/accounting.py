"""The account from balances, positions, quotes and open orders, and the book of what must outlive a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from bn_ml.domain.account import AccountState, Balance, Period, TradeStatistics
from bn_ml.domain.market import ZERO, Quote, Symbol, require_utc
from bn_ml.domain.orders import IntentRecord
from bn_ml.domain.positions import Position
from bn_ml.settings_risk import RiskSettings
from trader.entry_request import may_still_spend

MAX_OPENINGS = 366


@dataclass(frozen=True, slots=True)
class AccountBook:
    """What the account's history leaves behind. `marks` are the last bids seen of symbols held.

    `openings` is the equity at the opening of each UTC day of the past year, oldest first.
    """

    equity_peak: Decimal
    day: Period
    week: Period
    statistics: TradeStatistics = field(default_factory=TradeStatistics)
    cooldown_until: Mapping[Symbol, datetime] = field(default_factory=dict)
    marks: Mapping[Symbol, Decimal] = field(default_factory=dict)
    resumed_at: datetime | None = None
    openings: tuple[Decimal, ...] = ()


def new_book(equity: Decimal, now: datetime) -> AccountBook:
    """Open the book of an account that is worth `equity`."""
    return AccountBook(equity, Period(day_key(now), equity), Period(week_key(now), equity), openings=(equity,))


def day_key(now: datetime) -> str:
    """Give the UTC day of an instant, such as `2023-06-10`."""
    require_utc(now)
    return now.strftime("%Y-%m-%d")


def week_key(now: datetime) -> str:
    """Give the ISO week of an instant in UTC, such as `2023-W23`."""
    require_utc(now)
    year, week, _ = now.isocalendar()
    return f"{year:04d}-W{week:02d}"


def account_state(
    book: AccountBook,
    *,
    cash: Balance,
    positions: Sequence[Position],
    quotes: Mapping[Symbol, Quote],
    intents: Sequence[IntentRecord],
    now: datetime,
) -> tuple[AccountState, AccountBook]:
    """Give the account at `now` and its book with peak, periods and marks brought up to date.

    `cash` is the quote asset. A position is worth its bid; without a quote the last mark, without a mark its entry
    price. Buys that are not terminal add what they may still spend to the exposure.
    """
    held = [position for position in positions if position.is_open]
    marks = {position.symbol: _mark(position.symbol, position.entry_price, quotes, book) for position in held}
    equity = cash.total + sum((item.notional_quote(marks[item.symbol]) for item in held), start=ZERO)
    symbol_exposure = _exposures(held, marks, intents)
    rolled = _rolled(replace(book, marks=marks), equity, now)
    state = AccountState(
        at=now,
        equity=equity,
        quote_free=cash.free,
        quote_total=cash.total,
        exposure=sum(symbol_exposure.values(), start=ZERO),
        unrealized=sum((item.unrealized_quote(marks[item.symbol]) for item in held), start=ZERO),
        equity_peak=rolled.equity_peak,
        day=rolled.day,
        week=rolled.week,
        statistics=rolled.statistics,
        symbol_exposure=symbol_exposure,
        cooldown_until=rolled.cooldown_until,
        equity_returns=_returns(rolled.openings),
        reserved_quote=sum((may_still_spend(record) for record in intents), start=ZERO),
    )
    return state, rolled


def book_resumed(book: AccountBook, since: datetime) -> AccountBook:
    """Measure the drawdown anew from now on, once per decision of an operator to let trading go on."""
    return book if book.resumed_at == since else replace(book, equity_peak=ZERO, resumed_at=since)


def book_planned_loss(book: AccountBook, planned_loss: Decimal) -> AccountBook:
    """Add the planned loss of a trade just opened to the day and the week."""
    return replace(
        book,
        day=replace(book.day, planned_loss=book.day.planned_loss + planned_loss),
        week=replace(book.week, planned_loss=book.week.planned_loss + planned_loss),
    )


def book_closed_position(book: AccountBook, position: Position, now: datetime, risk: RiskSettings) -> AccountBook:
    """Count a closed position: realized of the periods, statistics, the pause after losses and the symbol's cooldown.

    `realized_quote` of the position is net of all fees. Exactly zero counts as neither win nor loss.
    """
    pnl = position.realized_quote
    cooldown = {symbol: until for symbol, until in book.cooldown_until.items() if until > now}
    if pnl < 0:
        cooldown[position.symbol] = now + timedelta(minutes=risk.symbol_cooldown_min)
    return replace(
        book,
        day=replace(book.day, realized=book.day.realized + pnl),
        week=replace(book.week, realized=book.week.realized + pnl),
        statistics=_counted(book.statistics, pnl, now, risk),
        cooldown_until=cooldown,
    )


def _counted(statistics: TradeStatistics, pnl: Decimal, now: datetime, risk: RiskSettings) -> TradeStatistics:
    closed = statistics.closed + 1
    if pnl > 0:
        return replace(
            statistics,
            closed=closed,
            wins=statistics.wins + 1,
            sum_wins=statistics.sum_wins + pnl,
            consecutive_losses=0,
            half_size=False,
        )
    if pnl == 0:
        return replace(statistics, closed=closed)
    streak = statistics.consecutive_losses + 1
    pauses = streak >= risk.circuit_breakers.max_consecutive_losses
    pause = timedelta(hours=risk.circuit_breakers.loss_pause_hours)
    return replace(
        statistics,
        closed=closed,
        losses=statistics.losses + 1,
        sum_losses=statistics.sum_losses + pnl,
        consecutive_losses=streak,
        loss_pause_until=now + pause if pauses else statistics.loss_pause_until,
        half_size=statistics.half_size or pauses,
    )


def _rolled(book: AccountBook, equity: Decimal, now: datetime) -> AccountBook:
    """Open a day or week that began; a clock set back opens none."""
    day, week = day_key(now), week_key(now)
    begins = day > book.day.key
    return replace(
        book,
        equity_peak=max(book.equity_peak, equity),
        openings=(*book.openings, equity)[-MAX_OPENINGS:] if begins else book.openings,
        day=Period(day, equity) if begins else book.day,
        week=Period(week, equity) if week > book.week.key else book.week,
    )


def _returns(openings: Sequence[Decimal]) -> tuple[float, ...]:
    return tuple(float(after / before - 1) for before, after in pairwise(openings) if before > 0)


def _mark(symbol: Symbol, entry_price: Decimal, quotes: Mapping[Symbol, Quote], book: AccountBook) -> Decimal:
    quote = quotes.get(symbol)
    return quote.bid if quote is not None else book.marks.get(symbol, entry_price)


def _exposures(
    positions: Sequence[Position], marks: Mapping[Symbol, Decimal], intents: Sequence[IntentRecord]
) -> dict[Symbol, Decimal]:
    exposure: dict[Symbol, Decimal] = {}
    for position in positions:
        worth = position.notional_quote(marks[position.symbol])
        exposure[position.symbol] = exposure.get(position.symbol, ZERO) + worth
    for record in intents:
        more = may_still_spend(record)
        if more > 0:
            exposure[record.intent.symbol] = exposure.get(record.intent.symbol, ZERO) + more
    return exposure
