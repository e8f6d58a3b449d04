"""How much to buy: the smallest of all limits, shrunk by mood, losses and correlation, rounded down to the step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.account import AccountState
from bn_ml.domain.exit_levels import Levels
from bn_ml.domain.market import ZERO, Symbol, exact
from bn_ml.domain.signals import MarketMood, MarketRegime
from bn_ml.settings import OrdersSettings, RiskSettings, Settings
from trader.entry_request import EntryRequest, may_still_spend
from trader.portfolio import (
    cluster_exposure,
    correlation,
    daily_volatility,
    normal_var_room,
    volatilities,
)

ONE = Decimal(1)
HALF = Decimal("0.5")
LEAST_MOOD_SCALE = 0.25
_REGIME_SCALE = {
    MarketRegime.RISK_OFF: 0.5,
    MarketRegime.BEAR_PRESSURE: 0.5,
    MarketRegime.HIGH_RISK_NEUTRAL: 0.75,
}


@dataclass(frozen=True, slots=True)
class EntryTerms:
    """The prices of an entry. `worst_price` is the highest it may pay, `loss_frac` what a stopped trade loses of its
    size, fees and slippage included, `reserve_frac` what fee and price allowance may add to it.
    """

    worst_price: Decimal
    levels: Levels[Decimal]
    fee_frac: Decimal
    loss_frac: Decimal
    reserve_frac: Decimal
    capital: Decimal


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a size in the quote asset; `name` is its reason code or the name of a sizing method."""

    name: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Size:
    """The size of an entry. `size_quote` is `quantity` at the worst price, so it is never exceeded."""

    quantity: Decimal
    size_quote: Decimal
    planned_loss_quote: Decimal
    binding: str
    limits: tuple[Limit, ...] = ()


def entry_terms(request: EntryRequest, settings: Settings, levels: Levels[Decimal]) -> EntryTerms:
    """Give the prices of an entry whose stop and targets are `levels`."""
    risk = settings.risk
    fee = exact(risk.fees_pct) if request.fee_frac is None else request.fee_frac
    allowance = price_allowance(risk, settings.exchange.orders)
    worst = request.quote.ask * (1 + allowance)
    lost = worst - levels.stop + fee * (worst + levels.stop) + exact(risk.slippage_pct) * levels.stop
    base = capital(request.account, risk, real_money=request.real_money)
    return EntryTerms(worst, levels, fee, lost / worst, fee + allowance, base)


def capital(account: AccountState, risk: RiskSettings, *, real_money: bool) -> Decimal:
    """Give the capital that shares are taken of: equity, in live never more than the ceilings of the settings."""
    if not real_money:
        return max(account.equity, ZERO)
    ceiling = exact(risk.max_live_capital_usdt)
    if risk.capital_total != "auto":
        ceiling = min(ceiling, exact(risk.capital_total))
    return max(min(account.equity, ceiling), ZERO)


def price_allowance(risk: RiskSettings, orders: OrdersSettings) -> Decimal:
    """Give how far above the ask an entry may pay, as a fraction: the limit's cap, or assumed slippage at market."""
    return exact(risk.slippage_pct if orders.entry_type == "market" else orders.entry_slippage_cap_pct)


def reserved_quote(size_quote: Decimal, terms: EntryTerms) -> Decimal:
    """Give what a buy of this size may spend at most: `size (1 + fee + slippage cap)`."""
    return size_quote * (1 + terms.reserve_frac)


def available_quote(account: AccountState, risk: RiskSettings, *, real_money: bool) -> Decimal:
    """Give the free quote an entry may use: what no order has claimed, less the reserve and the cash buffer."""
    base = capital(account, risk, real_money=real_money)
    locked = account.quote_total - account.quote_free
    unclaimed = account.quote_free - max(account.reserved_quote - locked, ZERO)
    own = min(unclaimed, base - account.exposure)
    return max(own - base * (exact(risk.reserve_ratio) + exact(risk.cash_buffer_ratio)), ZERO)


