"""What a position needs now: levels at the entry, the split into tranches, and the plan of each later look at it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.decisions import ExitPlan
from bn_ml.domain.exit_levels import (
    Levels,
    break_even,
    hard_drawdown_level,
    initial_levels,
    raised_stop,
    trailing_distance,
    trailing_is_active,
)
from bn_ml.domain.market import ZERO, MarketRules, Quote, exact
from bn_ml.domain.positions import ExitReason, Position, Tranche
from bn_ml.exit_rules import exit_rules
from bn_ml.settings import RiskSettings, Settings, risk_section
from trader.ladder import ENOUGH, FIRST, RUNNER, SECOND, Slots, ladder

SMALLEST_ATR = Decimal("1e-9")
"""Stands for an unknown ATR at a fill: the closest stop the settings allow."""


def traded_price(quote: Quote) -> Decimal:
    """Give the last trade held between bid and ask: what stops trigger on, without a stale or stray last trade."""
    return min(max(quote.last, quote.bid), quote.ask)


def stop_reason(position: Position) -> ExitReason:
    """Give the reason shown when the present stop of a position is hit."""
    return ExitReason.TRAILING_STOP if position.trailing_active else ExitReason.STOP_LOSS


class ExitManager:
    """The exits of one configuration. Pure: sends nothing, stores nothing."""

    def __init__(self, risk: RiskSettings | Settings | Mapping[str, object]) -> None:
        """Take the exit keys of the risk section; all settings or a partial mapping of either will do."""
        risk = risk_section(risk)
        self._rules = exit_rules(risk, exact)
        self._sell_signal_exit = risk.sell_signal_exit

    def levels(self, entry_price: Decimal, atr_frac: float, rules: MarketRules) -> Levels[Decimal]:
        """Give stop and targets of an entry on the symbol's ticks: the stop rounded down, targets up.

        An unknown ATR (0 or not finite) in ATR mode gives the closest stop allowed: a fill must always get its stop.
        """
        raw = initial_levels(entry_price, max(_known(atr_frac), SMALLEST_ATR), self._rules)
        target_1 = rules.price_up(raw.target_1)
        return Levels(
            stop=max(rules.price_down(raw.stop), rules.tick),
            target_1=target_1,
            target_2=max(rules.price_up(raw.target_2), target_1 + rules.tick),
        )

    def raw_levels(self, entry_price: Decimal, atr_frac: float) -> Levels[Decimal]:
        """Give the levels before rounding to ticks; `ValueError` for an unknown ATR in ATR mode."""
        return initial_levels(entry_price, _known(atr_frac), self._rules)

    def tranches(self, position: Position, rules: MarketRules, slots: Slots = ENOUGH) -> tuple[Tranche, ...]:
        """Split what a position holds into tranches with their stop and target.

        The quantities sum to the remaining quantity rounded down to the step. A slice below the symbol's minimum at
        the stop price joins the next one, the last joins the one before it; so does one the venue has no place for.
        Targets already taken get no tranche. Empty when even the whole is below the minimum.
        """
        first = ZERO if position.tp1_hit else self._rules.target_1_share
        second = ZERO if position.tp2_hit else self._rules.target_2_share
        runner = 1 - self._rules.target_1_share - self._rules.target_2_share
        shares = ((FIRST, first), (SECOND, second), (RUNNER, runner))
        targets = {FIRST: position.target_1, SECOND: position.target_2}
        total = rules.quantity_down(position.remaining_quantity)
        return tuple(
            Tranche(label, quantity, position.stop, target_price=targets.get(label))
            for label, quantity in ladder(shares, total, position.stop, rules, slots)
        )

    def trailing_frac(self, position: Position) -> Decimal | None:
        """Give the distance of a position's trailing stop over its highest price, None while it does not trail."""
        return trailing_distance(_known(position.atr_frac), self._rules) if position.trailing_active else None

    def plan(
        self,
        position: Position,
        quote: Quote,
        atr_frac: float,
        now: datetime,
        sell_signal: bool,
        rules: MarketRules,
    ) -> ExitPlan:
        """Judge one open position on a fresh quote.

        Highs traded between two looks count when the caller has written them into `max_price_seen`. Labels use the
        ATR of the entry, so give `position.atr_frac` to behave like them. A raised stop lies on a tick of `rules`; one
        raised to or above the present price closes at once.
        """
        price = traded_price(quote)
        highest = max(position.max_price_seen, price)
        tp1_hit = self._tp1_reached(position, highest)
        trailing = position.trailing_active or trailing_is_active(
            position.entry_price, highest, self._rules, tp1_hit=tp1_hit
        )
        stop = self._raised(position, highest, atr_frac, tp1_hit=tp1_hit, rules=rules)
        reason = self._close_reason(position, price, stop, trailing=trailing)
        if reason is None and now - position.opened_at >= self._rules.max_holding:
            reason = ExitReason.TIME_STOP
        if reason is None and sell_signal and self._sell_signal_exit:
            reason = ExitReason.SELL_SIGNAL
        return ExitPlan(
            close_all=reason,
            new_stop=stop if reason is None and stop > position.stop else None,
            trailing_active=trailing,
            max_price_seen=highest,
        )

    def _close_reason(self, position: Position, price: Decimal, stop: Decimal, *, trailing: bool) -> ExitReason | None:
        if price <= position.stop:
            return stop_reason(position)
        if price <= hard_drawdown_level(position.entry_price, self._rules):
            return ExitReason.HARD_DRAWDOWN
        if price <= stop:
            return ExitReason.TRAILING_STOP if trailing else ExitReason.STOP_LOSS
        return None

    def _tp1_reached(self, position: Position, highest: Decimal) -> bool:
        """Whether the first target was sold, or passed by a position too small to have a tranche for it."""
        has_tranche = any(tranche.label == "tp1" for tranche in position.tranches)
        return position.tp1_hit or (bool(position.tranches) and not has_tranche and highest > position.target_1)

    def _raised(
        self, position: Position, highest: Decimal, atr_frac: float, *, tp1_hit: bool, rules: MarketRules
    ) -> Decimal:
        raised = raised_stop(
            position.entry_price, position.stop, highest, self._rules, tp1_hit=tp1_hit, atr_frac=_known(atr_frac)
        )
        paid_back = position.stop
        if tp1_hit and self._rules.break_even_after_tp1:
            paid_back = max(self._paid_back(position), break_even(position.entry_price, self._rules.fee_frac))
        on_tick = rules.price_down(raised)
        up = rules.price_up(paid_back) if paid_back > position.stop else position.stop
        return max(position.stop, on_tick, up)

    def _paid_back(self, position: Position) -> Decimal:
        """Give the price that returns what was really paid per unit, the exit fee included."""
        return position.cost_quote / position.initial_quantity / (1 - self._rules.fee_frac)


def _known(atr_frac: float) -> Decimal:
    return exact(atr_frac) if math.isfinite(atr_frac) else ZERO
