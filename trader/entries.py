"""Entries: every opportunity judged on a fresh quote and a fresh account, and what is approved bought and protected."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from bn_ml.domain.decisions import RiskDecision
from bn_ml.domain.events import EntryApproved, RiskRefused
from bn_ml.domain.market import ZERO, exact
from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side, TimeInForce
from bn_ml.domain.signals import Opportunity, ScanReport
from bn_ml.errors import MarketDataError
from trader.account_keeper import AccountKeeper
from trader.breakers import BreakerStatus
from trader.cycle_report import CycleTally
from trader.desk import Desk
from trader.entry_plan import EntryPlan, save_plan, written
from trader.entry_request import EntryRequest
from trader.gate import LimitReached, Means, let_through, spent_or_reserved
from trader.order_manager import OrderManager
from trader.order_rules import order_problems
from trader.protection import Protection
from trader.risk_manager import RiskManager, ranked
from trader.sizing import capital

log = logging.getLogger(__name__)


class EntryMaker:
    """Turns a scan into entries, one at a time, each judged on the state the one before it left."""

    def __init__(
        self, desk: Desk, risk: RiskManager, orders: OrderManager, protection: Protection, keeper: AccountKeeper
    ) -> None:
        """All parts share the desk's store."""
        self._desk = desk
        self._risk = risk
        self._orders = orders
        self._positions = orders.positions
        self._protection = protection
        self._keeper = keeper
        self._refusals: list[RiskRefused] = []

    def enter(self, scan: ScanReport, breakers: tuple[BreakerStatus, ...], tally: CycleTally) -> None:
        """Judge every opportunity in rank order and buy what is approved."""
        held = tuple(position.symbol for position in self._positions.open_positions())
        for opportunity in ranked(scan.opportunities, held, scan):
            approved = self._approved(opportunity, scan, breakers, tally)
            if approved is not None and self._buy(*approved, tally):
                tally.opened += 1
        self._write_refusals()

    def orders_last_minute(self, now: datetime) -> int:
        """Count the entries sent in the last 60 s."""
        return len(self._desk.store.entries_since(now - timedelta(seconds=60)))

    def notional_today(self, now: datetime) -> Decimal:
        """Sum what entries have bought, or may still buy, since UTC midnight."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return sum((spent_or_reserved(record) for record in self._desk.store.entries_since(midnight)), ZERO)

    def allowed_today(self, now: datetime) -> Decimal:
        """Sum what entries were let through to spend since UTC midnight, or have spent where that is less.

        What a market order paid above the price it was measured at is not in it: no rule was broken by it.
        """
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        records = self._desk.store.entries_since(midnight)
        return sum((min(spent_or_reserved(record), let_through(record.intent)) for record in records), ZERO)

    def _approved(
        self, opportunity: Opportunity, scan: ScanReport, breakers: tuple[BreakerStatus, ...], tally: CycleTally
    ) -> tuple[EntryRequest, RiskDecision] | None:
        """Judge an opportunity, and again after its places were counted: prices may have moved in the meantime.

        None when it is refused, which is counted.
        """
        judged = self._judged(opportunity, scan, breakers, tally)
        if judged is None:
            return None
        request, _ = judged
        if not self._protection.takes_a_stop(request.rules):
            self._not_sent(request, "no_valid_stop", 0.0, 1.0, tally)
            log.info("order not sent symbol=%s no place for its stop", request.symbol)
            return None
        age, limit = request.quote.age_s(self._desk.clock.now()), self._desk.settings.data.max_quote_age_entry_sec
        if age > limit:
            # Counting the places took its time.
            self._not_sent(request, "quote_stale", age, float(limit), tally)
            return None
        took_time = self._desk.clock.now() > request.now
        return self._judged(opportunity, scan, breakers, tally) if took_time else judged

    def _judged(
        self, opportunity: Opportunity, scan: ScanReport, breakers: tuple[BreakerStatus, ...], tally: CycleTally
    ) -> tuple[EntryRequest, RiskDecision] | None:
        try:
            request = self._request(opportunity, scan, breakers)
        except MarketDataError as error:
            tally.refusals[error.reason] += 1
            return None
        decision = self._risk.judge(request)
        if decision.approved:
            return request, decision
        self._refuse(request, decision, tally)
        return None

    def _request(self, opportunity: Opportunity, scan: ScanReport, breakers: tuple[BreakerStatus, ...]) -> EntryRequest:
        positions, intents = self._positions.open_positions(), self._orders.open_intents()
        desk, symbol = self._desk, opportunity.symbol
        now = desk.clock.now()
        unknown = self._orders.unknown_symbols()
        account = self._keeper.account(positions, intents)
        return EntryRequest(
            opportunity=opportunity,
            quote=desk.market.quote(symbol),
            rules=desk.market.rules(symbol),
            account=account,
            control=desk.store.control(),
            scan=scan,
            now=now,
            disk_free_mb=free_disk_mb(desk.store.path),
            positions=positions,
            intents=intents,
            breakers=breakers,
            orders_last_minute=self.orders_last_minute(now),
            notional_today=self.notional_today(now),
            # One order nobody can account for stops entries on every symbol.
            frozen=frozenset({symbol}) if unknown else frozenset(),
            data_source=opportunity.signal.data_source,
            real_money=desk.mode == "live",
            equity_returns=account.equity_returns,
        )

    def _refuse(self, request: EntryRequest, decision: RiskDecision, tally: CycleTally) -> None:
        verdict = next((item for item in decision.verdicts if item.rule == decision.reason), None)
        value, limit = (verdict.value, verdict.limit) if verdict else (0.0, 0.0)
        self._not_sent(request, decision.reason or "", value, limit, tally)

    def _write_refusals(self) -> None:
        """Journal the refusals gathered so far, in their order, in one transaction."""
        if not self._refusals:
            return
        with self._desk.store.transaction():
            for refusal in self._refusals:
                self._desk.journal.emit(refusal)
        _say_refusals(self._refusals)
        self._refusals = []

    def _buy(self, request: EntryRequest, decision: RiskDecision, tally: CycleTally) -> bool:
        intent = self._intent(request, decision)
        problems = order_problems(intent, request.rules, request.quote, request.account.quote_free)
        for problem in problems[:1]:
            self._not_sent(request, problem.code, float(problem.got), float(problem.needed), tally)
            log.info("order not sent symbol=%s %s", request.symbol, problem.message)
            return False
        self._write_refusals()
        try:
            self._commit(intent, request, decision)
        except LimitReached as error:
            # Another thread or process has written since risk judged.
            self._not_sent(request, error.rule, float(error.value), float(error.limit), tally)
            return False
        self._orders.send(intent)
        position = self._positions.position(intent.position_id)
        if position is None or not position.is_open:
            return False
        log.info(
            "bought symbol=%s quantity=%s price=%s stop=%s limited_by=%s",
            position.symbol,
            position.initial_quantity,
            position.entry_price,
            position.stop,
            decision.binding,
        )
        self._protection.ensure(position)
        return True

    def _not_sent(self, request: EntryRequest, rule: str, value: float, limit: float, tally: CycleTally) -> None:
        """Count what kept an approved entry from being sent, and journal it with the other refusals."""
        tally.refusals[rule] += 1
        self._refusals.append(RiskRefused(request.now, request.symbol, rule, value, limit))

    def _commit(self, intent: OrderIntent, request: EntryRequest, decision: RiskDecision) -> None:
        """Write the plan, the approval and the order together, if the limits still allow it."""
        account, risk = request.account, self._desk.settings.risk
        means = Means(capital(account, risk, real_money=request.real_money), self._keeper.marks)
        with self._desk.store.transaction():
            save_plan(self._desk.store, _plan(request, decision, intent.position_id), request.now)
            self._desk.journal.emit(
                EntryApproved(
                    at=request.now,
                    symbol=request.symbol,
                    size_quote=decision.size_quote,
                    binding=decision.binding,
                    confidence=request.opportunity.signal.confidence,
                    score=request.opportunity.score,
                )
            )
            self._orders.commit(intent, means=means)

    def _intent(self, request: EntryRequest, decision: RiskDecision) -> OrderIntent:
        orders = self._desk.settings.exchange.orders
        ask = request.quote.ask
        is_market = orders.entry_type == "market"
        cap = request.rules.price_down(ask * (1 + exact(orders.entry_slippage_cap_pct)))
        client_id = self._desk.store.next_client_id()
        return OrderIntent(
            client_id=client_id,
            symbol=request.symbol,
            side=Side.BUY,
            type=OrderType.MARKET if is_market else OrderType.LIMIT,
            quantity=decision.quantity,
            purpose=Purpose.ENTRY,
            position_id=f"{request.symbol.key}-{client_id}",
            created_at=request.now,
            limit_price=None if is_market else max(cap, ask),
            time_in_force=None if is_market else _lifetime(orders.entry_type),
            reason="signal",
            reference_price=ask,
            reserved_quote=decision.reserved_quote,
        )


def _say_refusals(refusals: Sequence[RiskRefused]) -> None:
    """Log one line per rule, so that a cycle stays readable however many symbols it refused."""
    by_rule: dict[str, list[str]] = {}
    for item in refusals:
        told = f"symbol={item.symbol} value={item.value:.6g} limit={item.limit:.6g}"
        by_rule.setdefault(item.rule, []).append(told)
    for rule, told_of in by_rule.items():
        log.info("entry refused rule=%s %s", rule, ", ".join(told_of))


def free_disk_mb(path: Path) -> float:
    """Give the free space of the disk that holds a file, in MB."""
    return shutil.disk_usage(path.parent).free / 1e6


def _lifetime(entry_type: str) -> TimeInForce:
    return TimeInForce.IOC if entry_type == "limit_ioc" else TimeInForce.GTC


def _plan(request: EntryRequest, decision: RiskDecision, position_id: str) -> EntryPlan:
    signal, account = request.opportunity.signal, request.account
    mood = request.scan.mood
    equity = account.equity
    planned = decision.planned_loss_quote
    return EntryPlan(
        position_id=position_id,
        rules=request.rules,
        planned_loss_quote=planned,
        atr_frac=request.opportunity.atr_frac,
        confidence=signal.confidence,
        score=request.opportunity.score,
        bundle_version=signal.bundle_version,
        data_source=request.data_source,
        notes=written(
            {
                "confidence": signal.confidence,
                "probas": signal.probabilities.as_dict(),
                "score": request.opportunity.score,
                "expected_net_pct": signal.expected_net_frac,
                "daily_risk_used_pct": float(account.day.planned_loss / equity),
                "daily_risk_with_trade_pct": float((account.day.planned_loss + planned) / equity),
                "weekly_risk_used_pct": float(account.week.planned_loss / equity),
                "weekly_risk_with_trade_pct": float((account.week.planned_loss + planned) / equity),
                "market_volatility_ratio": request.scan.volatility_ratio,
                "market_drift_detected": request.scan.drifted,
                "market_regime": mood.regime.value,
                "santrade_signal": mood.signal,
                "santrade_confidence": mood.confidence,
                "santrade_profile": mood.profile,
                "santrade_score": mood.score,
                "santrade_regime": mood.regime.value,
                "equity": float(equity),
                "exposure_before": float(account.exposure),
                "open_positions_before": len(request.positions),
                "size_limited_by": decision.binding,
                "data_source": request.data_source,
                "bundle_version": signal.bundle_version,
            }
        ),
    )
