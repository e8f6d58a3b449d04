"""Bodies and statuses in the venue's own form: JSON, its error objects, and the HTML pages of its edge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

from bn_ml.venue.errors import VenueError
from public_api.sandbox.requests import Response

Json = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None
Row = dict[str, Json]

_STATUS = {
    -1002: 401,
    -1003: 429,
    -1006: 500,
    -1007: 504,
    -1008: 503,
    -1015: 429,
    -2014: 401,
    -2015: 401,
    -2021: 409,
}
_BASE_HEADERS = {"Server": "nginx", "Cache-Control": "no-cache, no-store, must-revalidate"}
_JSON = {**_BASE_HEADERS, "Content-Type": "application/json;charset=UTF-8"}
_HTML = {**_BASE_HEADERS, "Content-Type": "text/html"}

FORBIDDEN = "<html><head><title>403 Forbidden</title></head><body><center><h1>403 Forbidden</h1></center></body></html>"
BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head></html>"
UNKNOWN_ERROR = '{"msg":"Unknown error, please check your request or try again later."}'
SERVICE_UNAVAILABLE = "Service Unavailable."


class Refusal(VenueError):
    """A refusal that carries more than code and text: `data` beside them, or further headers."""

    def __init__(
        self, code: int, text: str, *, data: Json = None, headers: Mapping[str, str] | None = None, status: int = 0
    ) -> None:
        """Keep the further parts; `status` 0 stands for the code's usual one."""
        super().__init__(code, text)
        self.data = data
        self.headers = dict(headers or {})
        self.status = status or status_of(code)


def status_of(code: int) -> int:
    """Give the HTTP status an error code usually comes with."""
    return _STATUS.get(code, 400)


def answer(payload: Json) -> Response:
    """Give a 200 with a JSON body."""
    return json_response(200, payload)


def error(refusal: VenueError) -> Response:
    """Give the error object of a refusal."""
    body: Row = {"code": refusal.code, "msg": refusal.text}
    if isinstance(refusal, Refusal):
        if refusal.data is not None:
            body["data"] = refusal.data
        return json_response(refusal.status, body, refusal.headers)
    return json_response(status_of(refusal.code), body)


def json_response(status: int, payload: Json, headers: Mapping[str, str] | None = None) -> Response:
    """Give a JSON body as compact UTF-8."""
    return Response(
        status, {**_JSON, **(headers or {})}, json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    )


def raw_json(status: int, body: str) -> Response:
    """Give a body that is sent as JSON whatever it holds."""
    return Response(status, dict(_JSON), body)


def page(status: int, body: str) -> Response:
    """Give an HTML page of the edge."""
    return Response(status, dict(_HTML), body)


def gone() -> Response:
    """Give the page of an endpoint that was taken away."""
    return page(410, _nginx("410 Gone"))


def not_found() -> Response:
    """Give the page of a path that never was."""
    return page(404, _nginx("404 Not Found"))


def money(amount: Decimal) -> str:
    """Write an amount with the venue's 8 decimals.

    >>> money(Decimal("1.5"))
    '1.50000000'
    """
    return f"{amount:.8f}"


def _nginx(title: str) -> str:
    return (
        f"<html>\n<head><title>{title}</title></head>\n<body>\n<center><h1>{title}</h1></center>\n"
        "<hr><center>nginx</center>\n</body>\n</html>\n"
    )
