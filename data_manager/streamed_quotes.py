"""Quotes from the stream while they are fresh, from the venue's answers otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from bn_ml.domain.market import ZERO, Quote, Symbol
from bn_ml.errors import MarketDataError
from bn_ml.ports import Clock
from bn_ml.quote_board import QuoteBoard
from bn_ml.settings import DataSettings
from data_manager.recent_answers import RecentQuotes

DEPTH_RENEWED = timedelta(seconds=60)
"""How often the venue is asked although the stream is fresh: it tells depth and turnover, the stream does not."""

DEPTH_KEPT = timedelta(minutes=5)
"""Depth and turnover that are older count as zero."""


class StreamedQuotes:
    """The newest quote of a symbol by the cheaper way that is fresh enough.

    A streamed quote young enough for an entry is given as it is. Otherwise the venue is asked; when it does not
    answer, a streamed quote still young enough for an exit is given. A streamed quote is never given after a newer
    answer of the venue. Every quote tells its true time, so each use applies its own limit.
    """

    def __init__(self, board: QuoteBoard, ask: Callable[[Symbol], Quote], clock: Clock, limits: DataSettings) -> None:
        """`ask` asks the venue and raises `MarketDataError`."""
        self._board = board
        self._ask = ask
        self._clock = clock
        self._entry_age_s = min(limits.max_quote_age_entry_sec, limits.max_quote_age_exit_sec)
        self._exit_age_s = limits.max_quote_age_exit_sec
        self._recent = RecentQuotes(self._asked, clock)
        self._answers: dict[Symbol, Quote] = {}
        self._tried: dict[Symbol, datetime] = {}

    def quote(self, symbol: Symbol) -> Quote:
        """Give the newest quote; raises `MarketDataError` when there is none young enough for anything."""
        streamed = self._streamed(symbol)
        if streamed is not None and self._is_young(streamed, self._entry_age_s) and not self._wants_depth(symbol):
            return streamed
        try:
            return self._recent.quote(symbol)
        except MarketDataError:
            streamed = self._streamed(symbol)
            if streamed is None or not self._is_young(streamed, self._exit_age_s):
                raise
            return streamed

    def _streamed(self, symbol: Symbol) -> Quote | None:
        """Give the streamed quote with the depth of the newest answer, None when that answer is newer."""
        answer, now = self._answers.get(symbol), self._clock.now()
        if answer is not None and not timedelta(0) <= now - answer.at <= DEPTH_KEPT:
            answer = replace(answer, depth_quote=ZERO, volume_24h_quote=ZERO)
        streamed = self._board.quote(symbol, answer)
        if streamed is None or (answer is not None and streamed.at < answer.at <= now):
            return None
        return streamed

    def _wants_depth(self, symbol: Symbol) -> bool:
        tried = self._tried.get(symbol)
        return tried is None or not timedelta(0) <= self._clock.now() - tried < DEPTH_RENEWED

    def _asked(self, symbol: Symbol) -> Quote:
        self._tried[symbol] = self._clock.now()
        answer = self._answers[symbol] = self._ask(symbol)
        return answer

    def _is_young(self, quote: Quote, limit_s: float) -> bool:
        return 0 <= quote.age_s(self._clock.now()) <= limit_s
