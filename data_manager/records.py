"""Market data in other shapes: exact domain values for the trader, plain values for users' scripts."""

from __future__ import annotations

from bn_ml.domain.market import Bar, Quote, exact, from_ms, iso, to_ms
from data_manager.bars import Bars


def bar_values(bars: Bars) -> tuple[Bar, ...]:
    """Give each bar as an exact value, in time order."""
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    length = bars.timeframe.ms
    return tuple(
        Bar(from_ms(opened), from_ms(opened + length), *(exact(value) for value in values))
        for opened, *values in zip(bars.open_time.tolist(), *(column.tolist() for column in columns), strict=True)
    )


def ticker(quote: Quote) -> dict[str, object]:
    """Give a quote as the plain values exchange libraries use, with the name of its source."""
    return {
        "symbol": str(quote.symbol),
        "bid": float(quote.bid),
        "ask": float(quote.ask),
        "last": float(quote.last),
        "close": float(quote.last),
        "quoteVolume": float(quote.volume_24h_quote),
        "depth_usdt": float(quote.depth_quote),
        "spread_pct": float(quote.spread_frac),
        "timestamp": to_ms(quote.at),
        "datetime": iso(quote.at),
        "data_source": quote.source,
    }
