"""One order against the venue's filters, the market and the wallet, before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import ZERO, MarketRules, Quote
from bn_ml.domain.orders import OrderIntent, OrderType, Side


@dataclass(frozen=True, slots=True)
class OrderProblem:
    """Why the venue would refuse an order. `needed` is the broken bound, `config_key` what to change, or empty."""

    code: str
    message: str
    got: Decimal
    needed: Decimal
    config_key: str = ""


def order_problems(
    intent: OrderIntent, rules: MarketRules, quote: Quote, free: Decimal | None = None
) -> tuple[OrderProblem, ...]:
    """Give everything that speaks against sending; empty when nothing does.

    `free` is the free balance of what the order gives (quote for a buy, base for a sell), None when it is locked
    otherwise. Prices are held against the last trade as the venue's reference.
    """
    found = [*_status(rules), *_quantity(intent, rules), *_prices(intent, rules, quote)]
    found += [*_notional(intent, rules, quote), *_balance(intent, rules, quote, free)]
    return tuple(found)


def notional_price(intent: OrderIntent, quote: Quote) -> Decimal:
    """Give the price an order's notional is measured at: its limit, else its stop, else the last trade."""
    return intent.limit_price or intent.stop_price or quote.last


def _status(rules: MarketRules) -> Iterator[OrderProblem]:
    if not rules.trading:
        yield OrderProblem("symbol_not_trading", f"{rules.symbol} is not trading", ZERO, Decimal(1))


def _quantity(intent: OrderIntent, rules: MarketRules) -> Iterator[OrderProblem]:
    yield from _lot(intent, "min_quantity", rules.min_quantity, rules.max_quantity, rules.step)
    if intent.type is OrderType.MARKET:
        step = rules.market_step
        yield from _lot(intent, "market_quantity", rules.market_min_quantity, rules.market_max_quantity, step)


def _lot(intent: OrderIntent, code: str, low: Decimal, high: Decimal, step: Decimal) -> Iterator[OrderProblem]:
    quantity, symbol = intent.quantity, intent.symbol
    key = "risk.max_position_size_usdt"
    if quantity < low:
        yield OrderProblem(code, f"least quantity {low}, got {quantity} ({symbol})", quantity, low, key)
    if high > 0 and quantity > high:
        yield OrderProblem("max_quantity", f"largest quantity {high}, got {quantity} ({symbol})", quantity, high, key)
    if step > 0 and quantity % step != 0:
        yield OrderProblem("step", f"quantity {quantity} is not a multiple of {step} ({symbol})", quantity, step)


def _prices(intent: OrderIntent, rules: MarketRules, quote: Quote) -> Iterator[OrderProblem]:
    for price in (intent.limit_price, intent.stop_price):
        if price is not None:
            yield from _price(price, intent, rules, quote)


def _price(price: Decimal, intent: OrderIntent, rules: MarketRules, quote: Quote) -> Iterator[OrderProblem]:
    symbol = intent.symbol
    if price % rules.tick != 0:
        yield OrderProblem("tick", f"price {price} is not a multiple of {rules.tick} ({symbol})", price, rules.tick)
    buys = intent.side is Side.BUY
    down = rules.bid_multiplier_down if buys else rules.ask_multiplier_down
    up = rules.bid_multiplier_up if buys else rules.ask_multiplier_up
    bounds = (
        ("price_band", quote.last * down, quote.last * up),
        ("price_bounds", rules.min_price, rules.max_price),
    )
    for code, low, high in bounds:
        if price < low:
            yield OrderProblem(code, f"lowest price {low}, got {price} ({symbol})", price, low)
        if high > 0 and price > high:
            yield OrderProblem(code, f"highest price {high}, got {price} ({symbol})", price, high)


def _notional(intent: OrderIntent, rules: MarketRules, quote: Quote) -> Iterator[OrderProblem]:
    if intent.type is OrderType.MARKET and not rules.notional_applies_to_market:
        return
    notional = intent.quantity * notional_price(intent, quote)
    unit, symbol, key = intent.symbol.quote, intent.symbol, "risk.max_position_size_usdt"
    if notional < rules.min_notional:
        message = f"min notional {rules.min_notional} {unit}, got {notional:f} ({symbol}); raise {key}"
        yield OrderProblem("min_notional", message, notional, rules.min_notional, key)
    if rules.max_notional > 0 and notional > rules.max_notional:
        message = f"max notional {rules.max_notional} {unit}, got {notional:f} ({symbol}); lower {key}"
        yield OrderProblem("max_notional", message, notional, rules.max_notional, key)


def _balance(intent: OrderIntent, rules: MarketRules, quote: Quote, free: Decimal | None) -> Iterator[OrderProblem]:
    if free is None:
        return
    if intent.side is Side.SELL:
        needed, unit = intent.quantity, rules.symbol.base
    else:
        at_market = intent.quantity * (intent.limit_price or quote.ask)
        needed, unit = max(at_market, intent.reserved_quote), rules.symbol.quote
    if free < needed:
        message = f"needs {needed:f} {unit}, free {free:f} ({intent.symbol})"
        yield OrderProblem("insufficient_balance", message, free, needed, "risk.max_position_size_usdt")
