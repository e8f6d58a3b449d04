"""Finding what a report is about: a book in a database or in the folder of a backtest, its card, and stored bars."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bn_ml.database import reading
from bn_ml.domain.market import Symbol, Timeframe, iso, to_ms
from bn_ml.errors import StateError
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.history import HistoryStore
from evidence.book import Book, read_book
from evidence.book_window import window
from evidence.entry_notes import EntryNotes, read_entry_notes
from evidence.run_card import BOOK_FILE, RUN_FILE, LeftOut, RunCard, read_run
from evidence.verdict import INVENTED

PROOF_FILE = "proof.json"
BASE = Timeframe.M15


@dataclass(frozen=True, slots=True)
class Period:
    """The part asked for: `begin` inclusive, `end` exclusive, None is open."""

    begin: datetime | None = None
    end: datetime | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut away."""
        return self.begin is None and self.end is None


WHOLE = Period()


@dataclass(frozen=True, slots=True)
class Source:
    """A book with its card and notes; `path` is its database."""

    path: Path
    book: Book
    run: RunCard
    notes: EntryNotes


@dataclass(frozen=True, slots=True)
class Configured:
    """The settings in force now and their hash."""

    settings: Settings
    sha256: str


def find_source(place: Path, configured: Configured, period: Period = WHOLE) -> Source:
    """Give the source at a place: the folder of a backtest or a database; raises `StateError` naming what is wrong."""
    return from_folder(place, period) if place.is_dir() else from_database(place, configured, period)


def from_folder(folder: Path, period: Period = WHOLE) -> Source:
    """Read the folder of a finished backtest."""
    if not folder.is_dir():
        raise StateError(f"{folder}: no such folder; give one that bnml-backtest wrote (artifacts/backtests/...)")
    if not (folder / RUN_FILE).is_file():
        held = "it holds an unfinished run, start the same bnml-backtest again" if (folder / BOOK_FILE).exists() else ""
        raise StateError(f"{folder}: no {RUN_FILE}; {held or 'give a folder that bnml-backtest wrote'}")
    path = folder / BOOK_FILE
    book = _part(path, period)
    return Source(path, book, _cut(read_run(folder), book, period), read_entry_notes(path))


def from_database(path: Path, configured: Configured, period: Period = WHOLE) -> Source:
    """Read the book of a paper or live bot; its card is made of the book and the settings in force now."""
    book = _part(path, period)
    settings = configured.settings
    traded = sorted({str(position.symbol) for position in (*book.closed, *book.held)})
    versions = sorted({position.bundle_version for position in book.closed if position.bundle_version is not None})
    run = RunCard(
        kind=book.mode if book.mode in ("paper", "live") else "paper",
        begin=book.begin,
        end=book.end,
        quote_asset=book.quote_asset,
        symbols=tuple(traded),
        models=f"bundle versions {', '.join(map(str, versions))}" if versions else "no bundle has traded",
        fees_frac=settings.risk.fees_pct,
        slippage_frac=settings.risk.slippage_pct,
        config_sha256=configured.sha256,
        assumptions=(
            "The configuration shown is the one in force now; a book does not record which one traded.",
            "Symbols are those that were traded; what was watched without a trade is in the funnel only.",
        ),
    )
    return Source(path, book, run, read_entry_notes(path))


def stored_bars(source: Source, settings: Settings) -> tuple[dict[Symbol, Bars], tuple[LeftOut, ...], str]:
    """Give the base bars of a source's symbols, those without, and why there are none at all (else empty).

    Bars of `data.replay_dir` and `data.history_dir` are looked for, in this order.
    """
    if any(word in source.book.data_source.lower() for word in INVENTED):
        return {}, (), f"the prices were invented (data source {source.book.data_source})"
    stores = [HistoryStore(root) for root in (settings.data.replay_dir, settings.data.history_dir)]
    wanted = dict.fromkeys(map(Symbol, (*source.run.symbols, settings.model.drift.benchmark_symbol)))
    found: dict[Symbol, Bars] = {}
    for symbol in wanted:
        store = next((store for store in stores if store.has(symbol, BASE)), None)
        bars = store.read(symbol, BASE) if store else None
        if bars is not None and len(bars.between(to_ms(source.book.begin), to_ms(source.book.end))):
            found[symbol] = bars
    traded = [symbol for symbol in map(Symbol, source.run.symbols)]
    if not any(symbol in found for symbol in traded):
        return {}, (), f"{settings.data.history_dir} holds no {BASE.value} bars of the period (bnml-data download)"
    absent = tuple(
        LeftOut(symbol, "no stored bars of the period: not in control, benchmark or excursions")
        for symbol in traded
        if symbol not in found
    )
    return found, absent, ""


def kept_proof(folder: Path) -> Mapping[str, object] | None:
    """Give the statistics that a backtest kept in its folder, None when there are none to be read."""
    try:
        kept = json.loads((folder / PROOF_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def _part(path: Path, period: Period) -> Book:
    book = read_book(path)
    return book if period.is_whole else window(book, period.begin, period.end, _funnel(path, period))


def _cut(run: RunCard, book: Book, period: Period) -> RunCard:
    if period.is_whole:
        return run
    told = f"Only {iso(book.begin)} to {iso(book.end)} of the run is shown."
    return replace(run, begin=book.begin, end=book.end, assumptions=(told, *run.assumptions))


def _funnel(path: Path, period: Period) -> dict[str, int]:
    low = iso(period.begin) if period.begin else ""
    high = iso(period.end) if period.end else "9"
    with reading(path) as connection:
        rows = connection.execute("SELECT data_json FROM cycles WHERE ts >= ? AND ts < ? ORDER BY id", (low, high))
        counts: Counter[str] = Counter()
        for row in rows:
            counts.update(json.loads(row["data_json"]).get("funnel", {}))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
