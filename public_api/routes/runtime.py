"""The bot itself: summary, account, positions, trades, training."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from monitoring.plain_values import instant, mapping, number, sequence
from public_api.ages import Age, is_synthetic, last_sign, scan_limit_s
from public_api.book_queries import Glance, Row, Rows, TradeWish
from public_api.paging import Limit, Offset, Page, Since, SymbolName, Until, span_of, symbol_of
from public_api.position_figures import position_row
from public_api.routes.registering import register
from public_api.scan_rows import signals_of
from public_api.schemas import (
    AccountAnswer,
    Heartbeat,
    LastScan,
    PositionsAnswer,
    SummaryAnswer,
    TradeRow,
    TradesAnswer,
    TrainingAnswer,
)
from public_api.schemas_base import fitted
from public_api.service import UNSTORED, Service, service_of

router = APIRouter(tags=["runtime"])

PositionStatus = Annotated[Literal["open", "closed", "all"], Query(description="which positions")]
SideName = Annotated[Literal["BUY", "SELL"] | None, Query(description="one side")]
ModeName = Annotated[str | None, Query(pattern="^[a-z]{1,16}$", description="one mode: paper, live, ...")]
_FIGURES = (
    "total_capital",
    "active_capital",
    "equity",
    "daily_pnl_pct",
    "weekly_pnl_pct",
    "drawdown_pct",
    "exposure_pct",
)


async def summary(request: Request) -> Response:
    """The bot at a glance: mode, control state, heartbeat, capital, profit, positions, last scan, funnel, alerts."""
    service = service_of(request)
    return await service.answer(request, lambda now: summary_at(service, now))


async def account(request: Request) -> Response:
    """The account as of the last cycle."""
    service = service_of(request)
    return await service.answer(request, lambda now: account_at(service, now))


async def positions(
    request: Request, status: PositionStatus = "open", limit: Limit = None, offset: Offset = 0
) -> Response:
    """The last position of each symbol with its present price, unrealized result, distances to the exits and age."""
    service = service_of(request)
    page = service.page(limit, offset)

    def build(now: datetime) -> PositionsAnswer:
        found = service.book.positions(status, page)
        scan = found.kept["latest_scan"]
        rows = [position_row(row, scan, now) for row in found.rows]
        return PositionsAnswer.model_validate({**listed(found, page, now), "rows": rows})

    return await service.answer(request, build)


async def trade_wish(
    symbol: SymbolName = None,
    side: SideName = None,
    mode: ModeName = None,
    since: Since = None,
    until: Until = None,
) -> TradeWish:
    """Give what the parameters ask for."""
    return TradeWish(symbol_of(symbol), side, mode, *span_of(since, until))


async def trades(
    request: Request, wish: Annotated[TradeWish, Depends(trade_wish)], limit: Limit = None, offset: Offset = 0
) -> Response:
    """The trades, the newest first."""
    service = service_of(request)
    page = service.page(limit, offset)

    def build(now: datetime) -> TradesAnswer:
        found = service.book.trades(wish, page)
        rows = [fitted(TradeRow, row) for row in found.rows]
        return TradesAnswer.model_validate({**listed(found, page, now), "rows": rows})

    return await service.answer(request, build)


async def training_status(request: Request) -> Response:
    """How training stands."""
    service = service_of(request)

    def build(now: datetime) -> TrainingAnswer:
        kept = service.book.values("training_status", "heartbeat", "loop_beat")
        record = kept["training_status"]
        silent = Age(now, last_sign(kept)).is_stale
        age = Age(now, instant(record.get("updated_at")))
        return fitted(TrainingAnswer, {**record, **age.fields(), "stale": silent})

    return await service.answer(request, build, control=UNSTORED)


def summary_at(service: Service, now: datetime) -> SummaryAnswer:
    """Give the bot at a glance as of `now`."""
    seen = service.book.glance("account_state", "heartbeat", "loop_beat", "latest_scan", "book_identity")
    figures = seen.kept["account_state"]
    source = seen.cycle.get("data_source") or seen.kept["latest_scan"].get("data_source")
    age = Age(now, last_sign(seen.kept))
    return fitted(
        SummaryAnswer,
        {
            **age.fields(),
            **{name: figures.get(name) for name in _FIGURES},
            "mode": seen.cycle.get("mode") or seen.kept["book_identity"].get("mode"),
            "data_source": source,
            "synthetic": is_synthetic(source),
            "control_state": seen.control.get("state"),
            "control_reason": seen.control.get("reason"),
            "heartbeat": Heartbeat(at=age.text, age_sec=age.seconds, cycle=_cycle(seen)),
            "quote_asset": figures.get("exchange_quote_asset"),
            "open_positions": seen.open_positions,
            "total_trades": seen.trades,
            "total_cycles": _cycle(seen) or 0,
            "last_scan": _last_scan(service, seen.kept["latest_scan"], now),
            "funnel": _funnel(seen.cycle),
            "alerts": seen.alerts,
        },
    )


def account_at(service: Service, now: datetime) -> AccountAnswer:
    """Give the account as of `now`."""
    kept = service.book.values("account_state", "heartbeat", "loop_beat")
    record = kept["account_state"]
    age = Age(now, instant(record.get("at")))
    return fitted(AccountAnswer, {**record, **age.fields()})


def listed(found: Rows, page: Page, now: datetime) -> dict[str, object]:
    """Give the fields of a list about the book."""
    return {
        **Age(now, last_sign(found.kept)).fields(),
        "total_rows": found.total,
        "returned_rows": len(found.rows),
        "next_offset": page.next_offset(found.total),
    }


def _last_scan(service: Service, scan: Row, now: datetime) -> LastScan:
    age = Age(now, instant(scan.get("at")), scan_limit_s(service.settings))
    rows = [mapping(row) for row in sequence(scan.get("rows"))]
    return fitted(
        LastScan, {"at": scan.get("at"), "age_sec": age.seconds, "rows": len(rows), "signals": signals_of(rows)}
    )


def _cycle(seen: Glance) -> int | None:
    counted = number(seen.kept["heartbeat"].get("cycle"))
    return int(counted) if counted == counted else None


def _funnel(cycle: Mapping[str, object]) -> dict[str, int]:
    return {name: count for name, count in mapping(cycle.get("funnel")).items() if isinstance(count, int)}


register(router, ("/api/runtime/summary", "/api/v1/summary"), summary, SummaryAnswer)
register(router, ("/api/runtime/account", "/api/v1/account"), account, AccountAnswer)
register(router, ("/api/runtime/positions", "/api/v1/positions"), positions, PositionsAnswer)
register(router, ("/api/runtime/trades", "/api/v1/trades"), trades, TradesAnswer)
register(router, ("/api/training/status", "/api/v1/training/status"), training_status, TrainingAnswer)
