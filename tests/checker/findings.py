"""What a check of the books needs to know of a configuration, and what it found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bn_ml.config import load_settings
from bn_ml.settings import OrdersSettings, RiskSettings, Settings

SHOWN_PER_RULE = 10
LIVE_GRACE_MS = 5000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run. `grace_ms` is how long a fill may wait for its stop, 0 where time stands still."""

    risk: RiskSettings
    orders: OrdersSettings
    quote: str
    grace_ms: int

    @classmethod
    def of(cls, config_path: Path) -> Limits:
        """Read the configuration file of a run; keys it does not hold have their defaults."""
        return cls.from_settings(load_settings(config_path, environ={}).settings)

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """Take the limits of checked settings."""
        is_replay = settings.data.paper_market_data_mode == "replay"
        return cls(settings.risk, settings.exchange.orders, settings.base_quote, 0 if is_replay else LIVE_GRACE_MS)


@dataclass(frozen=True, slots=True)
class Findings:
    """Every violation found (at most ten per rule are spelled out) and the figures of the run.

    `days` holds the UTC days on which cycles ended.
    """

    violations: tuple[str, ...]
    figures: dict[str, object]
    closed_positions: int
    days: frozenset[str]

    def ran_through(self, day: str) -> bool:
        """Whether cycles ended on a UTC day written `2023-06-10`."""
        return day in self.days


@dataclass
class Complaints:
    """Collects violations by rule."""

    counts: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def add(self, rule: str, text: str) -> None:
        """Note that a rule was broken."""
        self.counts[rule] += 1
        if self.counts[rule] <= SHOWN_PER_RULE:
            self.lines.append(f"{rule}: {text}")

    def demand(self, rule: str, holds: bool, text: str) -> None:
        """Note that a rule was broken unless it holds."""
        if not holds:
            self.add(rule, text)

    def equal(self, rule: str, where: str, found: object, expected: object) -> None:
        """Note that something is not what it has to be."""
        if found != expected:
            self.add(rule, f"{where}: {found!r}, expected {expected!r}")

    def result(self) -> tuple[str, ...]:
        """Give all lines, with a last one per rule that has more than are shown."""
        more = [f"{rule}: {n - SHOWN_PER_RULE} more" for rule, n in self.counts.items() if n > SHOWN_PER_RULE]
        return (*self.lines, *more)


def near(left: float, right: float, scale: float = 1.0, tolerance: float = 1e-9) -> bool:
    """Whether two numbers are equal but for rounding, measured against a scale."""
    return abs(left - right) <= tolerance * max(abs(left), abs(right), abs(scale))
