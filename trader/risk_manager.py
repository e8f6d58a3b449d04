"""Risk: every rule runs before every entry; the first that refuses gives the reason, the size is the smallest limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from bn_ml.domain.decisions import RiskDecision, RuleVerdict
from bn_ml.domain.exit_levels import Levels
from bn_ml.domain.market import MarketRules, Symbol, quantise
from bn_ml.domain.signals import Opportunity, ScanReport
from bn_ml.settings import RiskSettings, Settings
from trader import risk_rules as own
from trader import risk_rules_market as market
from trader import risk_rules_portfolio as portfolio
from trader.entry_request import EntryRequest
from trader.exit_manager import ExitManager
from trader.portfolio import average_correlation
from trader.risk_rules import Case
from trader.sizing import EntryTerms, entry_terms, reserved_quote, size_entry

Rule = Callable[[Case], RuleVerdict]

RULES_BEFORE_BREAKERS: tuple[Rule, ...] = (own.control_state, own.synthetic_data, own.disk_low)
RULES_AFTER_BREAKERS: tuple[Rule, ...] = (
    own.symbol_frozen,
    own.symbol_quarantined,
    own.symbol_not_trading,
    own.quote_stale,
    own.long_only,
    own.signal_not_buy,
    own.min_score,
    own.min_confidence,
    own.market_regime,
    portfolio.already_open,
    portfolio.symbol_cooldown,
    portfolio.max_open_positions,
    portfolio.min_capital,
    market.spread,
    market.depth,
    market.volume,
    market.no_valid_stop,
    market.net_profit,
    portfolio.max_exposure,
    portfolio.max_symbol_exposure,
    portfolio.max_cluster_exposure,
    portfolio.max_correlation,
    portfolio.daily_risk_budget,
    portfolio.weekly_risk_budget,
    portfolio.var_limit,
    own.order_rate,
    portfolio.notional_per_day,
    portfolio.insufficient_balance,
    portfolio.max_position_size,
    portfolio.size_zero,
    portfolio.min_notional,
)


class RiskManager:
    """Judges entries. Pure: what it needs to know is in the request."""

    def __init__(self, settings: Settings | RiskSettings | Mapping[str, object]) -> None:
        """Take all settings, the risk section alone, or a plain mapping shaped like the configuration file."""
        if isinstance(settings, RiskSettings):
            settings = Settings(risk=settings)
        elif not isinstance(settings, Settings):
            settings = Settings.from_mapping(settings)
        self._settings = settings
        self._exits = ExitManager(settings.risk)

    def judge(self, entry: EntryRequest) -> RiskDecision:
        """Say whether to enter and at what size; every rule's value and limit is in the verdicts."""
        levels, atr_known = self._levels(entry)
        terms = entry_terms(entry, self._settings, levels)
        size = size_entry(entry, self._settings, terms)
        probe = max(size.size_quote, smallest_size(terms, entry.rules))
        verdicts = _verdicts(Case(entry, self._settings, terms, size, probe, atr_known))
        reason = next((verdict.rule for verdict in verdicts if not verdict.passed), None)
        return RiskDecision(
            approved=reason is None,
            reason=reason,
            size_quote=size.size_quote,
            quantity=size.quantity,
            stop=levels.stop,
            target_1=levels.target_1,
            target_2=levels.target_2,
            planned_loss_quote=size.planned_loss_quote,
            binding=size.binding,
            reserved_quote=reserved_quote(size.size_quote, terms),
            verdicts=verdicts,
        )

    def _levels(self, entry: EntryRequest) -> tuple[Levels[Decimal], bool]:
        atr_frac = entry.opportunity.atr_frac
        known = self._settings.risk.exit_mode != "atr" or (atr_frac > 0 and math.isfinite(atr_frac))
        return self._exits.levels(entry.quote.ask, atr_frac, entry.rules), known


def ranked(opportunities: Sequence[Opportunity], held: Sequence[Symbol], scan: ScanReport) -> tuple[Opportunity, ...]:
    """Order opportunities for their turn: highest score first; of equals (to a tenth) the least correlated first."""
    return tuple(
        sorted(
            opportunities,
            key=lambda item: (-round(item.score, 1), average_correlation(scan, item.symbol, held), item.symbol),
        )
    )


def smallest_size(terms: EntryTerms, rules: MarketRules) -> Decimal:
    """Give the smallest size in the quote asset that can be bought and still be sold at the stop after a base fee."""
    sold = quantise(max(rules.min_notional / terms.levels.stop, rules.min_quantity), rules.step, up=True)
    return quantise(sold / (1 - terms.fee_frac), rules.step, up=True) * terms.worst_price


def _verdicts(case: Case) -> tuple[RuleVerdict, ...]:
    found = [rule(case) for rule in RULES_BEFORE_BREAKERS]
    found += [portfolio.breaker(status) for status in case.request.breakers]
    found += [rule(case) for rule in RULES_AFTER_BREAKERS]
    return tuple(found)
