"""Risk limits at every entry and every fill, from what was owned, held and in flight at that place in the journal."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from tests.checker.book_rows import Book, EventRow, Facts, IntentRow, amount
from tests.checker.findings import Complaints, Limits, near
from tests.checker.story import Holding, Story

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MINUTE_MS = 60_000
ROUNDING = 1 + 1e-9
LOSS_SLACK = 0.0005
"""Breakers are judged once a cycle; the fees of entries made after that do not trip them."""


@dataclass
class LimitWatcher:
    """Recomputes each limit. Equity comes from the trade row of the entry, or the newest cycle; cash from the fills."""

    limits: Limits
    complain: Complaints
    book: Book
    max_open: int = 0
    max_exposure: float = 0.0
    max_drawdown: float = 0.0
    peak: float = 0.0
    equity: float = 0.0
    _decided: dict[str, Facts] = field(default_factory=dict)
    _day_open: dict[str, float] = field(default_factory=dict)
    _week_open: dict[str, float] = field(default_factory=dict)
    _planned: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _entries: list[IntentRow] = field(default_factory=list)
    _recent: deque[int] = field(default_factory=deque)
    _cooldown_ms: dict[str, int] = field(default_factory=dict)
    _streak: int = 0
    _paused_until_ms: int = 0

    def __post_init__(self) -> None:
        for trade in self.book.trades:
            if trade.side == "BUY":
                self._decided.setdefault(str(trade.extra.get("client_id")), trade.extra)

    def before(self, event: EventRow, story: Story) -> None:
        """Judge an entry about to be sent, and count a position about to be closed."""
        intent = story.intent(event)
        if event.kind == "OrderSent" and intent is not None and intent.purpose == "entry":
            self._check_entry(intent, story)
        elif event.kind == "PositionClosed":
            holding = story.holdings.get(event.facts["position_id"])
            if holding is not None:
                self._count_closed(holding, event.at_ms)

    def after(self, event: EventRow, story: Story) -> None:
        """Judge a fill of an entry, its end, and the equity a cycle ended with."""
        self.max_open = max(self.max_open, len(story.occupied()))
        intent = story.intent(event)
        if event.kind == "CycleFinished":
            self._check_equity(float(event.facts["equity"]), story)
        elif intent is not None and intent.purpose == "entry":
            if event.kind == "OrderFilled":
                self._check_fill(intent, story)
            elif event.kind == "OrderFinished" and story.filled[intent.client_id]:
                day, week = _keys(story.now_ms)
                self._planned[day] += self._planned_loss(intent)
                self._planned[week] += self._planned_loss(intent)

    def _check_entry(self, intent: IntentRow, story: Story) -> None:
        name, risk = intent.client_id, self.limits.risk
        busy = {row.symbol for row in story.live.values()} | story.occupied()
        self.complain.demand("one_per_symbol", intent.symbol not in busy, f"{name}: {intent.symbol} is taken")
        places = len(story.occupied() | {intent.symbol})
        self.complain.demand(
            "max_open_positions", places <= risk.max_open_positions, f"{name}: {places} of {risk.max_open_positions}"
        )
        self.complain.demand("frozen", not story.doubtful, f"{name}: sent while {sorted(story.doubtful)} are in doubt")
        left_ms = self._cooldown_ms.get(intent.symbol, 0) - intent.created_ms
        self.complain.demand("symbol_cooldown", left_ms <= 0, f"{name}: {intent.symbol} rests {left_ms} ms more")
        paused_ms = self._paused_until_ms - intent.created_ms
        self.complain.demand("loss_pause", paused_ms <= 0, f"{name}: entries are paused for {paused_ms} ms more")
        self._check_rates(intent, story)
        facts = self._decided.get(name)
        if facts is not None:
            self._check_money(intent, facts, story)
        self._entries.append(intent)

    def _check_rates(self, intent: IntentRow, story: Story) -> None:
        orders, name = self.limits.orders, intent.client_id
        self._recent.append(intent.created_ms)
        while self._recent[0] <= intent.created_ms - MINUTE_MS:
            self._recent.popleft()
        self.complain.demand(
            "order_rate", len(self._recent) <= orders.max_orders_per_min, f"{name}: {len(self._recent)} in a minute"
        )
        day, _ = _keys(intent.created_ms)
        spent = sum(self._spent(row, story) for row in self._entries if _keys(row.created_ms)[0] == day)
        total = amount(spent + intent.reserved_quote)
        limit = orders.max_notional_per_day_usdt * ROUNDING
        self.complain.demand("notional_per_day", total <= limit, f"{name}: {total} bought on {day}")
        self._entries = [row for row in self._entries if _keys(row.created_ms)[0] == day]

    def _spent(self, row: IntentRow, story: Story) -> int:
        filled = story.filled_quote[row.client_id]
        return max(filled, row.reserved_quote) if row.client_id in story.live else filled

    def _check_money(self, intent: IntentRow, facts: Facts, story: Story) -> None:
        name, risk, equity = intent.client_id, self.limits.risk, float(facts["equity"])
        cash = amount(story.cash[self.limits.quote])
        spend = amount(sum(story.may_spend().values()))
        before = equity - cash + spend
        size = amount(intent.qty) * amount(intent.price)
        self._see(equity, intent.created_ms)
        self.complain.demand(
            "exposure_told",
            near(float(facts["exposure_before"]), before, equity, 1e-8),
            f"{name}: told {facts['exposure_before']}, equity less cash and in flight {before}",
        )
        self.complain.equal("positions_told", name, facts["open_positions_before"], len(story.holdings))
        active = equity * risk.capital_active_ratio * risk.max_position_pct_active
        bounds = (
            ("max_exposure", before + size, equity * risk.max_exposure_pct),
            ("max_symbol_exposure", size, equity * risk.max_symbol_exposure_pct),
            ("max_position_size", size, min(risk.max_position_size_usdt, active)),
            ("min_capital", risk.min_capital_usdt, equity),
            ("risk_per_trade", self._planned_loss(intent), equity * risk.risk_per_trade_pct),
            (
                "cash_reserve",
                amount(intent.reserved_quote) + spend + equity * (risk.reserve_ratio + risk.cash_buffer_ratio),
                cash,
            ),
        )
        for rule, value, limit in bounds:
            self.complain.demand(rule, value <= limit * ROUNDING, f"{name}: {value:.8f}, limit {limit:.8f}")
        self._check_budgets(intent, facts, equity)
        self._check_losses(intent, equity)

    def _check_budgets(self, intent: IntentRow, facts: Facts, equity: float) -> None:
        risk, planned = self.limits.risk, self._planned_loss(intent)
        periods = (("daily", risk.max_daily_risk_pct), ("weekly", risk.max_weekly_risk_pct))
        for key, (period, share) in zip(_keys(intent.created_ms), periods, strict=True):
            used = self._planned[key]
            self.complain.demand(
                f"{period}_risk_budget",
                used + planned <= equity * share * ROUNDING,
                f"{intent.client_id}: {used + planned:.6f} planned in {key}, limit {equity * share:.6f}",
            )
            told = float(facts[f"{period}_risk_used_pct"]) * equity
            self.complain.demand(
                f"{period}_risk_told", near(told, used, equity, 1e-8), f"{intent.client_id}: told {told}, books {used}"
            )

    def _check_losses(self, intent: IntentRow, equity: float) -> None:
        risk = self.limits.risk
        day, week = _keys(intent.created_ms)
        losses = (
            ("max_loss_per_day", 1 - equity / self._day_open[day], risk.max_loss_per_day),
            ("max_loss_per_week", 1 - equity / self._week_open[week], risk.max_loss_per_week),
            ("max_drawdown", 1 - equity / self.peak, risk.max_drawdown_pct),
        )
        for rule, value, limit in losses:
            self.complain.demand(rule, value < limit + LOSS_SLACK, f"{intent.client_id}: {value:.6f}, limit {limit}")

    def _check_fill(self, intent: IntentRow, story: Story) -> None:
        name, risk = intent.client_id, self.limits.risk
        paid = amount(story.filled_quote[name])
        self.complain.demand(
            "max_position_size", paid <= risk.max_position_size_usdt * ROUNDING, f"{name}: paid {paid}"
        )
        reserved = amount(intent.reserved_quote)
        self.complain.demand("reserved", paid <= reserved, f"{name}: paid {paid}, reserved {reserved}")
        places = len(story.occupied())
        self.complain.demand("max_open_positions", places <= risk.max_open_positions, f"{name}: {places} after a fill")
        self._check_planned(intent, story)
        facts = self._decided.get(name)
        if facts is None:
            self.complain.add("entry_facts", f"{name}: filled, but no trade row tells of it")
            return
        equity = float(facts["equity"])
        share = (float(facts["exposure_before"]) + paid) / equity
        self.max_exposure = max(self.max_exposure, share)
        self.complain.demand("max_exposure", share <= risk.max_exposure_pct * ROUNDING, f"{name}: {share} after a fill")

    def _check_planned(self, intent: IntentRow, story: Story) -> None:
        """The loss down to the first stop is never more than was planned for the trade."""
        mine = self.book.intents_by_position[intent.position_id]
        stops = [row.stop_px for row in mine if row.purpose == "stop"]
        holding = story.holdings.get(intent.position_id)
        if not stops or stops[0] is None or holding is None:
            return
        risked = amount(holding.cost) - amount(holding.quantity) * amount(stops[0])
        planned = self._planned_loss(intent)
        self.complain.demand(
            "planned_loss", risked <= planned * 1.02, f"{intent.client_id}: {risked:.6f} at risk, planned {planned:.6f}"
        )

    def _check_equity(self, equity: float, story: Story) -> None:
        cash = amount(story.cash[self.limits.quote])
        self._see(equity, story.now_ms)
        cost = sum(amount(item.cost) for item in story.holdings.values())
        if not story.holdings:
            self.complain.demand("equity", near(equity, cash), f"at {story.now_ms}: {equity}, but cash is {cash}")
        else:
            plausible = cost * 0.4 <= equity - cash <= cost * 2.5
            self.complain.demand("equity", plausible, f"at {story.now_ms}: {equity - cash} for what cost {cost}")

    def _see(self, equity: float, at_ms: int) -> None:
        day, week = _keys(at_ms)
        self.equity = equity
        self._day_open.setdefault(day, equity)
        self._week_open.setdefault(week, equity)
        self.peak = max(self.peak, equity)
        self.max_drawdown = max(self.max_drawdown, 1 - equity / self.peak if self.peak > 0 else 0.0)

    def _count_closed(self, holding: Holding, at_ms: int) -> None:
        breakers = self.limits.risk.circuit_breakers
        if holding.realized > 0:
            self._streak = 0
        elif holding.realized < 0:
            self._streak += 1
            self._cooldown_ms[holding.symbol] = at_ms + int(self.limits.risk.symbol_cooldown_min * MINUTE_MS)
            if self._streak >= breakers.max_consecutive_losses:
                self._paused_until_ms = at_ms + int(breakers.loss_pause_hours * 60 * MINUTE_MS)

    def _planned_loss(self, intent: IntentRow) -> float:
        return float(self.book.steps.get(intent.position_id, {}).get("planned_loss_quote", "inf"))


def _keys(at_ms: int) -> tuple[str, str]:
    at = EPOCH + timedelta(milliseconds=at_ms)
    year, week, _ = at.isocalendar()
    return at.strftime("%Y-%m-%d"), f"{year:04d}-W{week:02d}"
