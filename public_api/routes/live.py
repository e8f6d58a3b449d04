"""The two websockets."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from fastapi import APIRouter
from starlette.websockets import WebSocket

from public_api.access import INTELLIGENCE_SOCKET, PREDICTIONS_SOCKET
from public_api.live_feed import Wish
from public_api.mood_rows import history
from public_api.paging import Limit, Page, SymbolName, symbol_of
from public_api.routes.market import SignalName
from public_api.scan_rows import ScanWish, predictions
from public_api.schemas_market import IndexHistoryAnswer, PredictionsAnswer
from public_api.service import service_of
from public_api.sockets import Sockets

router = APIRouter()


@router.websocket(PREDICTIONS_SOCKET)
async def predictions_socket(
    socket: WebSocket, limit: Limit = None, signal: SignalName = None, symbol: SymbolName = None
) -> None:
    """Tell the rows of the newest scan, at once and after each scan."""
    service, sockets = service_of(socket), sockets_of(socket)
    rows, only = service.page(limit).limit, symbol_of(symbol)

    def build(most: int, now: datetime) -> PredictionsAnswer:
        scan = service.book.values("latest_scan")["latest_scan"]
        return predictions(scan, ScanWish(Page(most), signal, only), now, service.settings)

    await sockets.serve(socket, sockets.feed.predictions, Wish((rows, signal, only), rows, build))


@router.websocket(INTELLIGENCE_SOCKET)
async def intelligence_socket(socket: WebSocket, limit: Limit = None) -> None:
    """Tell the market index and its history, at once and after each reading."""
    service, sockets = service_of(socket), sockets_of(socket)
    rows = service.page(limit).limit

    def build(most: int, now: datetime) -> IndexHistoryAnswer:
        page = Page(most)
        return history(service.book.moods(None, None, page), page, now, service.settings)

    await sockets.serve(socket, sockets.feed.intelligence, Wish((rows,), rows, build))


def sockets_of(socket: WebSocket) -> Sockets:
    """Give the websockets of the application."""
    return cast(Sockets, socket.app.state.sockets)
