"""Metrics for Prometheus: the API's own and those of the bot."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from bn_ml.state_reader import StateReader
from monitoring.exposition import CONTENT_TYPE
from monitoring.metrics import metrics_text
from public_api.routes.registering import register
from public_api.service import Service, service_of

router = APIRouter(tags=["metrics"])


async def metrics(request: Request) -> Response:
    """All metrics as Prometheus text; without a database those of the bot are NaN or missing."""
    service = service_of(request)
    text = await run_in_threadpool(bot_metrics, service, service.clock.now())
    return Response(service.metrics.text() + text, 200, {"cache-control": "no-store", "content-type": CONTENT_TYPE})


def bot_metrics(service: Service, now: datetime) -> str:
    """Give the bot's metrics as of `now`."""
    return metrics_text(StateReader(service.database), now)


register(router, ("/api/metrics", "/metrics"), metrics, None, content="text/plain")
