"""Taking other people's files into the history: bars cleaned and cut to one continuous series, venue rules checked."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import BnMlError, MarketDataError
from bn_ml.exchange_info import read_exchange_info
from data_manager.bar_files import read_bars
from data_manager.data_cleaner import CleanReport, clean, last_continuous_piece
from data_manager.history import HistoryStore
from data_manager.stored_rules import EXCHANGE_INFO_FILE

_SUFFIXES = (".parquet", ".csv", ".json", ".csv.gz", ".json.gz")
_RULES_MARK = b'"symbols"'
_MARK_WITHIN = 4096


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of one file. `rows_stored` counts the bars of the piece that was kept, 0 for rules and refusals."""

    path: Path
    kind: str
    symbol: str = ""
    timeframe: str = ""
    rows_read: int = 0
    rows_stored: int = 0
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether nothing of the file was taken."""
        return self.kind == "refused"


def import_path(
    path: Path, store: HistoryStore, *, symbol: Symbol | None = None, timeframe: Timeframe | None = None
) -> list[ImportOutcome]:
    """Import a file, or every known file of a folder in name order; a file that cannot be taken is named, not fatal.

    Raises `MarketDataError` when there is nothing at the path.
    """
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.name.endswith(_SUFFIXES))
        if not files:
            raise MarketDataError(f"{path}: no file to import; known are {', '.join(_SUFFIXES)}")
        return [_outcome(item, store, symbol, timeframe) for item in files]
    if not path.is_file():
        raise MarketDataError(f"{path}: no such file")
    return [_outcome(path, store, symbol, timeframe)]


def import_bars(path: Path, store: HistoryStore, symbol: Symbol | None, timeframe: Timeframe | None) -> ImportOutcome:
    """Import one bar file. Raises `MarketDataError` on what cannot be a market's record."""
    raw = read_bars(path, symbol=symbol, timeframe=timeframe)
    report = clean(raw, judge_last_volume=True)
    if not report.trusted or not len(report.bars):
        raise MarketDataError(f"{path.name}: refused, not the record of a market: {'; '.join(finding_lines(report))}")
    kept = last_continuous_piece(report)
    store.merge(kept)
    notes = finding_lines(report)
    if len(kept) < len(report.bars):
        notes = (
            *notes,
            f"{len(report.bars) - len(kept)} bars before the last break are another price series: left out",
        )
    return ImportOutcome(path, "bars", str(raw.symbol), raw.timeframe.value, len(raw), len(kept), notes)


def import_rules(path: Path, store: HistoryStore) -> ImportOutcome:
    """Import an `exchangeInfo` answer, naming records without sense. Raises `MarketDataError` when none has any."""
    info = read_exchange_info(path)
    if not info.rules:
        raise MarketDataError(f"{path.name}: no usable symbol: {'; '.join(info.skipped[:3])}")
    store.root.mkdir(parents=True, exist_ok=True)
    target = store.root / EXCHANGE_INFO_FILE
    partial = target.with_suffix(".part")
    partial.write_bytes(_content(path))
    partial.replace(target)
    skipped = tuple(f"skipped {line}" for line in info.skipped)
    return ImportOutcome(path, "rules", notes=(f"rules of {len(info.rules)} symbols", *skipped))


def finding_lines(report: CleanReport) -> tuple[str, ...]:
    """Give one line for each finding."""
    return tuple(
        f"{finding.defect.value}: {finding.count}{' removed' if finding.removed else ''}"
        + (f" ({finding.detail})" if finding.detail else "")
        for finding in report.findings
    )


def _outcome(path: Path, store: HistoryStore, symbol: Symbol | None, timeframe: Timeframe | None) -> ImportOutcome:
    try:
        if _holds_rules(path):
            return import_rules(path, store)
        return import_bars(path, store, symbol, timeframe)
    except (BnMlError, ValueError) as error:
        return ImportOutcome(path, "refused", notes=(str(error),))


def _holds_rules(path: Path) -> bool:
    if not path.name.endswith((".json", ".json.gz")):
        return False
    try:
        head = _content(path)[:_MARK_WITHIN].lstrip()
    except (OSError, EOFError) as error:
        raise MarketDataError(f"{path.name}: cannot be read: {error}") from error
    return head.startswith(b"{") and _RULES_MARK in head


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw
