"""The market: the scan's rows, the index, its history, the intelligence."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from public_api.access import INDEX, INDEX_HISTORY, INTELLIGENCE, PREDICTIONS
from public_api.mood_rows import history, index_now, intelligence
from public_api.paging import Limit, Offset, Since, SymbolName, Until, span_of, symbol_of
from public_api.routes.registering import register
from public_api.scan_rows import ScanWish, predictions
from public_api.schemas_market import IndexAnswer, IndexHistoryAnswer, IntelligenceAnswer, PredictionsAnswer
from public_api.service import service_of

router = APIRouter(tags=["market"])
SignalName = Annotated[Literal["BUY", "HOLD", "SELL"] | None, Query(description="one action")]


async def scan_predictions(
    request: Request,
    limit: Limit = None,
    offset: Offset = 0,
    signal: SignalName = None,
    symbol: SymbolName = None,
) -> Response:
    """The rows of the newest scan: opportunities first, then what was stopped, each with its reason."""
    service = service_of(request)
    wish = ScanWish(service.page(limit, offset), signal, symbol_of(symbol))

    def build(now: datetime) -> PredictionsAnswer:
        scan = service.book.values("latest_scan")["latest_scan"]
        return predictions(scan, wish, now, service.settings)

    return await service.answer(request, build)


async def market_index(request: Request) -> Response:
    """The market's mood as one number from 0 to 100."""
    service = service_of(request)

    def build(now: datetime) -> IndexAnswer:
        kept = service.book.values("santrade_intelligence")
        return index_now(kept["santrade_intelligence"], now, service.settings)

    return await service.answer(request, build)


async def market_index_history(
    request: Request, limit: Limit = None, offset: Offset = 0, since: Since = None, until: Until = None
) -> Response:
    """The market index over time, one row for each cycle, the newest first."""
    service = service_of(request)
    page, (first, last) = service.page(limit, offset), span_of(since, until)

    def build(now: datetime) -> IndexHistoryAnswer:
        return history(service.book.moods(first, last, page), page, now, service.settings)

    return await service.answer(request, build)


async def market_intelligence(request: Request) -> Response:
    """The whole reading of the market, or `enabled: false`."""
    service = service_of(request)

    def build(now: datetime) -> IntelligenceAnswer:
        kept = service.book.values("santrade_intelligence")
        return intelligence(kept["santrade_intelligence"], now, service.settings)

    return await service.answer(request, build)


register(router, (*PREDICTIONS, "/opportunities"), scan_predictions, PredictionsAnswer)
register(router, INDEX, market_index, IndexAnswer)
register(router, INDEX_HISTORY, market_index_history, IndexHistoryAnswer)
register(router, INTELLIGENCE, market_intelligence, IntelligenceAnswer)
