"""The cycles of a day: how much of the day they cover, what they say is held, and where their prices came from."""

from __future__ import annotations

from dataclasses import dataclass, field

from bn_ml.domain.market import Timeframe, from_ms, iso
from bn_ml.settings import Settings
from monitoring.dod_findings import Findings, Violation, Window
from monitoring.dod_rows import CycleRow, Rows
from monitoring.dod_story import Step, StepKind, Story

REPLAY = "replay"
INVENTED = ("synthetic", "fallback")
UNIT = 1e-8
AGREEMENT = 1e-6


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the day's turns of the loop took place, of how many; a turn that ran twice counts once."""

    cycles: int
    covered: int
    expected: int

    @property
    def share(self) -> float:
        """The covered part of the day, 0 to 1."""
        return self.covered / self.expected if self.expected else 0.0


def coverage(rows: Rows, window: Window, settings: Settings) -> Coverage:
    """Compare the cycles of a day with those that its length and the configured interval make.

    A replay visits only the bars' boundaries, however short the interval is.
    """
    interval_ms = round(settings.scanner.scan_interval_sec * 1000)
    if rows.cycles and all(row.facts.data_source == REPLAY for row in rows.cycles):
        interval_ms = max(interval_ms, Timeframe(settings.model.multi_timeframe.base_timeframe).ms)
    first, last = -(-window.begin_ms // interval_ms), (window.end_ms - 1) // interval_ms
    turns = {row.at_ms // interval_ms for row in rows.cycles}
    return Coverage(len(rows.cycles), sum(first <= turn <= last for turn in turns), last - first + 1)


def check_sources(rows: Rows, findings: Findings) -> None:
    """Check that neither a cycle nor anything bought came of invented prices."""
    for row in rows.cycles:
        _check_source(findings, "cycle", row.at_ms, row.facts.data_source)
    for trade in rows.trades:
        _check_source(findings, f"{trade.side} {trade.symbol}", trade.at_ms, trade.notes.data_source)


def _check_source(findings: Findings, subject: str, at_ms: int, source: str) -> None:
    real = not any(word in source.lower() for word in INVENTED)
    detail = f"data source {source} at {iso(from_ms(at_ms))}"
    findings.demand(Violation.SYNTHETIC, subject, at_ms, holds=real, detail=detail)


@dataclass
class CycleWatcher:
    """Holds what each cycle says of places and exposure against the limits.

    Exposure above its limit is no violation where prices alone carried it there: then what is held is worth exactly
    what equity and cash leave for it, and no entry was allowed with it.
    """

    findings: Findings
    rows: Rows
    settings: Settings
    most_open: int
    _by_number: dict[int, CycleRow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index the cycles of the day."""
        self._by_number = {row.facts.cycle: row for row in self.rows.cycles}

    def before(self, step: Step, story: Story) -> None:
        """Judge the turn that has just ended."""
        row = self._by_number.pop(step.cycle, None) if step.kind is StepKind.CYCLE_ENDED else None
        if row is not None:
            self._judge(row, story)

    def after(self, step: Step, story: Story) -> None:
        """Nothing more is judged once the turn is over."""

    def finish(self) -> None:
        """Judge the cycles the journal does not tell of."""
        for row in self._by_number.values():
            self._judge(row, None)

    def _judge(self, row: CycleRow, story: Story | None) -> None:
        facts, risk = row.facts, self.settings.risk
        subject, held = f"cycle {facts.cycle}", facts.open_positions
        places = f"{held} positions open, limit {self.most_open}"
        self.findings.demand(Violation.MAX_POSITIONS, subject, row.at_ms, holds=held <= self.most_open, detail=places)
        told = facts.exposure_pct or 0.0
        inside = told <= risk.max_exposure_pct or (story is not None and self._is_market_made(row, story))
        detail = f"exposure {told:.6f} of equity, limit {risk.max_exposure_pct:g}"
        self.findings.demand(Violation.EXPOSURE, subject, row.at_ms, holds=inside, detail=detail)

    def _is_market_made(self, row: CycleRow, story: Story) -> bool:
        equity, told = row.facts.equity or 0.0, row.facts.exposure_pct or 0.0
        cash = story.cash[self.settings.base_quote] * UNIT
        worth = max(equity - cash, 0.0) + story.may_spend() * UNIT
        return abs(told * equity - worth) <= AGREEMENT * max(equity, 1.0)
