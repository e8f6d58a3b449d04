"""The dialect behind an unreliable line: carries out what a fault plan decides and says what the line has to do.

Nothing here waits. Requests that reach the venue late are kept and carried out by `tick` when their time has come.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

from public_api.sandbox import answers
from public_api.sandbox.dialect import Dialect
from public_api.sandbox.faults import Fault, FaultKind, FaultPlan
from public_api.sandbox.requests import Parameters, Request, Response

_NOT_FOUND: answers.Row = {"code": -2013, "msg": "Order does not exist."}
_TIMEOUT: answers.Row = {
    "code": -1007,
    "msg": "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
}
_BUS_ERROR: answers.Row = {
    "code": -1006,
    "msg": "An unexpected response was received from the message bus. Execution status unknown.",
}
_OVERLOADED: answers.Row = {
    "code": -1008,
    "msg": "Server is currently overloaded with other requests. Please try again in a few minutes.",
}


class Drop(Enum):
    """When the connection breaks: before the venue saw the request, or after it was carried out."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Transmission:
    """What the line does: wait `delay_ms`, then break without an answer (`drop`), or send `response`.

    `cut_at`: send the headers for the whole body but only that many bytes of it, then break.
    """

    response: Response
    drop: Drop | None = None
    delay_ms: int = 0
    cut_at: int | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class _Late:
    request: Request
    received_ms: int
    due_ms: int


class UnreliableLine:
    """Takes requests for a dialect. Times given are true ones; the venue's own clock is `offset_ms` ahead of them."""

    def __init__(self, dialect: Dialect, plan: FaultPlan | None = None) -> None:
        """Put a plan before a dialect."""
        self.dialect = dialect
        self.plan = plan or FaultPlan()
        self.offset_ms = 0
        self._late: list[_Late] = []
        self._lagging: dict[tuple[str, str], int] = {}
        self._stale: dict[str, str] = {}
        self._stale_left = 0

    def venue_ms(self, now_ms: int) -> int:
        """Give the venue's clock."""
        return now_ms + self.offset_ms

    def tick(self, now_ms: int) -> None:
        """Carry out requests that were under way until now; nobody hears their answers."""
        due = [late for late in self._late if late.due_ms <= self.venue_ms(now_ms)]
        self._late = [late for late in self._late if late.due_ms > self.venue_ms(now_ms)]
        for late in sorted(due, key=lambda late: late.due_ms):
            self.dialect.handle(late.request, late.received_ms, engine_ms=late.due_ms)

    def transmit(self, request: Request, now_ms: int) -> Transmission:
        """Carry a request to the venue and its answer back, with what goes wrong on the way."""
        self.tick(now_ms)
        fault = self.plan.decide(request)
        if fault is None:
            return Transmission(self._answer(request, now_ms))
        if fault.kind in _BEFORE:
            return Transmission(_BEFORE[fault.kind], fault=fault)
        if fault.kind is FaultKind.DROP_BEFORE:
            return Transmission(answers.raw_json(200, ""), drop=Drop.BEFORE, fault=fault)
        if fault.kind is FaultKind.LATE:
            received = self.venue_ms(now_ms)
            self._late.append(_Late(request, received, received + fault.amount))
            return Transmission(answers.raw_json(200, ""), drop=Drop.AFTER, delay_ms=fault.amount, fault=fault)
        return self._after(request, now_ms, fault)

    def _after(self, request: Request, now_ms: int, fault: Fault) -> Transmission:
        self._prepare(request, now_ms, fault)
        response = self._answer(request, now_ms)
        if fault.kind is FaultKind.TWICE:
            self._answer(request, now_ms)
        if fault.kind is FaultKind.LAG:
            self._lag(request, response, fault.amount)
        replaced = _AFTER.get(fault.kind)
        return Transmission(
            response if replaced is None else replaced,
            drop=Drop.AFTER if fault.kind is FaultKind.DROP_AFTER else None,
            delay_ms=fault.amount if fault.kind is FaultKind.DELAY else 0,
            cut_at=_cut(response, fault),
            fault=fault,
        )

    def _prepare(self, request: Request, now_ms: int, fault: Fault) -> None:
        if fault.kind is FaultKind.CLOCK_JUMP:
            self.offset_ms = fault.amount
        elif fault.kind is FaultKind.BURST_429:
            self.dialect.meter(request.address).stop_until(self.venue_ms(now_ms) + fault.amount)
        elif fault.kind is FaultKind.STALE_OPEN_ORDERS:
            self._stale = self.dialect.open_order_bodies()
            self._stale_left = fault.amount

    def _answer(self, request: Request, now_ms: int) -> Response:
        response = self.dialect.handle(request, self.venue_ms(now_ms))
        if request.method != "GET" or response.status != 200:
            return response
        if request.path == "/api/v3/order":
            return self._lagged(request, response)
        if request.path == "/api/v3/openOrders" and self._stale_left:
            self._stale_left -= 1
            name = Parameters(request.query).text("symbol") or ""
            return Response(200, response.headers, self._stale.get(name, "[]"))
        return response

    def _lag(self, request: Request, response: Response, queries: int) -> None:
        if response.status != 200:
            return
        for name in _client_ids(response):
            self._lagging[(request.address, name)] = queries

    def _lagged(self, request: Request, response: Response) -> Response:
        for name in _client_ids(response):
            left = self._lagging.get((request.address, name), 0)
            if left:
                self._lagging[(request.address, name)] = left - 1
                hidden = answers.json_response(400, _NOT_FOUND)
                return Response(400, {**response.headers, **hidden.headers}, hidden.body)
        return response


def _client_ids(response: Response) -> list[str]:
    payload = json.loads(response.body)
    rows = payload.get("orderReports", [payload]) if isinstance(payload, dict) else []
    replaced = payload.get("newOrderResponse") if isinstance(payload, dict) else None
    rows = [*rows, replaced] if isinstance(replaced, dict) else rows
    return [str(row["clientOrderId"]) for row in rows if "clientOrderId" in row]


def _cut(response: Response, fault: Fault) -> int | None:
    if fault.kind is not FaultKind.CUT:
        return None
    return len(response.body.encode()) * fault.amount // 1000


_UNKNOWN = answers.raw_json(503, answers.UNKNOWN_ERROR)
_BEFORE = {
    FaultKind.UNAVAILABLE: answers.page(503, answers.SERVICE_UNAVAILABLE),
    FaultKind.OVERLOADED: answers.json_response(503, _OVERLOADED),
    FaultKind.UNKNOWN_BEFORE: _UNKNOWN,
    FaultKind.TIMEOUT_BEFORE: answers.json_response(504, _TIMEOUT),
    FaultKind.FORBIDDEN: answers.page(403, answers.FORBIDDEN),
    FaultKind.BAD_GATEWAY_BEFORE: answers.page(502, answers.BAD_GATEWAY),
}
_AFTER = {
    FaultKind.UNKNOWN_AFTER: _UNKNOWN,
    FaultKind.TIMEOUT_AFTER: answers.json_response(504, _TIMEOUT),
    FaultKind.BUS_ERROR_AFTER: answers.json_response(500, _BUS_ERROR),
    FaultKind.EMPTY: answers.raw_json(200, ""),
    FaultKind.BAD_GATEWAY_AFTER: answers.page(502, answers.BAD_GATEWAY),
}
