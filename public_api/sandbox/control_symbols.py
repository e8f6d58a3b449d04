"""What an operator does to symbols and prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from decimal import Decimal

from bn_ml.domain.market import MarketRules, Symbol, from_ms
from public_api.sandbox.answers import Json, Row
from public_api.sandbox.listings import SymbolStatus
from public_api.sandbox.world import World

_FIXED = ("symbol", "trading", "listed_at")


def symbols_report(world: World) -> Json:
    """Give the rules and the status of every symbol."""
    listings = world.dialect.listings
    return {
        str(symbol): {"status": listings.status(symbol).value} | _rules_row(listings.rules(symbol))
        for symbol in listings.all()
    }


def change_symbol(world: World, wish: Mapping[str, Json]) -> None:
    """Set a symbol's `status` or `filters` (fields of the market rules by name), `expire` its orders, `delist` it."""
    symbol = Symbol(str(wish["symbol"]))
    now_ms = world.move()
    listings = world.dialect.listings
    listings.rules(symbol)
    filters = wish.get("filters")
    if isinstance(filters, dict):
        listings.set_rules(_changed(listings.rules(symbol), filters))
    if "status" in wish:
        listings.set_status(symbol, SymbolStatus(str(wish["status"])))
    if wish.get("expire"):
        world.venue.expire_all(symbol, from_ms(now_ms))
    if wish.get("delist"):
        listings.delist(symbol, from_ms(now_ms))
    world.settle(now_ms)


def set_price(world: World, wish: Mapping[str, Json]) -> None:
    """Pin a symbol at `last` (with `bid` and `ask`), move it by the fraction `gap`, or `release` it."""
    symbol = Symbol(str(wish["symbol"]))
    now_ms = world.move()
    if wish.get("release"):
        world.feed.release(symbol, now_ms)
    elif "gap" in wish:
        world.feed.gap(symbol, Decimal(str(wish["gap"])), now_ms)
    else:
        last = Decimal(str(wish["last"]))
        book = (Decimal(str(wish["bid"])), Decimal(str(wish["ask"]))) if "bid" in wish else None
        world.feed.pin(symbol, last, now_ms, book)
    world.walk.refresh(symbol, now_ms)
    world.settle(now_ms)
    world.streams.publish(now_ms)


def _changed(rules: MarketRules, filters: Mapping[str, Json]) -> MarketRules:
    known = {item.name for item in fields(MarketRules)} - set(_FIXED)
    unknown = filters.keys() - known
    if unknown:
        raise ValueError(f"unknown filter {min(unknown)!r}, known are {', '.join(sorted(known))}")
    changed = rules
    for name, value in filters.items():
        changed = replace(changed, **{name: _like(getattr(rules, name), value)})  # type: ignore[arg-type]
    return changed


def _like(present: object, value: Json) -> Decimal | int | bool:
    if isinstance(present, bool):
        return bool(value)
    return int(str(value)) if isinstance(present, int) else Decimal(str(value))


def _rules_row(rules: MarketRules) -> Row:
    return {item.name: str(getattr(rules, item.name)) for item in fields(MarketRules) if item.name not in _FIXED}
