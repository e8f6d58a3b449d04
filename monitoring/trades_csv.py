"""The blotter as a CSV file for a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from bn_ml.domain.market import iso
from monitoring.views_trades import TradeLine

CSV_COLUMNS = (
    "at_utc",
    "symbol",
    "side",
    "reason",
    "quantity_base",
    "price_quote",
    "size_quote",
    "fee",
    "fee_asset",
    "fee_quote",
    "slippage_frac",
    "slippage_quote",
    "pnl_quote",
    "pnl_frac",
    "held_s",
    "expected_net_frac",
    "confidence",
    "bundle_version",
    "mode",
    "data_source",
    "trade_id",
    "order_id",
)
_RISKY_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_bytes(lines: Iterable[TradeLine]) -> bytes:
    """Write lines as CSV in UTF-8: one header, a number nobody knows is an empty cell, texts begin no formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(_csv_cells(line) for line in lines)
    return text.getvalue().encode()


def csv_name(lines: Sequence[TradeLine], now: datetime) -> str:
    """Name a download after what it holds: the modes and the sources of its trades, and the instant it was made.

    An invented or replayed price is seen in the name.
    """
    modes = sorted({line.mode for line in lines if line.mode})
    sources = sorted({line.data_source for line in lines if line.data_source})
    words = ["bnml_trades", *modes, *sources, now.strftime("%Y%m%dT%H%M%SZ")]
    kept = "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in "_".join(words))
    return f"{kept[:160]}.csv"


def _csv_cells(line: TradeLine) -> list[str]:
    return [
        iso(line.at),
        _harmless(str(line.symbol)),
        _harmless(line.side),
        _harmless(line.reason),
        *(_cell(value) for value in (line.quantity, line.price, line.size_quote, line.fee)),
        _harmless(line.fee_asset),
        *(_cell(value) for value in (line.fee_quote, line.slippage_frac, line.slippage_quote, line.pnl_quote)),
        *(_cell(value) for value in (line.pnl_frac, line.held_s, line.expected_frac, line.confidence)),
        *(_harmless(text) for text in (line.bundle_version, line.mode, line.data_source)),
        str(line.id),
        _harmless(line.order_id),
    ]


def _cell(value: float) -> str:
    return f"{value:.10g}" if math.isfinite(value) else ""


def _harmless(text: str) -> str:
    """Keep a spreadsheet from taking a text for a formula."""
    return f"'{text}" if text.startswith(_RISKY_STARTS) else text
