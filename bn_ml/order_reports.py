"""Reads the venue's orders and trades into reports, and refuses to read what contradicts itself or our intent.

Quantity follows fills: an order that traded counts as read only with trades that add up to what it says it executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from bn_ml.answer_fields import Fields, Garbled, objects
from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, OrderStatus, Side
from bn_ml.order_requests import PRICED, TRIGGERED, OcoLeg, leg_type
from bn_ml.venue_names import venue_name

_STATUS = {status.value: status for status in OrderStatus} | {"EXPIRED_IN_MATCH": OrderStatus.EXPIRED}
_SMALLEST = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of one order; `needs_trades` when it traded but the answer does not hold all its trades."""

    report: OrderReport
    needs_trades: bool

    @property
    def order_id(self) -> str:
        """The venue's own number of the order."""
        return self.report.exchange_id


def told_of_placed(value: object, intent: OrderIntent, leg: OcoLeg | None = None) -> Told | None:
    """Read the answer to a new order; None for a bare acknowledgement of our order, which says nothing of its state.

    Raises `Garbled` unless symbol, side, type, client id, quantity and price are those of the intent.
    """
    fields = Fields.of(value)
    _require_ours(fields, "clientOrderId", intent.symbol, intent.client_id)
    if "status" not in fields and "origQty" not in fields:
        fields.count("orderId")
        return None
    _require(fields, "type", leg_type(intent, leg).value)
    told = _told(fields, intent.symbol, intent.client_id)
    if told.report.status is OrderStatus.CANCELED:
        raise Garbled("a new order is cancelled, which nobody asked for")
    _require_intent(told.report, intent)
    _require_levels(fields, intent)
    return told


def told_of_oco(value: object, target: OrderIntent, stop: OrderIntent) -> tuple[Told, Told]:
    """Read the answer to a new OCO: target and stop, whatever their order in the answer."""
    fields = Fields.of(value)
    symbol = target.symbol
    _require(fields, "symbol", venue_name(symbol))
    _require(fields, "listClientOrderId", target.list_id or "")
    _require(fields, "contingencyType", "OCO")
    number = fields.count("orderListId")
    legs = {leg.text("clientOrderId"): leg for leg in fields.objects("orderReports")}
    found: list[Told] = []
    for intent, leg in ((target, OcoLeg.ABOVE), (stop, OcoLeg.BELOW)):
        report = legs.get(intent.client_id)
        told = None if report is None else told_of_placed(report.record, intent, leg)
        if report is None or told is None or report.count("orderListId") != number:
            raise Garbled(f"the list must hold {intent.client_id}, got {sorted(legs)}")
        found.append(replace(told, report=replace(told.report, list_id=target.list_id)))
    return found[0], found[1]


def told_of_canceled(value: object, symbol: Symbol, client_id: str, side: Side | None = None) -> Told:
    """Read the answer to a cancel: of the order alone, or of the whole list it belongs to.

    Raises `Garbled` for an order of another side, where the side is known.
    """
    fields = Fields.of(value)
    if "orderReports" in fields:
        _require(fields, "symbol", venue_name(symbol))
        legs = [leg for leg in fields.objects("orderReports") if leg.record.get("origClientOrderId") == client_id]
        if len(legs) != 1:
            raise Garbled(f"the cancelled list must hold {client_id} once, got {len(legs)}")
        fields = legs[0]
    _require_ours(fields, "origClientOrderId", symbol, client_id)
    told = _told(fields, symbol, client_id)
    if told.report.status.is_open:
        raise Garbled(f"a cancelled order is {told.report.status.value}")
    if side is not None and told.report.side is not side:
        raise Garbled(f"the cancelled order must be a {side.value}")
    return told


def told_of_order(value: object, symbol: Symbol, client_id: str) -> Told:
    """Read the answer to a query of one order."""
    fields = Fields.of(value)
    _require_ours(fields, "clientOrderId", symbol, client_id)
    return _told(fields, symbol, client_id)


def open_order(fields: Fields, symbol: Symbol) -> OrderReport:
    """Read one of the open orders, anybody's; its trades are not part of the answer."""
    client_id = fields.text("clientOrderId")
    report = _told(fields, symbol, client_id).report
    if not report.status.is_open:
        raise Garbled(f"open orders hold {client_id}, which is {report.status.value}")
    return replace(report, fills=())


def with_trades(told: Told, fills: Iterable[Fill]) -> OrderReport:
    """Give the report with its trades; raises `Garbled` unless they add up to what the order executed."""
    report = replace(told.report, fills=tuple(fills))
    if any(fill.side is not report.side for fill in report.fills):
        raise Garbled(f"a trade of {report.client_id} is no {report.side.value}")
    _require_sum(report)
    return report


def trades(value: object, symbol: Symbol, *, order_id: str = "") -> tuple[Fill, ...]:
    """Read a page of trades, oldest first; their client ids are empty. With an order id all must be of that order."""
    fills = tuple(_trade(fields, symbol, order_id) for fields in objects(value))
    numbers = [int(fill.trade_id) for fill in fills]
    if numbers != sorted(set(numbers)):
        raise Garbled(f"trades must have ascending ids, got {numbers[:5]}")
    return fills


def _told(fields: Fields, symbol: Symbol, client_id: str) -> Told:
    status = _STATUS.get(fields.text("status"))
    if status is None:
        raise Garbled(f"unknown status {fields.text('status')!r}")
    number = fields.whole("orderListId")
    report = OrderReport(
        client_id=client_id,
        symbol=symbol,
        side=_side(fields.text("side")),
        status=status,
        quantity=fields.amount("origQty"),
        executed_quantity=fields.amount("executedQty"),
        executed_quote=fields.amount("cummulativeQuoteQty"),
        exchange_id=str(fields.count("orderId")),
        list_id=None if number < 0 else str(number),
    )
    _require_sense(report)
    if "fills" not in fields:
        return Told(report, needs_trades=report.executed_quantity > 0)
    report = replace(report, fills=_fills(fields, report))
    _require_sum(report)
    return Told(report, needs_trades=False)


