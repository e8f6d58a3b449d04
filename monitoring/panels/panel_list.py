"""The panels in the order a trader asks for them, each imported when first drawn, so that one cannot break all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from monitoring.desk import Desk

Draw = Callable[[Desk], None]


@dataclass(frozen=True, slots=True)
class Panel:
    """A page: its name in the URL, title, and the question it answers."""

    name: str
    title: str
    question: str


PANELS = (
    Panel("overview", "Overview", "Am I losing, and against what? Why no trade?"),
    Panel("positions", "Positions", "Is each one protected, how far is it to the exits?"),
    Panel("opportunities", "Opportunities", "What does it see?"),
    Panel("trades", "Trades", "Where does the money go?"),
    Panel("models", "Models", "Which symbols may trade, and why not the others?"),
    Panel("metrics", "Metrics", "Is the machine healthy?"),
    Panel("risk_flags", "Risk flags", "What would stop us, how close is it?"),
    Panel("cycle_feed", "Cycle feed", "What just happened?"),
)
BY_NAME = {panel.name: panel for panel in PANELS}


def drawing_of(name: str) -> Draw:
    """Give the function that draws a panel; raises `ImportError` or `AttributeError` for a broken one."""
    return cast("Draw", import_module(f"monitoring.panels.{name}").draw)
