"""Orders a user's own script sends through the data manager."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from bn_ml.domain.market import MarketRules, Symbol, exact, to_ms
from bn_ml.domain.orders import OrderIntent, OrderReport, OrderType, Purpose, Side, TimeInForce
from bn_ml.errors import Refused
from bn_ml.ports import Clock, Exchange

_PREFIX = "manual"


class ManualOrders:
    """Turns plain arguments into intents for an exchange and its reports into plain values.

    These orders belong to no position of the bot. Each is sent once. Raises `ExchangeError`.
    """

    def __init__(self, exchange: Exchange | None, clock: Clock, open_exchange: Callable[[], Exchange] | None) -> None:
        """Keep the exchange, or what opens one at the first order; without either every call is refused."""
        self._exchange = exchange
        self._open_exchange = open_exchange
        self._clock = clock
        self._numbers = count(1)
        self._symbols: dict[str, Symbol] = {}

    @property
    def exchange(self) -> Exchange:
        """The exchange; raises `Refused` when none was given."""
        if self._exchange is None and self._open_exchange is not None:
            self._exchange = self._open_exchange()
        if self._exchange is None:
            raise Refused("no exchange was given to this data manager: it only reads the market")
        return self._exchange

    def create(self, rules: MarketRules, side: Side, amount: float, price: float | None) -> dict[str, object]:
        """Send a market order, or a good-till-cancelled limit order when a price is given."""
        exchange, now = self.exchange, self._clock.now()
        quantity = rules.quantity_down(exact(amount))
        if quantity <= 0:
            raise Refused(f"{rules.symbol}: amount {amount} is below the step {rules.step}")
        limit = None if price is None else rules.price_down(exact(price))
        intent = OrderIntent(
            client_id=f"{_PREFIX}-{to_ms(now)}-{next(self._numbers)}",
            symbol=rules.symbol,
            side=side,
            type=OrderType.MARKET if limit is None else OrderType.LIMIT,
            quantity=quantity,
            purpose=Purpose.ENTRY if side is Side.BUY else Purpose.EXIT,
            position_id=_PREFIX,
            created_at=now,
            limit_price=limit,
            time_in_force=None if limit is None else TimeInForce.GTC,
        )
        self._symbols[intent.client_id] = rules.symbol
        return order_values(exchange.create_order(intent))

    def status(self, order_id: str) -> dict[str, object]:
        """Give the present state of an order; raises `Refused` when it is not known."""
        report = self.exchange.order_status(self._symbol(order_id), order_id)
        if report is None:
            raise Refused(f"the exchange knows no order {order_id}")
        return order_values(report)

    def cancel(self, order_id: str) -> dict[str, object]:
        """Cancel an order; raises `Refused` when no such order is open."""
        report = self.exchange.cancel_order(self._symbol(order_id), order_id)
        if report is None:
            raise Refused(f"no open order {order_id} to cancel")
        return order_values(report)

    def _symbol(self, order_id: str) -> Symbol:
        if order_id not in self._symbols:
            self._symbols.update({report.client_id: report.symbol for report in self.exchange.open_orders()})
        if order_id not in self._symbols:
            raise Refused(f"order {order_id} was not placed here and is not open")
        return self._symbols[order_id]


def order_values(report: OrderReport) -> dict[str, object]:
    """Give a report as plain values; `id` is the client id every call here takes."""
    filled = report.executed_quantity
    return {
        "id": report.client_id,
        "exchange_id": report.exchange_id,
        "symbol": str(report.symbol),
        "side": report.side.value.lower(),
        "status": report.status.value,
        "amount": float(report.quantity),
        "filled": float(filled),
        "cost": float(report.executed_quote),
        "average": float(report.executed_quote / filled) if filled else None,
    }
