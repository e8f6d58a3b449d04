"""What a run did with a symbol at the instant the other run bought it: the cause of a trade only one of them has."""

from __future__ import annotations

import bisect
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.database import reading
from bn_ml.domain.market import Symbol, from_iso, to_ms
from bn_ml.domain.positions import Position
from bn_ml.prediction_log import PredictionLog, log_beside
from evidence.book import Book

BAR_MS = 900_000


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a run did not make a trade: a reason code of the bot or of this comparison, and the figures behind it."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Cycles:
    """Cycles in time order: when, and what each kept out."""

    at_ms: tuple[int, ...]
    funnels: tuple[Mapping[str, int], ...]


class Witness:
    """Answers for one run out of its book, journal and log of predictions; reads what it needs once."""

    def __init__(self, path: Path, book: Book) -> None:
        """Read refusals, unfilled entries and cycles of the run at `path`."""
        with reading(path) as connection:
            refused = connection.execute(
                "SELECT at_ms, payload FROM journal WHERE kind = 'RiskRefused' ORDER BY id"
            ).fetchall()
            unfilled = connection.execute(
                "SELECT symbol, created_ms, state, reason FROM intent_records"
                " WHERE purpose = 'entry' AND filled = 0 ORDER BY seq"
            ).fetchall()
            cycles = connection.execute("SELECT ts, data_json FROM cycles ORDER BY id").fetchall()
        self._held = _by_symbol([*book.closed, *book.held])
        self._refused: dict[str, list[tuple[int, Cause]]] = defaultdict(list)
        for row in refused:
            told = json.loads(row["payload"])
            self._refused[str(told.get("symbol"))].append((row["at_ms"], _refusal(told)))
        self._unfilled: dict[str, list[tuple[int, Cause]]] = defaultdict(list)
        for row in unfilled:
            detail = f"{row['state']} {row['reason']}".strip()
            self._unfilled[row["symbol"]].append((row["created_ms"], Cause("order_not_filled", detail)))
        self._cycles = _Cycles(
            at_ms=tuple(to_ms(from_iso(row["ts"])) for row in cycles),
            funnels=tuple(json.loads(row["data_json"]).get("funnel", {}) for row in cycles),
        )
        self._log = PredictionLog(log_beside(path))

    def why_not(self, symbol: Symbol, at: datetime) -> Cause:
        """Give why the run did not buy a symbol at an instant, within one bar."""
        at_ms = to_ms(at)
        cycle = _nearest(self._cycles.at_ms, at_ms)
        if cycle is None:
            return Cause("no_cycle", "the run had no cycle within one bar")
        holding = next((held for held in self._held.get(symbol, ()) if _holds(held, at)), None)
        if holding is not None:
            return Cause("already_held", f"held since {holding.opened_at:%Y-%m-%d %H:%M}")
        for found in (self._refused, self._unfilled):
            answers = found.get(str(symbol), [])
            place = _nearest([when for when, _ in answers], at_ms)
            if place is not None:
                return answers[place][1]
        return self._predicted(symbol, at_ms) or self._kept_out(cycle)

    def _predicted(self, symbol: Symbol, at_ms: int) -> Cause | None:
        close_ms = at_ms // BAR_MS * BAR_MS
        said = self._log.read(symbol, close_ms - BAR_MS, close_ms + BAR_MS + 1)
        if not said:
            return None
        record = min(said, key=lambda record: abs(record.close_ms - close_ms))
        figures = f"{record.action}, p(BUY) {record.buy:.3f}, bundle {record.version or 'none'}"
        return Cause(record.reason or ("signal_not_buy" if record.action != "BUY" else "not_chosen"), figures)

    def _kept_out(self, cycle: int) -> Cause:
        funnel = self._cycles.funnels[cycle]
        told = ", ".join(f"{reason} {count}" for reason, count in sorted(funnel.items(), key=lambda item: -item[1]))
        return Cause("not_chosen", f"that cycle kept out: {told}" if told else "that cycle kept nothing out")


def _by_symbol(positions: Sequence[Position]) -> dict[Symbol, list[Position]]:
    found: dict[Symbol, list[Position]] = defaultdict(list)
    for position in positions:
        found[position.symbol].append(position)
    return found


def _holds(position: Position, at: datetime) -> bool:
    return position.opened_at <= at and (position.closed_at is None or at < position.closed_at)


def _refusal(told: Mapping[str, object]) -> Cause:
    value, limit = told.get("value"), told.get("limit")
    figures = f"value {value:.6g}, limit {limit:.6g}" if _is_number(value) and _is_number(limit) else ""
    return Cause(str(told.get("rule")), figures)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _nearest(times: Sequence[int], at_ms: int) -> int | None:
    """Give the place of the time nearest to an instant, None when none lies within one bar."""
    after = bisect.bisect_left(times, at_ms)
    near = [place for place in (after - 1, after) if 0 <= place < len(times) and abs(times[place] - at_ms) <= BAR_MS]
    return min(near, key=lambda place: abs(times[place] - at_ms), default=None)
