"""What the exchange knows to be true, for those who judge a client: orders, trades, balances, protection."""

from __future__ import annotations

import json

from bn_ml.venue.invariants import violations
from bn_ml.venue.orders import VenueTrade
from bn_ml.venue.persistence import order_text, trade_text
from public_api.sandbox.answers import Json, Row
from public_api.sandbox.protection_audit import Uncovered
from public_api.sandbox.world import World


def audit_report(world: World) -> Json:
    """Give the raw material and the judgement; `reachable_s` leaves out the time in which nobody was served."""
    now_ms = world.move()
    state = world.venue.state
    orders = sorted(state.all_orders(), key=lambda order: (order.created_ms, order.symbol, order.order_id))
    uncovered: list[Json] = [_stretch(stretch, now_ms) for stretch in world.audit.stretches(now_ms)]
    return {
        "now_ms": now_ms,
        "orders": [json.loads(order_text(order)) for order in orders],
        "trades": [_trade(trade) for trade in state.all_trades()],
        "balances": balances_report(world),
        "deposits": {asset: str(amount) for asset, amount in sorted(state.deposits.items())},
        "violations": [*violations(state), *world.broken],
        "faults": {kind.value: count for kind, count in world.line.plan.counts.items()},
        "protection": {
            "stretches": uncovered,
            "longest_s": {str(symbol): seconds for symbol, seconds in world.audit.longest(now_ms).items()},
        },
    }


def balances_report(world: World) -> Json:
    """Give free and locked per asset."""
    world.move()
    return {
        asset: {"free": f"{balance.free:f}", "locked": f"{balance.locked:f}"}
        for asset, balance in sorted(world.venue.balances().items())
    }


def _trade(trade: VenueTrade) -> Json:
    row: Row = json.loads(trade_text(trade))
    return row


def _stretch(stretch: Uncovered, now_ms: int) -> Row:
    return {
        "symbol": str(stretch.symbol),
        "since_ms": stretch.since_ms,
        "until_ms": stretch.until_ms,
        "quantity": f"{stretch.quantity:f}",
        "seconds": ((stretch.until_ms or now_ms) - stretch.since_ms) / 1000,
        "reachable_s": stretch.reachable_s(now_ms),
    }
