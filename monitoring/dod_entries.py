"""Every entry against the limits, from what was owned, held and on its way at the instant it was sent.

| what | from |
|---|---|
| places, cash, what buys may still spend | orders and trades up to that instant |
| equity | what the entry was decided on; what is held is worth equity less cash |
| equity at the opening of the day | the first equity seen that day |
| planned loss | the entry's plan, or what its first stop really left to lose where that is more |
| volatility, drift | what was measured when the entry was decided |
| control state | the state it was committed under, and the one in force when it was decided |
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bn_ml.codecs import from_json
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import from_ms
from bn_ml.settings import Settings
from monitoring.dod_findings import Findings, Violation
from monitoring.dod_planned_loss import PlannedLosses
from monitoring.dod_rows import CycleFacts, IntentRow, Notes, Rows
from monitoring.dod_story import Step, StepKind, Story

ROUNDING = 1 + 1e-9
OPENING_SLACK = 0.002
TOLD_SLACK = 0.002
"""Shares of equity that prices may move between two looks of the same cycle."""

DAILY, VOLATILE, DRIFTING = "breaker_daily_loss", "breaker_volatility", "breaker_drift"
UNIT = 1e-8


@dataclass(frozen=True, slots=True)
class Means:
    """Equity an entry was decided on and the capital its shares are taken of, in the quote asset."""

    equity: float
    capital: float


@dataclass(frozen=True, slots=True)
class Buy:
    """What a violation is told of: a buy and when it was sent."""

    subject: str
    at_ms: int


@dataclass
class EntryWatcher:
    """Judges each entry as it is sent and each position as it grows; `seen` is the most places taken on the day.

    `limit` is the most positions that may be open.
    """

    findings: Findings
    rows: Rows
    settings: Settings
    limit: int
    seen: int = 0
    _planned: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _turn_equity: dict[str, float] = field(default_factory=dict)
    _notes: dict[str, Notes] = field(default_factory=dict)
    _openings: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find what each entry was decided on, and the equity the day opened with."""
        window = self.findings.window
        self._notes = dict(_notes_of(self.rows))
        self._losses = PlannedLosses(self.rows, self.settings.risk.stop_loss_pct)
        self._cycle_ends = [row.at_ms for row in self.rows.cycles]
        self._by_number = {row.facts.cycle: row.facts for row in self.rows.cycles}
        self._present = frozenset(_keys(window.begin_ms))
        opening = _opening(self.rows, self._notes)
        if opening is not None:
            self._openings[_day(window.begin)] = opening

    def before(self, step: Step, story: Story) -> None:
        """Judge an entry about to be sent."""
        if step.kind is StepKind.CYCLE_BEGAN:
            self._turn_equity.clear()
        if step.kind is StepKind.SENT and step.intent is not None and step.intent.is_entry:
            self._judge(step.intent, step, story)

    def after(self, step: Step, story: Story) -> None:
        """Count places, and the planned loss of an entry that has bought something."""
        window, places = self.findings.window, len(story.occupied())
        if window.holds(step.at_ms):
            self.seen = max(self.seen, places)
        intent = step.intent
        if intent is None or not intent.is_entry:
            return
        if step.kind is StepKind.FILLED:
            held = f"{places} held, limit {self.limit}"
            self._demand(Violation.MAX_POSITIONS, _buy(intent, step), places <= self.limit, held)
        elif step.kind is StepKind.ENDED and story.filled[intent.client_id]:
            for key in self._present.intersection(_keys(step.at_ms)):
                self._planned[key] += self._losses.planned(intent)

    def carried(self, story: Story) -> None:
        """Count what is held when the day begins, or ends, without anything happening."""
        self.seen = max(self.seen, len(story.occupied()))

    def _judge(self, intent: IntentRow, step: Step, story: Story) -> None:
        if not self.findings.window.holds(step.at_ms):
            return
        places = len(story.occupied() | {intent.symbol})
        taken = f"{places} places taken, limit {self.limit}"
        self._demand(Violation.MAX_POSITIONS, _buy(intent, step), places <= self.limit, taken)
        self._judge_control(intent, step)
        notes, cycle = self._notes.get(intent.client_id, Notes()), self._cycle_of(step)
        equity = notes.equity if notes.equity is not None else cycle.equity
        if equity is not None:
            means = Means(equity, self._capital(equity, cycle))
            self._judge_exposure(intent, step, story, means)
            self._judge_budgets(intent, step, story, means)
            self._judge_day(intent, step, equity)
        self._judge_told(_buy(intent, step), notes, cycle)

    def _judge_control(self, intent: IntentRow, step: Step) -> None:
        rows = self.rows.control
        under = next((row.state for row in rows if row.epoch == intent.epoch), "unknown")
        created = intent.created_ms
        past = [row for row in rows if row.at_ms < created or (row.at_ms == created and row.epoch <= intent.epoch)]
        present = past[-1].state if past else ControlState.NORMAL.value
        states = {under, present}
        detail = f"committed under {under}, {present} was in force"
        self._demand(Violation.CONTROL, _buy(intent, step), states == {ControlState.NORMAL.value}, detail)

    def _judge_exposure(self, intent: IntentRow, step: Step, story: Story, means: Means) -> None:
        cash = story.cash[self.settings.base_quote] * UNIT
        held = max(means.equity - cash, 0.0)
        total = held + story.may_spend() * UNIT + intent.notional * UNIT
        share = self.settings.risk.max_exposure_pct
        limit = means.capital * share
        detail = f"{total:.4f} of {means.capital:.4f} with this entry, limit {share:g} ({limit:.4f})"
        self._demand(Violation.EXPOSURE, _buy(intent, step), total <= limit * ROUNDING, detail)

    def _judge_budgets(self, intent: IntentRow, step: Step, story: Story, means: Means) -> None:
        risk = self.settings.risk
        in_flight = sum(self._losses.planned(row) for row in story.live.values() if row.is_entry)
        periods = ((Violation.DAILY_RISK, risk.max_daily_risk_pct), (Violation.WEEKLY_RISK, risk.max_weekly_risk_pct))
        for key, (violation, share) in zip(_keys(step.at_ms), periods, strict=True):
            total, limit = self._planned[key] + in_flight + self._losses.planned(intent), means.capital * share
            detail = f"{total:.4f} planned to lose in {key} with this buy, limit {share:g} ({limit:.4f})"
            self._demand(violation, _buy(intent, step), total <= limit * ROUNDING, detail)

    def check_shown_buys(self) -> None:
        """Judge what the trades that people read say of buys no order stands behind."""
        known = {row.client_id for row in self.rows.intents if row.is_entry}
        for number, trade in enumerate(self.rows.trades):
            if trade.side == "BUY" and trade.notes.client_id not in known:
                shown = Buy(f"{trade.symbol} shown trade {number}", trade.at_ms)
                self._judge_told(shown, trade.notes, self._cycle_at(trade.at_ms))

    def _judge_day(self, intent: IntentRow, step: Step, equity: float) -> None:
        """Judge the loss of the day as the first entry of the turn found it: its own costs are not in it."""
        day, limit = _day(from_ms(step.at_ms)), self.settings.risk.max_loss_per_day
        found = self._turn_equity.setdefault(day, equity) if step.cycle >= 0 else equity
        opening = self._openings.get(day, found)
        loss = 1 - found / opening if opening > 0 else 0.0
        detail = f"the day had lost {loss:.6f} of {opening:.4f}, limit {limit:g}"
        self._demand(Violation.DAILY_DRAWDOWN, _buy(intent, step), loss < limit, detail)

    def _judge_told(self, buy: Buy, notes: Notes, cycle: CycleFacts) -> None:
        """Judge what was written down when a buy was decided, and what its turn of the loop says of itself."""
        risk, breakers = self.settings.risk, self.settings.risk.circuit_breakers
        spent = (
            (Violation.DAILY_RISK, notes.daily_risk_used_pct, notes.daily_risk_with_trade_pct, risk.max_daily_risk_pct),
            (
                Violation.WEEKLY_RISK,
                notes.weekly_risk_used_pct,
                notes.weekly_risk_with_trade_pct,
                risk.max_weekly_risk_pct,
            ),
        )
        for violation, used, total, limit in spent:
            exhausted = (used is not None and used >= limit) or (total is not None and total > limit * ROUNDING)
            self._demand(violation, buy, not exhausted, f"told {used} before it and {total} with it, limit {limit:g}")
        lost, limit = -(cycle.daily_pnl_pct or 0.0), risk.max_loss_per_day
        well = lost < limit + TOLD_SLACK and DAILY not in cycle.breakers
        self._demand(Violation.DAILY_DRAWDOWN, buy, well, f"the turn says the day had lost {lost:.6f}, limit {limit:g}")
        ratio, limit = notes.market_volatility_ratio, breakers.volatility_spike_ratio
        calm = (ratio is None or not ratio > limit) and VOLATILE not in cycle.breakers
        self._demand(Violation.VOLATILITY, buy, calm, f"volatility ratio {ratio}, limit {limit:g}")
        if breakers.drift_block_enabled:
            steady = notes.market_drift_detected is not True and DRIFTING not in cycle.breakers
            self._demand(Violation.DRIFT, buy, steady, "the market was drifting")

    def _demand(self, violation: Violation, buy: Buy, holds: bool, detail: str) -> None:
        self.findings.demand(violation, buy.subject, buy.at_ms, holds=holds, detail=detail)

    def _cycle_of(self, step: Step) -> CycleFacts:
        """Give what the turn an entry was made in says of itself, told when it ended."""
        by_number = self._by_number.get(step.cycle)
        return self._cycle_at(step.at_ms) if by_number is None else by_number

    def _cycle_at(self, at_ms: int) -> CycleFacts:
        """Give what the first cycle that ended at or after an instant says."""
        place = bisect_left(self._cycle_ends, at_ms)
        return self.rows.cycles[place].facts if place < len(self.rows.cycles) else CycleFacts()

    def _capital(self, equity: float, cycle: CycleFacts) -> float:
        """Give what shares are taken of: equity, with real money never more than the ceilings."""
        risk = self.settings.risk
        if cycle.mode != "live":
            return max(equity, 0.0)
        ceiling = risk.max_live_capital_usdt
        if risk.capital_total != "auto":
            ceiling = min(ceiling, float(risk.capital_total))
        return max(min(equity, ceiling), 0.0)


