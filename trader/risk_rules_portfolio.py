"""Risk rules about the account: what is held, what may be lost, and whether the size can be traded."""

from __future__ import annotations

from decimal import Decimal

from bn_ml.domain.decisions import RuleVerdict
from bn_ml.domain.market import ZERO, MarketRules, exact
from bn_ml.pair_limits import correlation_limit
from trader.breakers import BreakerStatus
from trader.ladder import is_sellable
from trader.portfolio import cluster_exposure, daily_volatility, highest_correlation, normal_var, volatilities
from trader.risk_rules import Case
from trader.sizing import available_quote, planned_in_flight, portfolio_weights, reserved_quote

SLACK = 1 + Decimal("1e-20")
"""A size divided by a fraction and multiplied by it again differs in the last of 28 digits."""


def breaker(status: BreakerStatus) -> RuleVerdict:
    """A tripped breaker refuses every entry."""
    return RuleVerdict(status.name, status.value, status.limit, not status.tripped)


def already_open(case: Case) -> RuleVerdict:
    """One position and one open intent per symbol."""
    request = case.request
    held = sum(position.is_open and position.symbol == request.symbol for position in request.positions)
    sent = sum(not record.state.is_terminal and record.intent.symbol == request.symbol for record in request.intents)
    return RuleVerdict("already_open", float(held + sent), 0.0, held + sent == 0)


def symbol_cooldown(case: Case) -> RuleVerdict:
    """A symbol that lost rests. Value: seconds left."""
    until = case.request.account.cooldown_until.get(case.request.symbol)
    left = max((until - case.request.now).total_seconds(), 0.0) if until else 0.0
    return RuleVerdict("symbol_cooldown", left, 0.0, left <= 0)


def max_open_positions(case: Case) -> RuleVerdict:
    """The book must have a free place, counting buys that may still fill."""
    value, limit = len(case.request.held), case.settings.risk.max_open_positions
    return RuleVerdict("max_open_positions", float(value), float(limit), value < limit)


def min_capital(case: Case) -> RuleVerdict:
    """Too small an account opens nothing."""
    value, limit = case.request.account.equity, exact(case.settings.risk.min_capital_usdt)
    return RuleVerdict("min_capital", float(value), float(limit), value >= limit)


def max_exposure(case: Case) -> RuleVerdict:
    """Everything held and in flight, with the entry, over capital."""
    return _exposure(case, "max_exposure", case.request.account.exposure, case.settings.risk.max_exposure_pct)


def max_symbol_exposure(case: Case) -> RuleVerdict:
    """What is held and in flight in the symbol, with the entry, over capital."""
    held = case.request.account.symbol_exposure.get(case.request.symbol, ZERO)
    return _exposure(case, "max_symbol_exposure", held, case.settings.risk.max_symbol_exposure_pct)


def max_cluster_exposure(case: Case) -> RuleVerdict:
    """What is held and in flight in symbols correlated with this one, with the entry, over capital."""
    risk, request = case.settings.risk, case.request
    held = cluster_exposure(request.scan, request.symbol, request.account.symbol_exposure, risk.correlation_cluster)
    return _exposure(case, "max_cluster_exposure", held, risk.max_cluster_exposure_pct)


def max_correlation(case: Case) -> RuleVerdict:
    """No held symbol may move too much like this one."""
    value = highest_correlation(case.request.scan, case.request.symbol, case.request.held)
    limit = correlation_limit(case.request.symbol, case.settings)
    return RuleVerdict("max_correlation", value, limit, value <= limit)


def daily_risk_budget(case: Case) -> RuleVerdict:
    """Planned loss opened today, with the entry, over capital."""
    spent = case.request.account.day.planned_loss
    return _budget(case, "daily_risk_budget", spent, case.settings.risk.max_daily_risk_pct)


def weekly_risk_budget(case: Case) -> RuleVerdict:
    """Planned loss opened this week, with the entry, over capital."""
    spent = case.request.account.week.planned_loss
    return _budget(case, "weekly_risk_budget", spent, case.settings.risk.max_weekly_risk_pct)


