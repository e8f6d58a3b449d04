"""The bundles: their list, and their files as one zip."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError, StateError
from monitoring.plain_values import instant, mapping, number, sequence
from public_api.ages import Age
from public_api.archive import Archive
from public_api.bundle_listing import ListedBundle, bundle_keys, listed_bundle
from public_api.gate import HEAD
from public_api.paging import KEY_PATTERN
from public_api.refusals import Refusal
from public_api.routes.registering import register
from public_api.schemas import ModelRow, ModelsAnswer
from public_api.service import UNSTORED, Service, service_of

router = APIRouter(tags=["models"])
ModelKey = Annotated[str | None, Query(max_length=40, description="one bundle, such as BTC_USDC; all without it")]
DAY_S, MEGABYTE = 86_400.0, 1_000_000
MOST_DOWNLOADS = 2


async def models(request: Request) -> Response:
    """The bundles in service: versions, ages, verdicts, sizes."""
    service = service_of(request)
    return await service.answer(request, lambda now: models_at(service, now), control=UNSTORED)


async def download_models(request: Request, model_key: ModelKey = None) -> Response:
    """The files of all bundles or of one, as a zip; headers tell its files, its bytes and its SHA-256."""
    service = service_of(request)
    keys = _wanted(model_key, await run_in_threadpool(bundle_keys, service.models_dir))
    if service.downloads >= MOST_DOWNLOADS:
        raise Refusal(429, "other downloads are under way", headers={"retry-after": "10"})
    service.downloads += 1
    try:
        archive = await run_in_threadpool(Archive, service.models_dir, keys)
    except ModelError as error:
        service.downloads -= 1
        raise _unusable(error) from error
    except BaseException:
        service.downloads -= 1
        raise
    name = f"bnml-model-{model_key}.zip" if model_key else "bnml-models.zip"
    return _Download(service, archive, name, is_head=HEAD in request.scope)


def models_at(service: Service, now: datetime) -> ModelsAnswer:
    """Give the bundles in service as of `now`."""
    drifted = _drifted(service)
    bundles = [listed_bundle(service.models_dir, key) for key in bundle_keys(service.models_dir)]
    return ModelsAnswer.model_validate(
        {
            **Age(now, now).fields(),
            "total_bundles": len(bundles),
            "total_files": sum(len(bundle.files) for bundle in bundles),
            "total_size_bytes": sum(bundle.size_bytes for bundle in bundles),
            "rows": [_row(bundle, drifted, now) for bundle in bundles],
        }
    )


class _Download(StreamingResponse):
    """Sends an archive and lets go of it, also when the caller hangs up or an error ends it."""

    def __init__(self, service: Service, archive: Archive, name: str, *, is_head: bool) -> None:
        self._service, self._archive = service, archive
        headers = {
            "content-disposition": f'attachment; filename="{name}"',
            "content-length": str(archive.size_bytes),
            "x-bnml-archive-files": str(archive.files),
            "x-bnml-archive-bytes": str(archive.size_bytes),
            "x-bnml-archive-sha256": archive.sha256,
            "cache-control": "no-store",
        }
        chunks: Iterator[bytes] = iter(()) if is_head else archive.chunks()
        super().__init__(iterate_in_threadpool(chunks), 200, headers, "application/zip")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._archive.close()
            self._service.downloads -= 1


def _wanted(model_key: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Give the bundles to send; raises `Refusal`: 400 for what is no key, 404 for none."""
    if model_key is None:
        if not known:
            raise Refusal(404, "there are no bundles yet")
        return known
    if not _is_key(model_key):
        raise Refusal(400, "model_key: allowed: a name such as BTC_USDC")
    if model_key not in known:
        raise Refusal(404, "there is no such bundle")
    return (model_key,)


def _unusable(error: ModelError) -> Refusal:
    if error.reason == "too_large":
        return Refusal(400, str(error))
    return Refusal(503, "a bundle is damaged or is being replaced; try again", because=str(error))


def _is_key(text: str) -> bool:
    return re.fullmatch(KEY_PATTERN, text) is not None


def _drifted(service: Service) -> Mapping[str, object]:
    """Give what the drift watch knows of each symbol, nothing when the database cannot be read."""
    try:
        return mapping(service.book.values("drift_status")["drift_status"].get("symbols"))
    except StateError:
        return {}


def _row(bundle: ListedBundle, drifted: Mapping[str, object], now: datetime) -> ModelRow:
    told, verdict = bundle.metadata, mapping(bundle.metadata.get("tradable"))
    symbol = str(Symbol.from_key(bundle.key))
    trained = instant(told.get("trained_at"))
    age = Age(now, trained).seconds
    version = told.get("version")
    skill = number(mapping(mapping(told.get("skill")).get("report")).get("value"))
    alarm = mapping(drifted.get(symbol)).get("detected")
    reasons = [str(reason) for reason in sequence(verdict.get("reasons"))]
    return ModelRow(
        model_key=bundle.key,
        symbol=symbol,
        version=version if isinstance(version, int) else None,
        trained_at=str(told["trained_at"]) if trained else None,
        age_sec=age,
        age_days=None if age is None else round(age / DAY_S, 2),
        tradable=verdict.get("verdict") is True and not bundle.problem,
        reasons=[bundle.problem] if bundle.problem else reasons,
        skill=None if math.isnan(skill) else skill,
        drift=alarm if isinstance(alarm, bool) else None,
        file_count=len(bundle.files),
        size_bytes=bundle.size_bytes,
        size_mb=round(bundle.size_bytes / MEGABYTE, 2),
    )


register(router, ("/api/models", "/api/v1/models"), models, ModelsAnswer)
register(
    router,
    ("/api/models/download", "/api/v1/models/download"),
    download_models,
    None,
    also=(404,),
    content="application/zip",
)
