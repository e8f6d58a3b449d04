"""The public site: a fixed table of files, read once; no path is ever built from a request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from public_api.access import ASSETS, FAVICON, SITE

FOLDER = Path(__file__).with_name("site")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_PLACES = {"index.html": SITE, "favicon.ico": FAVICON}


@dataclass(frozen=True, slots=True)
class SiteFile:
    """One file of the site as it is sent."""

    body: bytes
    media_type: str
    tag: str


def site_files(folder: Path = FOLDER) -> Mapping[str, SiteFile]:
    """Give the files by the path they are served under; empty without the folder."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        _PLACES.get(path.name, f"{ASSETS}{path.name}"): _file(path)
        for path in found
        if path.is_file() and path.suffix in _TYPES
    }


def _file(path: Path) -> SiteFile:
    body = path.read_bytes()
    return SiteFile(body, _TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:24]}"')
