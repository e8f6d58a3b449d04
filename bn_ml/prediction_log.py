"""What the bundles said at every closed bar, what scans made of it and what came of it.

It is a file of its own beside the state database and may be lost: nothing of the book depends on it. A file that is
corrupt or foreign is set aside and begun anew, one that cannot be written is tried again at the next scan; the loop is
told by one warning and never by an error.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.market import Symbol, Timeframe, to_ms
from bn_ml.domain.signals import GateVerdict, Opportunity, ScanReport
from bn_ml.telemetry_file import Row, TelemetryFile

FILE_NAME = "telemetry.db"
BAR_MS = Timeframe.M15.ms
_MOST_WAITING = 20_000
_PUT_PREDICTION = (
    "INSERT INTO predictions VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (symbol, close_ms) DO UPDATE SET "
    "version = excluded.version, sell = excluded.sell, hold = excluded.hold, buy = excluded.buy, "
    "width = excluded.width, volatility = excluded.volatility, action = excluded.action, reason = excluded.reason, "
    "gates = excluded.gates, source = excluded.source "
    "WHERE predictions.version IS NULL AND excluded.version IS NOT NULL"
)
_PUT_OUTCOME = "INSERT OR IGNORE INTO outcomes VALUES (?,?,?,?,?)"
_PUT_REFUSAL = "INSERT OR REPLACE INTO refusals VALUES (?,?,?,?,?,?)"
_PREDICTIONS = (
    "SELECT close_ms, version, sell, hold, buy, width, volatility, action, reason, gates, source FROM predictions "
    "WHERE symbol = ? AND close_ms >= ? AND close_ms < ? ORDER BY close_ms"
)
_OUTCOMES = (
    "SELECT close_ms, version, label, move FROM outcomes WHERE symbol = ? AND close_ms >= ? AND close_ms < ? "
    "ORDER BY close_ms"
)
_REFUSALS = (
    "SELECT close_ms, at_ms, reason, value, bound FROM refusals WHERE symbol = ? AND close_ms >= ? AND close_ms < ? "
    "ORDER BY close_ms, at_ms"
)


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """What was said about one symbol at the close of one base bar.

    `sell`, `hold`, `buy` are the calibrated probabilities, `version` the bundle's (None when none could answer).
    `width_frac` is the label width and `volatility_frac` the deviation of one bar's log return at that bar, 0 when
    unknown. `action` is what was shown; `reason` why it was not acted on. `gates_json` is a JSON list of
    [reason, value, limit, passed].
    """

    symbol: Symbol
    close_ms: int
    version: int | None
    sell: float
    hold: float
    buy: float
    width_frac: float
    volatility_frac: float
    action: str
    reason: str | None
    gates_json: str
    data_source: str


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """What came of the prediction made at `close_ms`: its class (SELL 0, HOLD 1, BUY 2) and the return of the window.

    `move_frac` runs from the open of the next bar to the close of the window's last bar.
    """

    symbol: Symbol
    close_ms: int
    version: int
    label: int
    move_frac: float


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """What a scan at `at_ms` made of a symbol, from then on within the bar closed at `close_ms`.

    `reason` is None when nothing stopped it; `value` and `limit` are what was measured, None where no number says it.
    """

    symbol: Symbol
    close_ms: int
    at_ms: int
    reason: str | None
    value: float | None
    limit: float | None


ScanJudge = Callable[[ScanReport, Opportunity], GateVerdict | None]
"""Gives what the scan itself measured of a symbol it refused, None when the refusal is not the scan's own."""