def _require_sense(report: OrderReport) -> None:
    """Refuse quantities that cannot be, or that the status rules out."""
    asked, done = report.quantity, report.executed_quantity
    if not (asked > 0 and done <= asked):
        raise Garbled(f"executed {done} of {asked}")
    # The quote amount of a tiny trade may be rounded to nothing, but nothing bought costs nothing.
    if done == 0 and report.executed_quote != 0:
        raise Garbled(f"executed nothing for {report.executed_quote}")
    match report.status:
        case OrderStatus.NEW | OrderStatus.PENDING_NEW | OrderStatus.REJECTED:
            fits = done == 0
        case OrderStatus.PARTIALLY_FILLED:
            fits = 0 < done < asked
        case OrderStatus.FILLED:
            fits = done == asked
        case _:
            fits = True
    if not fits:
        raise Garbled(f"{report.status.value} with {done} of {asked} executed")


def _require_sum(report: OrderReport) -> None:
    fills = report.fills
    if len({fill.trade_id for fill in fills}) != len(fills):
        raise Garbled("a trade stands twice")
    quantity = sum((fill.quantity for fill in fills), ZERO)
    if quantity != report.executed_quantity:
        raise Garbled(f"trades add up to {quantity}, executed is {report.executed_quantity}")
    _require_cost([fill.price * fill.quantity for fill in fills], report.executed_quote)


def _require_cost(products: Sequence[Decimal], told: Decimal) -> None:
    """Refuse a quote amount that is not the sum of price times quantity; each may be rounded to eight places."""
    rounded = any(product % _SMALLEST for product in products)
    cost = sum(products, ZERO)
    if abs(cost - told) > (len(products) * _SMALLEST if rounded else ZERO):
        raise Garbled(f"trades cost {cost}, executed quote is {told}")


def _fills(fields: Fields, report: OrderReport) -> tuple[Fill, ...]:
    at = fields.instant("transactTime")
    made = []
    for item in fields.objects("fills"):
        price, quantity = item.amount("price"), item.amount("qty")
        made.append(
            _checked(
                Fill(
                    trade_id=str(item.count("tradeId")),
                    client_id=report.client_id,
                    symbol=report.symbol,
                    side=report.side,
                    price=_positive("price", price),
                    quantity=_positive("qty", quantity),
                    quote_quantity=price * quantity,
                    fee=item.amount("commission"),
                    fee_asset=item.text("commissionAsset"),
                    at=at,
                    order_id=report.exchange_id,
                )
            )
        )
    return tuple(made)


def _trade(fields: Fields, symbol: Symbol, order_id: str) -> Fill:
    _require(fields, "symbol", venue_name(symbol))
    if order_id and str(fields.count("orderId")) != order_id:
        raise Garbled(f"a trade of order {fields.count('orderId')} among those of {order_id}")
    price, quantity = _positive("price", fields.amount("price")), _positive("qty", fields.amount("qty"))
    _require_cost([price * quantity], fields.amount("quoteQty"))
    return _checked(
        Fill(
            trade_id=str(fields.count("id")),
            client_id="",
            symbol=symbol,
            side=Side.BUY if fields.flag("isBuyer") else Side.SELL,
            price=price,
            quantity=quantity,
            quote_quantity=fields.amount("quoteQty"),
            fee=fields.amount("commission"),
            fee_asset=fields.text("commissionAsset"),
            at=fields.instant("time"),
            order_id=str(fields.count("orderId")),
        )
    )


def _checked(fill: Fill) -> Fill:
    """Refuse a commission larger than what was received, which no venue takes."""
    received = {fill.symbol.base: fill.quantity, fill.symbol.quote: fill.price * fill.quantity}
    if fill.fee_asset in received and fill.fee > received[fill.fee_asset]:
        raise Garbled(f"commission {fill.fee} {fill.fee_asset} on a trade of {received[fill.fee_asset]}")
    return fill


def _require_intent(report: OrderReport, intent: OrderIntent) -> None:
    if report.side is not intent.side:
        raise Garbled(f"side must be {intent.side.value}, got {report.side.value}")
    if report.quantity != intent.quantity:
        raise Garbled(f"quantity must be {intent.quantity}, got {report.quantity}")


def _require_levels(fields: Fields, intent: OrderIntent) -> None:
    """Refuse other prices than ours; answers of some kinds leave the trigger out."""
    if intent.type in PRICED and fields.amount("price") != intent.limit_price:
        raise Garbled(f"price must be {intent.limit_price}, got {fields.amount('price')}")
    stated = intent.type in TRIGGERED and intent.stop_price is not None and "stopPrice" in fields
    if stated and fields.amount("stopPrice") != intent.stop_price:
        raise Garbled(f"stopPrice must be {intent.stop_price}, got {fields.amount('stopPrice')}")


def _require_ours(fields: Fields, name: str, symbol: Symbol, client_id: str) -> None:
    _require(fields, "symbol", venue_name(symbol))
    _require(fields, name, client_id)


def _require(fields: Fields, name: str, expected: str) -> None:
    if fields.text(name) != expected:
        raise Garbled(f"{name} must be {expected!r}, got {fields.text(name)[:40]!r}")


def _side(text: str) -> Side:
    try:
        return Side(text)
    except ValueError as error:
        raise Garbled(f"unknown side {text!r}") from error


def _positive(name: str, amount: Decimal) -> Decimal:
    if amount <= 0:
        raise Garbled(f"{name} must be positive, got {amount}")
    return amount