def var_limit(case: Case) -> RuleVerdict:
    """One-day value at risk of what is held and in flight, with the entry."""
    request, risk = case.request, case.settings.risk
    known = volatilities(request.scan, request.positions)
    if daily_volatility(request.opportunity) > 0:
        known[request.symbol] = daily_volatility(request.opportunity)
    weights = portfolio_weights(request, case.terms)
    added = float(case.probe_quote / case.terms.capital) if case.terms.capital > 0 else 0.0
    weights[request.symbol] = weights.get(request.symbol, 0.0) + added
    value = normal_var(weights, known, request.scan, risk.var_confidence)
    return RuleVerdict("var_limit", value, risk.max_var_pct, value <= risk.max_var_pct * (1 + 1e-9))


def insufficient_balance(case: Case) -> RuleVerdict:
    """Free quote beyond the reserves must pay the entry with its fee at the worst price."""
    needed = reserved_quote(case.probe_quote, case.terms)
    value = available_quote(case.request.account, case.settings.risk, real_money=case.request.real_money)
    return RuleVerdict("insufficient_balance", float(value), float(needed), value * SLACK >= needed)


def notional_per_day(case: Case) -> RuleVerdict:
    """Quote bought today, with all the entry may spend."""
    value = case.request.notional_today + reserved_quote(case.probe_quote, case.terms)
    limit = exact(case.settings.exchange.orders.max_notional_per_day_usdt)
    return RuleVerdict("notional_per_day", float(value), float(limit), value <= limit * SLACK)


def max_position_size(case: Case) -> RuleVerdict:
    """The entry must fit the largest position, absolute and as a share of active capital."""
    risk = case.settings.risk
    active = case.terms.capital * exact(risk.capital_active_ratio)
    limit = min(exact(risk.max_position_size_usdt), active * exact(risk.max_position_pct_active))
    return RuleVerdict("max_position_size", float(case.probe_quote), float(limit), case.probe_quote <= limit)


def size_zero(case: Case) -> RuleVerdict:
    """Something must be left to buy: not below the smallest position, and with an edge."""
    risk = case.settings.risk
    limit = case.terms.capital * exact(risk.capital_active_ratio) * exact(risk.min_position_pct_active)
    value = case.size.size_quote
    return RuleVerdict("size_zero", float(value), float(limit), case.size.quantity > 0 and value >= limit)


def min_notional(case: Case) -> RuleVerdict:
    """The buy, and what a base fee leaves of it at the stop price, must reach the minimum. Value: the latter."""
    request = case.request
    value = sellable(case.size.quantity, case.terms.fee_frac, request.rules) * case.terms.levels.stop
    passed = is_tradable(case.size.quantity, case, request.rules)
    return RuleVerdict("min_notional", float(value), float(request.rules.min_notional), passed)


def sellable(bought: Decimal, fee_frac: Decimal, rules: MarketRules) -> Decimal:
    """Give what can be sold of a bought quantity after a fee taken from it."""
    return rules.quantity_down(bought * (1 - fee_frac))


def is_tradable(quantity: Decimal, case: Case, rules: MarketRules) -> bool:
    """Tell whether a quantity can be bought now and protected at the stop afterwards."""
    left = sellable(quantity, case.terms.fee_frac, rules)
    return is_sellable(quantity, case.request.quote.bid, rules) and is_sellable(left, case.terms.levels.stop, rules)


def _exposure(case: Case, rule: str, held: Decimal, share: float) -> RuleVerdict:
    base = case.terms.capital
    total = held + case.probe_quote
    value = float(total / base) if base > 0 else 0.0
    return RuleVerdict(rule, value, share, base > 0 and total <= base * exact(share))


def _budget(case: Case, rule: str, spent: Decimal, share: float) -> RuleVerdict:
    base = case.terms.capital
    total = spent + planned_in_flight(case.request, case.terms) + case.probe_quote * case.terms.loss_frac
    value = float(total / base) if base > 0 else 0.0
    return RuleVerdict(rule, value, share, base > 0 and total <= base * exact(share) * SLACK)