class PredictionLog:
    """Keeps one prediction per symbol and bar: the first answer of a bundle stays, whatever later scans say.

    A bar at which no bundle could answer yields to the first answer within it. What later scans of the same bar make of
    it, and what the scan itself refuses, is kept as refusals: one whenever the reason changes. With `rows_per_write`
    rows are gathered until there are so many.
    """

    def __init__(self, path: str | Path, *, rows_per_write: int = 1, judge: ScanJudge | None = None) -> None:
        """Name the file; it is opened by the first write. `judge` gives the numbers of the scan's own refusals."""
        self._file = TelemetryFile(Path(path))
        self._rows_per_write = rows_per_write
        self._judge: ScanJudge = judge or (lambda report, item: None)
        self._stopped: dict[Symbol, tuple[RefusalRecord, bool]] = {}
        self._refusals: list[RefusalRecord] = []
        self._said: dict[Symbol, tuple[int, bool]] = {}
        self._predictions: list[PredictionRecord] = []
        self._outcomes: list[OutcomeRecord] = []

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._file.path

    def record(self, report: ScanReport) -> None:
        """Keep what a scan says of bars not yet answered for; one transaction, or none when nothing is new."""
        for item in (*report.opportunities, *report.refused):
            close_ms = to_ms(item.signal.at) // BAR_MS * BAR_MS
            self._follow(report, item, close_ms)
            said_ms, answered = self._said.get(item.symbol, (0, False))
            answers = bool(item.signal.members)
            if close_ms < said_ms or (close_ms == said_ms and (answered or not answers)):
                continue
            self._said[item.symbol] = (close_ms, answers)
            self._predictions.append(prediction_of(item))
        if len(self._predictions) + len(self._refusals) >= self._rows_per_write:
            self.flush()

    def settle(self, outcomes: Iterable[OutcomeRecord]) -> None:
        """Keep what came of predictions; the first outcome of a bar stays."""
        self._outcomes.extend(outcomes)
        if len(self._outcomes) >= self._rows_per_write:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered; what cannot be written now is tried again with the next."""
        if not (self._predictions or self._outcomes or self._refusals):
            return
        predictions = [_fields(record) for record in self._predictions]
        outcomes = [_outcome_fields(record) for record in self._outcomes]
        refusals = [_refusal_fields(record) for record in self._refusals]
        batches = ((_PUT_PREDICTION, predictions), (_PUT_OUTCOME, outcomes), (_PUT_REFUSAL, refusals))
        written = self._file.write(batches)
        for waiting in (self._predictions, self._outcomes, self._refusals):
            del waiting[: len(waiting) if written else -_MOST_WAITING]

    def read(self, symbol: Symbol, since_ms: int, until_ms: int) -> Sequence[PredictionRecord]:
        """Give what was said of a symbol with `since_ms <= close_ms < until_ms`, oldest first; unreadable is empty."""
        self.flush()
        rows = self._file.read(_PREDICTIONS, (str(symbol), since_ms, until_ms))
        return tuple(_read_prediction(symbol, row) for row in rows)

    def outcomes(self, symbol: Symbol, since_ms: int, until_ms: int) -> Sequence[OutcomeRecord]:
        """Give what came of a symbol's predictions with `since_ms <= close_ms < until_ms`, oldest first."""
        self.flush()
        rows = self._file.read(_OUTCOMES, (str(symbol), since_ms, until_ms))
        return tuple(OutcomeRecord(symbol, row["close_ms"], row["version"], row["label"], row["move"]) for row in rows)

    def refusals(self, symbol: Symbol, since_ms: int, until_ms: int) -> Sequence[RefusalRecord]:
        """Give what scans made of a symbol in bars with `since_ms <= close_ms < until_ms`, oldest first.

        A bar without a record was judged by every scan as its prediction says.
        """
        self.flush()
        rows = self._file.read(_REFUSALS, (str(symbol), since_ms, until_ms))
        return tuple(
            RefusalRecord(symbol, row["close_ms"], row["at_ms"], row["reason"], row["value"], row["bound"])
            for row in rows
        )

    def forget_after(self, now_ms: int) -> int:
        """Delete rows of an earlier life that went further than this one has come; give how many rows went."""
        return self._file.delete_after(now_ms)

    def prune(self, before_ms: int) -> int:
        """Delete what is older than `before_ms`; give how many rows went."""
        self.flush()
        return self._file.prune(before_ms)

    def close(self) -> None:
        """Write what was gathered and let go of the file."""
        self.flush()
        self._file.close()

    def _follow(self, report: ScanReport, item: Opportunity, close_ms: int) -> None:
        """Keep what a scan makes of a symbol where its prediction does not say so already.

        The prediction tells of the first scan of a bar, unless the scan itself has numbers to add. Once a later scan
        comes to something else, the first one is kept here as well: its prediction may yield to a better one.
        """
        reason = item.reason or item.signal.reason
        known, is_written = self._stopped.get(item.symbol, (None, False))
        if known is not None and (known.close_ms, known.reason) == (close_ms, reason):
            return
        of_scan = item.reason is not None and item.reason != item.signal.reason
        verdict = self._judge(report, item) if of_scan else _failed_gate(item, reason)
        value, limit = (_short(verdict.value), _short(verdict.limit)) if verdict else (None, None)
        record = RefusalRecord(item.symbol, close_ms, to_ms(report.at), reason, value, limit)
        is_first = known is not None and close_ms > known.close_ms
        if known is not None and known.close_ms == close_ms and not is_written:
            self._refusals.append(known)
        to_write = not is_first or (of_scan and verdict is not None)
        if to_write:
            self._refusals.append(record)
        self._stopped[item.symbol] = (record, to_write)