def kelly_edge(win_share: float, payoff: float) -> float:
    """Give the full Kelly fraction `p - (1 - p) / b`; a payoff of 0 has no edge.

    >>> round(kelly_edge(0.5, 2.0), 3)
    0.25
    """
    return win_share - (1.0 - win_share) / payoff if payoff > 0 else -1.0


def mood_scale(mood: MarketMood) -> float:
    """Give the factor the market's mood puts on a size: 1 unless it is bearish or risky, never below a quarter."""
    if mood.regime in (MarketRegime.DISABLED, MarketRegime.INSUFFICIENT_DATA):
        return 1.0
    if not math.isfinite(mood.score):
        return LEAST_MOOD_SCALE
    return max((1.0 + min(mood.score, 0.0)) * _REGIME_SCALE.get(mood.regime, 1.0), LEAST_MOOD_SCALE)


def size_entry(request: EntryRequest, settings: Settings, terms: EntryTerms) -> Size:
    """Give the size of an entry: all limits' minimum, then the shrinking factors, then rounding down to the step."""
    limits = tuple(_limits(request, settings, terms))
    tightest = min(limits, key=lambda limit: limit.amount)
    amount, binding = max(tightest.amount, ZERO), tightest.name
    scales = tuple(_scales(request, settings))
    for scale in scales:
        amount *= scale.amount
    if scales:
        binding = f"{binding}*{min(scales, key=lambda scale: scale.amount).name}"
    quantity = request.rules.quantity_down(amount / terms.worst_price)
    size_quote = quantity * terms.worst_price
    return Size(quantity, size_quote, size_quote * terms.loss_frac, binding, limits)


def planned_in_flight(request: EntryRequest, terms: EntryTerms) -> Decimal:
    """Give the planned loss of buys that may still fill, as if they had this entry's stop distance."""
    return sum((may_still_spend(record) for record in request.buys_in_flight), start=ZERO) * terms.loss_frac


def portfolio_weights(request: EntryRequest, terms: EntryTerms) -> dict[Symbol, float]:
    """Give the exposure of each symbol over the capital."""
    if terms.capital <= 0:
        return {}
    return {symbol: float(amount / terms.capital) for symbol, amount in request.account.symbol_exposure.items()}


def _limits(request: EntryRequest, settings: Settings, terms: EntryTerms) -> Iterator[Limit]:
    risk, account, base = settings.risk, request.account, terms.capital
    own = account.symbol_exposure.get(request.symbol, ZERO)
    cluster = cluster_exposure(request.scan, request.symbol, account.symbol_exposure, risk.correlation_cluster)
    active = base * exact(risk.capital_active_ratio)
    available = available_quote(account, risk, real_money=request.real_money)
    day_cap = exact(settings.exchange.orders.max_notional_per_day_usdt)
    yield Limit("max_position_size", exact(risk.max_position_size_usdt))
    yield Limit("max_position_pct_active", active * exact(risk.max_position_pct_active))
    yield Limit("max_exposure", base * exact(risk.max_exposure_pct) - account.exposure)
    yield Limit("max_symbol_exposure", base * exact(risk.max_symbol_exposure_pct) - own)
    yield Limit("max_cluster_exposure", base * exact(risk.max_cluster_exposure_pct) - cluster)
    yield Limit("insufficient_balance", available / (1 + terms.reserve_frac))
    yield Limit("notional_per_day", (day_cap - request.notional_today) / (1 + terms.reserve_frac))
    yield from _loss_limits(request, settings, terms)
    yield from _volatility_limits(request, settings, terms)
    yield from _venue_limits(request, terms)


