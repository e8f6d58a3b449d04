"""The market's mood as lists and messages show it: the newest reading, and one row for each cycle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from bn_ml.settings import Settings
from monitoring.plain_values import instant, mapping, number, sequence
from public_api.ages import Age, mood_limit_s
from public_api.book_queries import Rows
from public_api.paging import Page
from public_api.schemas_base import fitted
from public_api.schemas_market import IndexAnswer, IndexHistoryAnswer, IndexRow, IntelligenceAnswer

Row = Mapping[str, object]
_PREFIX = "market_intelligence_"


def index_now(reading: Row, now: datetime, settings: Settings) -> IndexAnswer:
    """Give the market index of the newest reading (the keyed value `santrade_intelligence`)."""
    fields = {**reading, "signal": reading.get("market_signal"), **_age(reading, now, settings).fields()}
    return fitted(IndexAnswer, fields)


def intelligence(reading: Row, now: datetime, settings: Settings) -> IntelligenceAnswer:
    """Give the whole reading; `enabled: false` and nothing else without one."""
    shown = reading if reading.get("enabled") is True else {"enabled": False}
    return fitted(IntelligenceAnswer, {**shown, **_age(reading, now, settings).fields()})


def history(found: Rows, page: Page, now: datetime, settings: Settings) -> IndexHistoryAnswer:
    """Give the index over time; each row is what one cycle knew."""
    reading = found.kept["santrade_intelligence"]
    latest = _latest(reading)
    return IndexHistoryAnswer.model_validate(
        {
            **_age(reading, now, settings).fields(),
            "total_rows": found.total,
            "returned_rows": len(found.rows),
            "next_offset": page.next_offset(found.total),
            "rows": [_row(row, latest if place + page.offset == 0 else None) for place, row in enumerate(found.rows)],
            "latest": latest,
        }
    )


def _age(reading: Row, now: datetime, settings: Settings) -> Age:
    return Age(now, instant(reading.get("timestamp")), mood_limit_s(settings))


def _latest(reading: Row) -> IndexRow | None:
    if reading.get("enabled") is not True or not isinstance(reading.get("timestamp"), str):
        return None
    symbols = len(sequence(reading.get("contributing_symbols")))
    return fitted(
        IndexRow,
        {**reading, "ts": reading["timestamp"], "signal": reading.get("market_signal"), "symbols": symbols},
    )


def _row(row: Row, latest: IndexRow | None) -> IndexRow:
    """Give a cycle's row; what no cycle keeps is taken from the newest reading when it is the same one."""
    data = mapping(row.get("data"))
    score = number(data.get(f"{_PREFIX}score"))
    known = {name: data.get(f"{_PREFIX}{name}") for name in ("confidence", "signal", "profile")}
    is_latest = latest is not None and latest.market_score == score
    return fitted(
        IndexRow,
        {
            **known,
            "ts": row.get("ts"),
            "market_score": None if math.isnan(score) else score,
            "index_value": None if math.isnan(score) else 50.0 * (1.0 + score),
            "market_regime": data.get(f"{_PREFIX}regime"),
            "probas": latest.probas if latest is not None and is_latest else None,
            "symbols": latest.symbols if latest is not None and is_latest else None,
        },
    )
