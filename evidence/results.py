"""What a backtest leaves for other tools: headline figures, trades and equity as CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from bn_ml.domain.market import iso
from bn_ml.domain.positions import Position
from evidence.book import Book
from evidence.headline import headline
from trader.performance import trade_return

SUMMARY, TRADES, EQUITY = "backtest_summary", "trades.csv", "equity.csv"
_TRADE_COLUMNS = (
    "position_id",
    "symbol",
    "opened_at",
    "closed_at",
    "entry_price",
    "quantity",
    "cost_quote",
    "proceeds_quote",
    "fees_quote",
    "net_quote",
    "net_return_frac",
    "close_reason",
    "legs",
    "confidence",
    "score",
    "bundle_version",
)


def write_results(folder: Path, book: Book) -> None:
    """Write `backtest_summary.{json,csv}`, `trades.csv` and `equity.csv` into a folder."""
    figures = headline(book).as_dict()
    text = json.dumps(figures, indent=1, sort_keys=True)
    (folder / f"{SUMMARY}.json").write_text(text + "\n", encoding="utf-8")
    _write_csv(folder / f"{SUMMARY}.csv", tuple(figures), [tuple(figures.values())])
    _write_csv(folder / TRADES, _TRADE_COLUMNS, map(_trade, book.closed))
    _write_csv(folder / EQUITY, ("at", "equity"), ((iso(point.at), point.equity) for point in book.curve))


def _trade(position: Position) -> tuple[object, ...]:
    closed_at = position.closed_at
    return (
        position.position_id,
        position.symbol,
        iso(position.opened_at),
        "" if closed_at is None else iso(closed_at),
        position.entry_price,
        position.initial_quantity,
        position.cost_quote,
        position.proceeds_quote,
        position.fees_quote,
        position.realized_quote,
        trade_return(position),
        "" if position.close_reason is None else position.close_reason.value,
        " ".join(leg.reason.value for leg in position.legs),
        position.confidence,
        position.score,
        position.bundle_version,
    )


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