def log_beside(state: Path) -> Path:
    """Give where the log of a state database is kept: `telemetry.db` beside `bn_ml.db`, a name of its own otherwise.

    >>> log_beside(Path("state/bn_ml.db")).name, log_beside(Path("state/may.db")).name
    ('telemetry.db', 'may.telemetry.db')
    """
    return state.with_name(FILE_NAME if state.stem == "bn_ml" else f"{state.stem}.{FILE_NAME}")


def gates_text(gates: Sequence[GateVerdict]) -> str:
    """Write verdicts as a JSON list of [reason, value, limit, passed]; a number JSON lacks becomes null.

    >>> gates_text([GateVerdict("margin_too_small", 0.0312345678, 0.07, False)])
    '[["margin_too_small",0.0312346,0.07,false]]'
    """
    return json.dumps(
        [[gate.reason, _short(gate.value), _short(gate.limit), gate.passed] for gate in gates], separators=(",", ":")
    )


def prediction_of(item: Opportunity) -> PredictionRecord:
    """Give what a scan says of one symbol at the close of its newest bar."""
    signal = item.signal
    probabilities = signal.probabilities
    return PredictionRecord(
        symbol=item.symbol,
        close_ms=to_ms(signal.at) // BAR_MS * BAR_MS,
        version=signal.bundle_version if signal.members else None,
        sell=probabilities.sell,
        hold=probabilities.hold,
        buy=probabilities.buy,
        width_frac=_known(signal.width_frac),
        volatility_frac=_known(item.volatility_frac),
        action=signal.action.value,
        reason=item.reason or signal.reason,
        gates_json=gates_text(signal.gates),
        data_source=signal.data_source,
    )


def _fields(record: PredictionRecord) -> Row:
    return (
        str(record.symbol),
        record.close_ms,
        record.version,
        record.sell,
        record.hold,
        record.buy,
        record.width_frac,
        record.volatility_frac,
        record.action,
        record.reason,
        record.gates_json,
        record.data_source,
    )


def _refusal_fields(record: RefusalRecord) -> Row:
    return str(record.symbol), record.close_ms, record.at_ms, record.reason, record.value, record.limit


def _failed_gate(item: Opportunity, reason: str | None) -> GateVerdict | None:
    """Give the gate of the decision that a reason names."""
    return next((gate for gate in item.signal.gates if gate.reason == reason and not gate.passed), None)


def _outcome_fields(record: OutcomeRecord) -> Row:
    return str(record.symbol), record.close_ms, record.version, record.label, record.move_frac


def _read_prediction(symbol: Symbol, row: sqlite3.Row) -> PredictionRecord:
    return PredictionRecord(
        symbol=symbol,
        close_ms=row["close_ms"],
        version=row["version"],
        sell=row["sell"],
        hold=row["hold"],
        buy=row["buy"],
        width_frac=row["width"],
        volatility_frac=row["volatility"],
        action=row["action"],
        reason=row["reason"],
        gates_json=row["gates"],
        data_source=row["source"],
    )


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
