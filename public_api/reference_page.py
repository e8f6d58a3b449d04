"""The OpenAPI document as one page that needs nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape

from monitoring.plain_values import mapping, sequence

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-family:ui-monospace,monospace}table{border-collapse:collapse;width:100%}"
    "td,th{border:1px solid #999;padding:.3rem .6rem;text-align:left;vertical-align:top}"
)


def reference_page(document: Mapping[str, object]) -> tuple[bytes, str]:
    """Give the page and the content policy it needs."""
    facts = mapping(document.get("info"))
    title = escape(str(facts.get("title")))
    rows = "".join(_rows(document))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title} {escape(str(facts.get('version')))}</h1><p>{escape(str(facts.get('description')))}</p>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a></p>'
        f"<table><thead><tr><th>Route<th>Answer<th>Parameters</thead><tbody>{rows}</tbody></table></html>"
    )
    mark = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return page.encode(), f"default-src 'none'; style-src 'sha256-{mark}'; base-uri 'none'; frame-ancestors 'none'"


def _rows(document: Mapping[str, object]) -> Iterator[str]:
    for path, methods in sorted(mapping(document.get("paths")).items()):
        asked = mapping(mapping(methods).get("get"))
        parameters = "<br>".join(_parameter(mapping(item)) for item in sequence(asked.get("parameters")))
        said = escape(str(asked.get("description", "")))
        yield f"<tr><td><code>{escape(path)}</code><td>{said}<td>{parameters}"


def _parameter(item: Mapping[str, object]) -> str:
    return f"<code>{escape(str(item.get('name')))}</code> {escape(str(item.get('description', '')))}"