def _loss_limits(request: EntryRequest, settings: Settings, terms: EntryTerms) -> Iterator[Limit]:
    risk, account, base = settings.risk, request.account, terms.capital
    planned = planned_in_flight(request, terms)
    daily = base * exact(risk.max_daily_risk_pct) - account.day.planned_loss - planned
    weekly = base * exact(risk.max_weekly_risk_pct) - account.week.planned_loss - planned
    yield Limit("risk_per_trade", base * exact(risk.risk_per_trade_pct) / terms.loss_frac)
    yield Limit("daily_risk_budget", daily / terms.loss_frac)
    yield Limit("weekly_risk_budget", weekly / terms.loss_frac)
    if risk.method == "kelly_vol" and account.statistics.closed >= risk.kelly_min_trades:
        yield Limit("kelly", _kelly(request, risk, terms))


def _kelly(request: EntryRequest, risk: RiskSettings, terms: EntryTerms) -> Decimal:
    probabilities = request.opportunity.signal.probabilities
    decided = probabilities.buy + probabilities.sell
    win_share = probabilities.buy / decided if decided > 0 else 0.0
    planned = float((terms.levels.target_1 / terms.worst_price - 1 - 2 * terms.fee_frac) / terms.loss_frac)
    edge = kelly_edge(win_share, request.account.statistics.payoff or planned)
    if edge <= 0:
        return ZERO
    return min(exact(risk.kelly_fraction * edge) / terms.loss_frac, ONE) * terms.capital


def _volatility_limits(request: EntryRequest, settings: Settings, terms: EntryTerms) -> Iterator[Limit]:
    risk = settings.risk
    daily = daily_volatility(request.opportunity)
    if risk.method != "fixed" and daily > 0:
        yield Limit("volatility_target", terms.capital * exact(risk.target_daily_vol_pct) / exact(daily))
    known = volatilities(request.scan, request.positions)
    if daily > 0:
        known[request.symbol] = daily
    weights = portfolio_weights(request, terms)
    room = normal_var_room(
        request.symbol, weights, known, request.scan, confidence=risk.var_confidence, limit=risk.max_var_pct
    )
    if room < 1:
        yield Limit("var_limit", terms.capital * exact(room))


def _venue_limits(request: EntryRequest, terms: EntryTerms) -> Iterator[Limit]:
    rules = request.rules
    if rules.max_quantity > 0:
        yield Limit("max_quantity", rules.max_quantity * terms.worst_price)
    if rules.market_max_quantity > 0:
        yield Limit("market_max_quantity", rules.market_max_quantity * terms.worst_price)
    if rules.max_notional > 0:
        yield Limit("max_notional", rules.max_notional)


def _scales(request: EntryRequest, settings: Settings) -> Iterator[Limit]:
    mood = exact(mood_scale(request.scan.mood))
    if settings.santrade_intelligence.scale_size and mood < 1:
        yield Limit("market_mood", mood)
    if request.account.statistics.half_size:
        yield Limit("half_size", HALF)
    company = _company_scale(request, settings.risk)
    if company < 1:
        yield Limit(settings.risk.portfolio, company)


def _company_scale(request: EntryRequest, risk: RiskSettings) -> Decimal:
    """Give the factor for what else is held.

    `correlation_aware`: `1 / (1 + sum of positive correlations)`, each weighted by the other's exposure over the
    largest position.
    `inverse_vol`: mean volatility of the others over this one's, at most 1.
    """
    others = {symbol: amount for symbol, amount in request.account.symbol_exposure.items() if symbol != request.symbol}
    if not others or risk.portfolio == "none":
        return ONE
    if risk.portfolio == "correlation_aware":
        company = sum(
            max(correlation(request.scan, request.symbol, symbol), 0.0) * float(amount) / risk.max_position_size_usdt
            for symbol, amount in others.items()
        )
        return exact(1.0 / (1.0 + company))
    known = volatilities(request.scan, request.positions)
    held = [known[symbol] for symbol in others if symbol in known]
    own = daily_volatility(request.opportunity)
    return exact(min(sum(held) / len(held) / own, 1.0)) if held and own > 0 else ONE