def _buy(intent: IntentRow, step: Step) -> Buy:
    return Buy(f"{intent.symbol} {intent.client_id}", step.at_ms)


def _notes_of(rows: Rows) -> Iterator[tuple[str, Notes]]:
    """Give, by entry order, what was measured when it was decided: its plan, or the trade where that is gone."""
    from_trades: dict[str, Notes] = {}
    for trade in rows.trades:
        if trade.side == "BUY":
            from_trades.setdefault(trade.notes.client_id, trade.notes)
    for intent in rows.intents:
        if intent.is_entry:
            yield intent.client_id, from_trades.get(intent.client_id) or _planned_notes(rows, intent)


def _planned_notes(rows: Rows, intent: IntentRow) -> Notes:
    plan = rows.plans.get(intent.position_id)
    return Notes() if plan is None else from_json(Notes, plan.notes)


def _opening(rows: Rows, notes: Mapping[str, Notes]) -> float | None:
    """Give the equity the day opened with: the first one seen, or what the first cycle reckons with when they agree."""
    seen = [(row.at_ms, row.facts.equity) for row in rows.cycles if row.facts.equity is not None]
    if rows.cycles:
        begin_ms = min(row.at_ms for row in rows.cycles)
        sent = {row.client_id: row.created_ms for row in rows.intents if row.is_entry}
        day = _day(from_ms(begin_ms))
        for name, at_ms in sent.items():
            equity = notes.get(name, Notes()).equity
            if equity is not None and _day(from_ms(at_ms)) == day:
                seen.append((at_ms, equity))
    if not seen:
        return None
    first = min(seen, key=lambda item: item[0])[1]
    facts = rows.cycles[0].facts
    if facts.equity is None or facts.daily_pnl_pct is None or facts.daily_pnl_pct <= -1:
        return first
    reckoned = facts.equity / (1 + facts.daily_pnl_pct)
    return reckoned if abs(reckoned / first - 1) <= OPENING_SLACK else first


def _keys(at_ms: int) -> tuple[str, str]:
    at = from_ms(at_ms)
    year, week, _ = at.isocalendar()
    return _day(at), f"{year:04d}-W{week:02d}"


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")
