"""The market the sandbox shows: a data source walked second by second, so that all views of it agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from bn_ml.domain.market import ZERO, MarketRules, Quote, Symbol, from_ms
from bn_ml.errors import MarketDataError
from data_manager.modelled_quotes import Turnover, modelled_quote
from data_manager.source import DataSource
from public_api.sandbox.kline_rows import amount, klines_of
from public_api.sandbox.market_data import INTERVAL_MS, DayTicker, Kline, PublicTrade, Span
from public_api.sandbox.second_path import SECOND_MS, VOLUME_UNITS, SecondPath
from public_api.sandbox.symbol_series import Shift, SymbolSeries

_DAY_MS = INTERVAL_MS["1d"]
_QUARTER = "15m"
_QUARTER_MS = INTERVAL_MS[_QUARTER]
_UNIT = Decimal(1) / VOLUME_UNITS


class MarketFeed:
    """Every symbol of a source at any instant; the source must show its future (its clock stands far ahead).

    Trade ids are the Unix seconds of the trades: one trade a second, whose sizes make up the bar's volume.
    """

    def __init__(self, source: DataSource, seed: int, quote: str | None = None) -> None:
        """List the source's markets; with `quote` those in another quote asset are listed in that one."""
        self.name = source.name
        self._series: dict[Symbol, SymbolSeries] = {}
        for stored, rules in source.markets().items():
            listed = Symbol(f"{stored.base}/{quote or stored.quote}")
            self._series.setdefault(listed, SymbolSeries(source, replace(rules, symbol=listed), stored, seed))
        self._turnovers: dict[Symbol, tuple[int, Turnover]] = {}

    @property
    def rules(self) -> Mapping[Symbol, MarketRules]:
        """The rules of every symbol."""
        return {symbol: series.rules for symbol, series in self._series.items()}

    @property
    def begin_ms(self) -> int:
        """The first instant at which any symbol has a price."""
        return min(series.begin_ms for series in self._series.values())

    def series(self, symbol: Symbol) -> SymbolSeries:
        """Give one symbol's market; raises `MarketDataError` for one the source does not have."""
        found = self._series.get(symbol)
        if found is None:
            raise MarketDataError(f"{symbol}: not in the sandbox's market")
        return found

    def quote(self, symbol: Symbol, now_ms: int) -> Quote | None:
        """Give the quote of an instant, None in a hole of the record and before it."""
        series = self.series(symbol)
        path = series.path_at(now_ms)
        if path is None:
            return None
        last = int(path.last[path.row(now_ms)]) * series.rules.tick
        quote = modelled_quote(series.rules, float(last), from_ms(now_ms), self.name, self._turnover(symbol, now_ms))
        shift = series.shifted()
        if shift is None or shift.pinned is None or shift.since_ms > now_ms:
            return replace(quote, last=last)
        return replace(quote, last=last, bid=shift.bid or quote.bid, ask=shift.ask or quote.ask)

    def pin(self, symbol: Symbol, last: Decimal, now_ms: int, book: tuple[Decimal, Decimal] | None = None) -> None:
        """Hold a symbol at one price from now on, with a book of (bid, ask) if given.

        Raises `ValueError` on prices no market can show.
        """
        series = self.series(symbol)
        bid, ask = book or (last, last)
        if not all(price.is_finite() and price > 0 for price in (last, bid, ask)) or bid > ask:
            raise ValueError(f"{symbol}: impossible quote {bid} / {last} / {ask}")
        pinned = max(1, round(last / series.rules.tick))
        shown = (bid, ask) if book else (None, None)
        series.shift(Shift(now_ms, pinned=pinned, bid=shown[0], ask=shown[1]))

    def gap(self, symbol: Symbol, fraction: Decimal, now_ms: int) -> None:
        """Move a symbol by a fraction of its price for good, from now on; raises `ValueError` for -1 and below."""
        if fraction <= -1:
            raise ValueError(f"{symbol}: a gap must leave a price, got {fraction}")
        series = self.series(symbol)
        shift = series.shifted()
        before = shift.factor if shift else 1.0
        series.shift(Shift(now_ms, factor=before * float(1 + fraction)))

    def release(self, symbol: Symbol, now_ms: int) -> None:
        """Go back to the stored prices from now on."""
        self.series(symbol).shift(Shift(now_ms))

    def klines(self, symbol: Symbol, interval: str, span: Span, now_ms: int) -> Sequence[Kline]:
        """Give klines oldest first, the running one included; an unknown symbol has none."""
        series = self._series.get(symbol)
        if series is None or span.limit <= 0:
            return ()
        return klines_of(series.rows(interval, span, now_ms), interval, series.rules.tick)

    def day(self, symbol: Symbol, now_ms: int) -> DayTicker | None:
        """Give the 24 h statistics; None when nothing was traded."""
        series = self._series.get(symbol)
        if series is None:
            return None
        rows = series.rows(_QUARTER, Span(now_ms - _DAY_MS, None, _DAY_MS // _QUARTER_MS + 1), now_ms)
        if not len(rows):
            return None
        tick = series.rules.tick
        tape = self.trades(symbol, 1, now_ms)
        return DayTicker(
            open_ms=now_ms - _DAY_MS,
            close_ms=now_ms,
            open=int(rows.open[0]) * tick,
            high=int(rows.high.max()) * tick,
            low=int(rows.low.min()) * tick,
            last=int(rows.close[-1]) * tick,
            last_quantity=tape[-1].quantity if tape else ZERO,
            volume=amount(float(rows.volume.sum())),
            quote_volume=amount(float(rows.quote_volume.sum())),
            first_id=int(rows.open_ms[0]) // SECOND_MS,
            last_id=now_ms // SECOND_MS,
        )

    def trades(self, symbol: Symbol, limit: int, now_ms: int) -> Sequence[PublicTrade]:
        """Give the newest public trades, oldest first."""
        series = self._series.get(symbol)
        found: list[PublicTrade] = []
        at_ms = now_ms
        while series is not None and len(found) < limit:
            path = series.path_at(at_ms)
            if path is None:
                break
            first = max(0, path.row(at_ms) + 1 - (limit - len(found)))
            found = [*_tape(path, range(first, path.row(at_ms) + 1), series.rules), *found]
            at_ms = path.bar.open_ms - 1
        return found[-limit:]

    def _turnover(self, symbol: Symbol, now_ms: int) -> Turnover:
        quarter = now_ms // _QUARTER_MS
        known = self._turnovers.get(symbol)
        if known is None or known[0] != quarter:
            day = self.series(symbol).rows(_QUARTER, Span(now_ms - _DAY_MS, None, _DAY_MS // _QUARTER_MS + 1), now_ms)
            known = (quarter, Turnover(float(day.quote_volume.sum())))
            self._turnovers[symbol] = known
        return known[1]


def _tape(path: SecondPath, rows: range, rules: MarketRules) -> list[PublicTrade]:
    trades = []
    for row in rows:
        units = path.volume_before(row + 1) - path.volume_before(row)
        if units <= 0:
            continue
        at_ms = path.bar.open_ms + row * SECOND_MS
        before = path.last[row - 1] if row else path.bar.open
        falling = path.last[row] < before or (path.last[row] == before and row % 2 == 0)
        price = int(path.last[row]) * rules.tick
        trades.append(PublicTrade(at_ms // SECOND_MS, price, units * _UNIT, at_ms, bool(falling)))
    return trades
