"""How a route is registered: under each of its names, with the errors it may answer and an id for generated clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from public_api.refusals import ErrorAnswer

_WORDS = {
    304: "the caller has this answer already (If-None-Match)",
    400: "foreign host name, or a bad key",
    401: "a token is needed, or the one given is wrong",
    403: "the calling page may not call",
    404: "there is none",
    405: "only GET and HEAD",
    422: "a parameter outside its range",
    429: "too many requests, see Retry-After",
    500: "an error of the server",
    503: "no data source, see Retry-After",
}


def register(
    router: APIRouter,
    paths: Sequence[str],
    endpoint: Callable[..., object],
    model: type[BaseModel] | None,
    *,
    also: Sequence[int] = (),
    content: str = "",
) -> None:
    """Register an endpoint that gives a `Response` under all its names; the first is the one clients are made for.

    `content` is the media type of an answer that is no JSON; `also` are statuses beyond those of every route.
    """
    good: dict[int | str, dict[str, object]] = {200: {"description": "the answer"}}
    if content:
        good[200]["content"] = {content: {"schema": {"type": "string", "format": "binary"}}}
    for place, path in enumerate(paths):
        name = endpoint.__name__ if place == 0 else f"{endpoint.__name__}_{path.strip('/').replace('/', '_')}"
        router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            response_model=model,
            response_class=Response if content else _Json,
            responses={**good, **_errors(also)},
            operation_id=name,
            name=name,
        )


class _Json(Response):
    media_type = "application/json"


def _errors(also: Sequence[int]) -> dict[int | str, dict[str, object]]:
    common = {400, 401, 403, 405, 422, 429, 500, 503, *also}
    said: dict[int | str, dict[str, object]] = {
        status: {"model": ErrorAnswer, "description": _WORDS[status]} for status in sorted(common)
    }
    said[304] = {"description": _WORDS[304]}
    return said
