"""`/healthz`: whether the API has its data, cheap enough to be asked every second."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bn_ml.domain.market import iso
from bn_ml.errors import StateError
from monitoring.plain_values import instant
from public_api.access import HEALTH
from public_api.ages import Age, last_sign, scan_limit_s
from public_api.book_queries import Glance
from public_api.bundle_listing import bundle_keys
from public_api.routes.registering import register
from public_api.schemas import Health
from public_api.service import UNSTORED, Service, asked_of, service_of

router = APIRouter(tags=["health"])


async def healthz(request: Request) -> Response:
    """Tell whether the API has its data; more on this machine or with the token."""
    service, asked = service_of(request), asked_of(request.scope)
    answer = await service.answer(
        request,
        lambda now: health(service, now, in_full=asked.is_trusted, is_open=asked.version is not None),
        control=UNSTORED,
    )
    # The body says what the status says: degraded is no answer to be taken for well.
    if b'"status":"degraded"' in bytes(answer.body):
        answer.status_code = 503
        answer.headers["retry-after"] = "5"
    return answer


def health(service: Service, now: datetime, *, in_full: bool, is_open: bool) -> Health:
    """Give the state of the API as of `now`; `is_open` tells whether the database answered at all."""
    glance = _glance(service) if is_open else None
    age = Age(now, None if glance is None else last_sign(glance.kept))
    known: dict[str, object] = {"status": "degraded" if glance is None else "ok", **age.fields()}
    if not in_full:
        return Health.model_validate(known)
    scan = {} if glance is None else glance.kept["latest_scan"]
    control = {} if glance is None else glance.control
    return Health.model_validate(
        {
            **known,
            "server_time_utc": iso(now),
            "db_available": glance is not None,
            "scan_age_sec": Age(now, instant(scan.get("at")), scan_limit_s(service.settings)).seconds,
            "heartbeat_age_sec": age.seconds,
            "model_bundles": len(bundle_keys(service.models_dir)),
            "control_state": control.get("state"),
        }
    )


def _glance(service: Service) -> Glance | None:
    try:
        return service.book.glance("heartbeat", "loop_beat", "latest_scan")
    except StateError:
        return None


register(router, (HEALTH,), healthz, Health)
