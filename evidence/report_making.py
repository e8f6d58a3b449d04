"""From a book on disk to the report of it: what the book notes, statistics where bars are at hand, the two files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings
from data_manager.bars import Bars
from evidence.book import Book
from evidence.entry_notes import EntryNotes
from evidence.excursions import excursions
from evidence.proof import Given, prove
from evidence.report_data import Extras, report_data
from evidence.report_html import report_html
from evidence.run_card import RunCard


@dataclass(frozen=True, slots=True)
class Market:
    """What statistics need: base bars of the symbols (reaching beyond the run), the settings, how many were tried.

    `later` is the total return of the same run with every decision a bar late, None where nobody ran it.
    """

    bars: Mapping[Symbol, Bars]
    settings: Settings
    seed: int
    trials: int = 1
    later: float | None = None


def report_of(
    book: Book, run: RunCard, notes: EntryNotes, market: Market | None, *, no_proof: str = ""
) -> dict[str, object]:
    """Give the JSON twin of a book; without a market `no_proof` tells why there are no statistics."""
    if market is None:
        return report_data(book, run, None, Extras(references=notes.references, no_proof=no_proof))
    proof = prove(
        book,
        market.bars,
        market.settings,
        seed=market.seed,
        trials=market.trials,
        given=Given(
            symbols=_traded(run, market),
            notes=notes,
            later=market.later,
            runs=market.settings.backtest.random_entry_runs,
        ),
    )
    extras = Extras(references=notes.references, excursions=excursions(book.closed, market.bars))
    return report_data(book, run, proof.as_dict(), extras)


def write_report(data: Mapping[str, object], out: Path) -> tuple[Path, Path]:
    """Write the page and, beside it, its twin with the ending `.json`; gives both paths."""
    return write_files(data, report_html(data), out)


def write_files(data: Mapping[str, object], page: str, out: Path) -> tuple[Path, Path]:
    """Write a page and, beside it, what it was drawn from; gives both paths."""
    out.parent.mkdir(parents=True, exist_ok=True)
    twin = out.with_suffix(".json")
    twin.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    out.write_text(page, encoding="utf-8")
    return out, twin


def _traded(run: RunCard, market: Market) -> tuple[Symbol, ...]:
    return tuple(symbol for symbol in map(Symbol, run.symbols) if symbol in market.bars)
