"""The `drift_status` record: what is shown of the watch, and what a restart takes up from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bn_ml.domain.market import Symbol, from_iso, from_ms, iso, to_ms
from ml_engine.drift_triggers import Score
from ml_engine.drift_watch import DAY_MS, Alarm, SymbolWatch

MARKET_SHARE = 0.2
LEAST_SYMBOLS = 2
MARKET, BENCHMARK = "market", "benchmark"


@dataclass(frozen=True, slots=True)
class MarketEvent:
    """Drift of the whole market, by many symbols within a day or by the benchmark; `share` is that of the symbols."""

    kind: str
    since_ms: int
    share: float
    limit: float = MARKET_SHARE


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier record says: since when this book is watched, each symbol's newest bar, and standing alarms.

    Instants in ms; an alarm comes with the bundle version it is about.
    """

    watched_since_ms: int | None = None
    seen_ms: Mapping[Symbol, int] = field(default_factory=dict)
    alarms: Mapping[Symbol, tuple[int, Alarm]] = field(default_factory=dict)
    market_since_ms: int | None = None


def market_event(alarms: Mapping[Symbol, Alarm], watched: int, benchmark: Symbol) -> MarketEvent | None:
    """Tell whether the alarms standing are one event of the market.

    They are when more than a fifth of the watched symbols, and two at least, raised theirs within one day, or when the
    benchmark did.
    """
    onsets = sorted(alarm.since_ms for alarm in alarms.values())
    most, since_ms = 0, 0
    for place, onset in enumerate(onsets):
        together = [other for other in onsets[: place + 1] if onset - other < DAY_MS]
        if len(together) > most:
            most, since_ms = len(together), onset
    share = most / max(watched, 1)
    if most >= LEAST_SYMBOLS and share > MARKET_SHARE:
        return MarketEvent(MARKET, since_ms, share)
    if benchmark in alarms:
        return MarketEvent(BENCHMARK, alarms[benchmark].since_ms, share)
    return None


def status_of(
    watches: Iterable[SymbolWatch], market: MarketEvent | None, *, watched_since_ms: int, now_ms: int
) -> dict[str, object]:
    """Give the record as plain values; times are ISO 8601."""
    symbols = {str(watch.symbol): _symbol_status(watch) for watch in sorted(watches, key=lambda item: item.symbol)}
    return {
        "enabled": True,
        "updated_at": iso(from_ms(now_ms)),
        "watched_since": iso(from_ms(watched_since_ms)),
        "detected": market is not None,
        "kind": None if market is None else market.kind,
        "since": None if market is None else iso(from_ms(market.since_ms)),
        "alarming": [name for name, status in symbols.items() if status["detected"]],
        "symbols": symbols,
    }


def disabled_status(now_ms: int) -> dict[str, object]:
    """Give the record while drift is not watched."""
    return {"enabled": False, "updated_at": iso(from_ms(now_ms)), "detected": False, "alarming": [], "symbols": {}}


def read_kept(content: object) -> Kept:
    """Read what a restart needs of an earlier record; anything unreadable is left out."""
    if not isinstance(content, Mapping) or not content.get("enabled"):
        return Kept()
    symbols = content.get("symbols")
    statuses = {Symbol(name): status for name, status in symbols.items()} if isinstance(symbols, Mapping) else {}
    seen = {symbol: _seen(status) for symbol, status in statuses.items()}
    alarms = {symbol: alarm for symbol, status in statuses.items() if (alarm := _read_alarm(status)) is not None}
    return Kept(_instant(content.get("watched_since")), seen, alarms, _instant(content.get("since")))


def _symbol_status(watch: SymbolWatch) -> dict[str, object]:
    scores = {**watch.triggers.scores(), **watch.column_scores.scores}
    if watch.volatility is not None:
        scores["volatility"] = watch.volatility
    alarm = watch.alarm
    return {
        "detected": alarm is not None,
        "kind": None if alarm is None else alarm.kind,
        "since": None if alarm is None else iso(from_ms(alarm.since_ms)),
        "last": None if alarm is None else iso(from_ms(alarm.last_ms)),
        "score": None if alarm is None else alarm.score,
        "limit": None if alarm is None else alarm.limit,
        "version": watch.version,
        "seen": iso(from_ms(watch.seen_ms)),
        "outcomes": watch.triggers.outcomes,
        "scores": {name: _plain(score) for name, score in scores.items()},
        "worst_features": [
            {"name": item.name, "psi": item.psi, "psi_limit": item.psi_limit, "ks": item.ks, "ks_limit": item.ks_limit}
            for item in watch.column_scores.worst
        ],
    }


def _plain(score: Score) -> dict[str, object]:
    return {"score": score.score, "limit": score.limit, "beyond": score.beyond}


def _read_alarm(status: object) -> tuple[int, Alarm] | None:
    if not isinstance(status, Mapping) or not status.get("detected"):
        return None
    since_ms, last_ms = _instant(status.get("since")), _instant(status.get("last"))
    try:
        version, score, limit = int(status["version"]), float(status["score"]), float(status["limit"])
    except (KeyError, TypeError, ValueError):
        return None
    if since_ms is None or last_ms is None:
        return None
    return version, Alarm(str(status.get("kind")), score, limit, since_ms, last_ms)


def _seen(status: object) -> int:
    return (_instant(status.get("seen")) or 0) if isinstance(status, Mapping) else 0


def _instant(text: object) -> int | None:
    try:
        return to_ms(from_iso(str(text))) if text else None
    except ValueError:
        return None
