"""The newest scan as lists and messages show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings
from monitoring.plain_values import instant, mapping, sequence
from public_api.ages import Age, is_synthetic, scan_limit_s
from public_api.paging import Page
from public_api.schemas_base import Signals, fitted
from public_api.schemas_market import PredictionRow, PredictionsAnswer

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ScanWish:
    """Which rows are asked for; None means any."""

    page: Page
    signal: str | None = None
    symbol: Symbol | None = None


def predictions(scan: Row, wish: ScanWish, now: datetime, settings: Settings) -> PredictionsAnswer:
    """Give the rows of a scan (the keyed value `latest_scan`, empty before the first) that are asked for."""
    rows = [mapping(row) for row in sequence(scan.get("rows"))]
    wanted = [
        row
        for row in rows
        if wish.signal in (None, row.get("action")) and (wish.symbol is None or row.get("symbol") == str(wish.symbol))
    ]
    page = wish.page
    shown = [made for row in wanted[page.offset : page.offset + page.limit] if (made := _row(row)) is not None]
    source = scan.get("data_source")
    age = Age(now, instant(scan.get("at")), scan_limit_s(settings))
    return PredictionsAnswer.model_validate(
        {
            **age.fields(),
            "total_rows": len(wanted),
            "returned_rows": len(shown),
            "next_offset": page.next_offset(len(wanted)),
            "data_source": source if isinstance(source, str) else None,
            "synthetic": is_synthetic(source),
            "signals": signals_of(rows),
            "rows": shown,
        }
    )


def signals_of(rows: Sequence[Row]) -> Signals:
    """Count the symbols by what is shown for them."""
    said = [row.get("action") for row in rows]
    return Signals(BUY=said.count("BUY"), HOLD=said.count("HOLD"), SELL=said.count("SELL"))


def _row(row: Row) -> PredictionRow | None:
    """Give a row as shown, None for one that names no symbol."""
    try:
        return fitted(PredictionRow, row)
    except ValidationError:
        return None
