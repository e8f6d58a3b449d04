"""What would stop the bot and how close that is: breakers, limits, market state, and what is held together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bn_ml.settings import Settings
from monitoring.plain_values import instant, mapping, number, sequence
from monitoring.wording import UNKNOWN, percent

_COUNTS = frozenset({"breaker_consecutive_losses", "open positions"})
_RATIOS = frozenset({"breaker_volatility", "breaker_market"})
_FLAGS = frozenset({"breaker_drift"})
_SAYS = {
    "breaker_daily_loss": "loss since 00:00 UTC",
    "breaker_weekly_loss": "loss since Monday 00:00 UTC",
    "breaker_drawdown": "fall from the equity peak; halts",
    "breaker_var": "one-day value at risk",
    "breaker_consecutive_losses": "losses in a row",
    "breaker_volatility": "benchmark's ATR over its baseline",
    "breaker_drift": "market drift detected",
    "breaker_market": "confidence of a bearish market",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: what is measured, how far it is used (1 is reached), and when it clears. Texts are ready to show."""

    name: str
    says: str
    value: str
    limit: str
    distance: str
    used: float
    is_tripped: bool
    clears_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Correlation:
    """How a symbol moves with the benchmark (-1 to 1, NaN unknown)."""

    symbol: str
    with_benchmark: float
    share_of_equity: float


def limits_of(account: Mapping[str, object], settings: Settings, open_positions: int) -> tuple[Limit, ...]:
    """Give every breaker and limit, tripped ones first, then by how far they are used."""
    breakers = [mapping(item) for item in sequence(account.get("breakers"))]
    found = [_breaker(item) for item in breakers]
    exposure = number(account.get("exposure_pct"))
    most = settings.risk.max_open_positions
    found.append(_share("exposure", "held in all, of equity", exposure, settings.risk.max_exposure_pct))
    found.append(
        Limit(
            name="open positions",
            says="held at a time",
            value=str(open_positions),
            limit=str(most),
            distance=str(max(most - open_positions, 0)),
            used=open_positions / most,
            is_tripped=open_positions >= most,
        )
    )
    return tuple(sorted(found, key=lambda item: (not item.is_tripped, -_order(item.used), item.name)))


def market_of(account: Mapping[str, object], scan_rows: int, intelligence: Mapping[str, object]) -> Mapping[str, str]:
    """Give the state of the market in words."""
    volatility = number(account.get("market_volatility_ratio"))
    drifted = account.get("market_drift_detected")
    index = number(intelligence.get("index_value"))
    return {
        "regime": str(account.get("market_regime") or "unknown"),
        "mood": str(account.get("market_intelligence_signal") or "unknown"),
        "confidence": percent(number(account.get("market_intelligence_confidence"))),
        "index 0-100": UNKNOWN if math.isnan(index) else f"{index:.0f}",
        "volatility over baseline": UNKNOWN if math.isnan(volatility) else f"{volatility:.2f}",
        "drift": {True: "detected", False: "none"}.get(drifted is True, "none") if drifted is not None else "unknown",
        "symbols scanned": str(scan_rows),
    }


def correlations_of(
    worth: Mapping[str, float], scan_rows: Sequence[Mapping[str, object]], equity: float
) -> tuple[Correlation, ...]:
    """Give, for what is held, how it moves with the benchmark and its share of equity, largest share first."""
    # A row without a price was refused before its correlation was measured; it then reads 0.
    known = {
        str(row.get("symbol")): number(row.get("correlation_btc")) for row in scan_rows if row.get("price") is not None
    }
    found = [
        Correlation(symbol, known.get(symbol, math.nan), amount / equity if equity > 0.0 else math.nan)
        for symbol, amount in worth.items()
    ]
    return tuple(sorted(found, key=lambda item: (-_order(item.share_of_equity), item.symbol)))


def _breaker(item: Mapping[str, object]) -> Limit:
    name = str(item.get("name"))
    value, limit = number(item.get("value")), number(item.get("limit"))
    return Limit(
        name=name.removeprefix("breaker_").replace("_", " "),
        says=_SAYS.get(name, ""),
        value=_written(name, value),
        limit=_written(name, limit) if limit > 0.0 else "none allowed" if name in _FLAGS else UNKNOWN,
        distance=_written(name, number(item.get("distance"))) if limit > 0.0 else UNKNOWN,
        used=value / limit if limit > 0.0 else float(item.get("tripped") is True),
        is_tripped=item.get("tripped") is True,
        clears_at=instant(item.get("clears_at")),
    )


def _share(name: str, says: str, value: float, limit: float) -> Limit:
    left = percent(max(limit - value, 0.0), 2) if math.isfinite(value) else UNKNOWN
    return Limit(name, says, percent(value, 2), percent(limit, 2), left, value / limit, value >= limit)


def _written(name: str, value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    if name in _COUNTS:
        return f"{value:.0f}"
    if name in _FLAGS:
        return "yes" if value else "no"
    return f"{value:.2f}" if name in _RATIOS else percent(value, 2)


def _order(used: float) -> float:
    return used if math.isfinite(used) else -1.0
