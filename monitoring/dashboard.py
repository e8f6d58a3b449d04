"""The dashboard: `streamlit run monitoring/dashboard.py -- --config PATH`. Reads the book and never writes anything."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import streamlit as st

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from bn_ml.config import load_settings  # noqa: E402
from bn_ml.errors import ConfigError, StateError  # noqa: E402
from bn_ml.settings import Settings  # noqa: E402
from monitoring.dashboard_state import BookQueries  # noqa: E402
from monitoring.panels.frame import bounded, draw_header, draw_panel, sidebar  # noqa: E402
from monitoring.panels.parts import empty, heading, html, style  # noqa: E402

HEADER_EVERY_S = 2.0


@st.cache_resource(max_entries=4)
def settings_of(config: str) -> Settings:
    """Load the settings once; raises `ConfigError`."""
    return load_settings(Path(config) if config else None, environ=dict(os.environ)).settings


@st.cache_resource(max_entries=4)
def book_at(path: str) -> BookQueries:
    """Give the one reader of a book that all viewers share."""
    return BookQueries(path)


def main() -> None:
    """Draw the page."""
    config = arguments().config
    try:
        settings = settings_of(config)
    except ConfigError as error:
        st.set_page_config("BN-ML", layout="wide")
        style()
        empty("The configuration was refused.", str(error))
        return
    wanted = settings.monitoring.dashboard
    st.set_page_config("BN-ML Trader Terminal", layout="wide" if wanted.full_screen_default else "centered")
    style()
    book = book_at(str(Path(settings.storage.sqlite_path).absolute()))
    panel, filters, look = sidebar(settings, symbols_of(book, settings))
    if not look.dark:
        html("<style>:root { --bn-gain: #1d5fc4; --bn-loss: #a85200; --bn-head: #eef1f6; }</style>")
    refresh_s = wanted.auto_refresh_sec

    @st.fragment(run_every=min(HEADER_EVERY_S, refresh_s))
    def header() -> None:
        bounded("Header", lambda: draw_header(book, settings, look))

    @st.fragment(run_every=refresh_s)
    def body() -> None:
        draw_panel(panel, book, settings, (filters, look))

    with st.container(key="header"):
        header()
    heading(panel.title, panel.question)
    with st.container(key=f"panel-{panel.name}"):
        body()


def symbols_of(book: BookQueries, settings: Settings) -> tuple[str, ...]:
    """Give the symbols that can be filtered by: those configured and those of the book."""
    try:
        seen = {str(row.symbol) for row in book.positions()}
    except StateError:
        seen = set()
    return tuple(sorted({*map(str, settings.universe.training_symbols), *seen}))


def arguments() -> argparse.Namespace:
    """Read what stands after `--` on the command line; what else stands there is not ours."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--config", default="")
    return made.parse_known_args()[0]


main()
