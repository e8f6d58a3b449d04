"""The public page brings all it needs itself and never treats data as markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SITE = Path(__file__).resolve().parents[3] / "public_api" / "site"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(SITE.iterdir()) if path.suffix != ".ico"}
SCRIPTS = sorted(name for name in TEXTS if name.endswith(".js"))
NAMESPACE = "http://www.w3.org/2000/svg"
ROUTES = {
    "/ws/predictions",
    "/ws/market/intelligence",
    "/api/v1/predictions",
    "/api/market/index",
    "/api/market/index/history",
    "/api/training/status",
    "/api/models",
    "/api/models/download",
    "/api/runtime/summary",
}


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in SITE.iterdir()) <= 60_000
    assert all(len(TEXTS[name]) <= 20_000 for name in SCRIPTS)


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_fetched_from_elsewhere(name: str) -> None:
    text = TEXTS[name].replace(NAMESPACE, "")
    assert re.findall(r"https?://|[\"'(]//|url\(|@import", text) == []


def test_the_page_has_no_inline_script_style_or_handler() -> None:
    page = TEXTS["index.html"]
    assert re.findall(r"\son\w+\s*=|\sstyle\s*=|<style|javascript:", page, re.IGNORECASE) == []
    assert re.findall(r"<script(?![^>]*\ssrc=)", page) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_turns_text_into_markup_or_code(name: str) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|\.style\b"
    )
    assert re.findall(forbidden, TEXTS[name]) == []
    assert re.findall(r"localStorage|sessionStorage|document\.cookie", TEXTS[name]) == []


def test_the_scripts_ask_exactly_the_routes_of_the_api() -> None:
    text = "".join(TEXTS[name] for name in SCRIPTS)
    assert set(re.findall(r"[\"'`](/(?:api|ws)/[a-z0-9/]+)", text)) == ROUTES


def test_every_place_the_scripts_write_to_is_on_the_page() -> None:
    text = "".join(TEXTS[name] for name in SCRIPTS)
    wanted = set(re.findall(r"\b(?:at|tiles|note|strip|badge|fill)\(\"([\w-]+)\"", text))
    assert wanted <= set(re.findall(r"\sid=\"([\w-]+)\"", TEXTS["index.html"]))


def test_every_file_the_page_names_is_there() -> None:
    named = set(re.findall(r"\"(?:/assets|\.)/([\w.]+)\"", "".join(TEXTS.values())))
    assert named == set(TEXTS) - {"index.html"}
