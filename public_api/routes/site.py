"""The public site and the reference page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from public_api.access import ASSETS, FAVICON, SITE
from public_api.reference_page import reference_page
from public_api.refusals import Refusal
from public_api.service import asked_of, has_tag
from public_api.site_files import POLICY, SiteFile

router = APIRouter(include_in_schema=False)


async def site(request: Request) -> Response:
    """Send a file of the site."""
    files = cast(Mapping[str, SiteFile], request.app.state.site)
    file = files.get(request.scope["path"])
    if file is None:
        raise Refusal(404, "there is nothing here")
    headers = {"etag": file.tag, "cache-control": "no-cache", "content-security-policy": POLICY}
    if has_tag(asked_of(request.scope).caller.known_tag, file.tag):
        return Response(None, 304, headers)
    return Response(file.body, 200, {**headers, "content-type": file.media_type})


async def reference(request: Request) -> Response:
    """Send the routes as a page to read; no script, nothing from elsewhere."""
    body, policy = reference_page(request.app.openapi())
    headers = {"cache-control": "no-cache", "content-security-policy": policy}
    return Response(body, 200, headers, "text/html")


for _path in (SITE, FAVICON, f"{ASSETS}{{name}}"):
    router.add_api_route(_path, site, methods=["GET"])
for _path in ("/docs", "/redoc"):
    router.add_api_route(_path, reference, methods=["GET"])
