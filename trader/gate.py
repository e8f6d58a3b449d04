"""The last word on every order: the limits, held against the books inside the transaction that writes the order.

Risk judges before, on what this process knows. The gate reads the database, so what another thread or process has
written in between counts too, and it counts every order that may still trade.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.control import permits
from bn_ml.domain.account import Control
from bn_ml.domain.market import ZERO, Symbol, exact, from_ms, to_ms
from bn_ml.domain.orders import IntentRecord, IntentState, OrderIntent, Side, receive_window
from bn_ml.domain.positions import Position
from bn_ml.errors import Refused
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from trader.breakers import MAX_NOTIONAL_PER_DAY, MAX_OPEN_POSITIONS, MAX_ORDERS_PER_MIN
from trader.entry_request import may_still_spend

SLACK = 1 + Decimal("1e-20")
MINUTE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Means:
    """What shares are taken of, and the bids that value what is held; a symbol without one counts at its cost."""

    capital: Decimal
    marks: Mapping[Symbol, Decimal] = field(default_factory=dict)


class LimitReached(Refused):
    """An order the limits do not allow; `rule` is its reason code, `value` what it would have come to."""

    def __init__(self, rule: str, value: Decimal, limit: Decimal, detail: str = "") -> None:
        """Keep what was measured beside the text."""
        super().__init__(f"{rule}: {detail or f'{value:f} over {limit:f}'}")
        self.rule = rule
        self.value = value
        self.limit = limit


class Gate:
    """Refuses what would break a limit. Call it inside the transaction that has just written the order."""

    def __init__(self, store: StateStore, settings: Settings) -> None:
        """Read limits from the settings and everything else from the store."""
        self._store = store
        self._risk = settings.risk
        self._orders = settings.exchange.orders
        self._quote_asset = settings.base_quote
        self._receive_window = timedelta(milliseconds=settings.exchange.recv_window_ms)

    def require_permitted(self, control: Control, intent: OrderIntent) -> None:
        """Refuse what the control state forbids."""
        if not permits(control.state, intent.purpose):
            detail = f"{intent.purpose.value} under {control.state.value} ({control.reason})"
            raise LimitReached("control_state", Decimal(1), ZERO, detail)

    def require_room(self, intent: OrderIntent, means: Means | None = None) -> None:
        """Refuse an order with which the books are beyond a limit; without means, shares are of the book value."""
        if intent.side is Side.SELL:
            self._require_held(intent)
            return
        live = self._store.open_intents()
        others = tuple(record for record in live if record.intent.client_id != intent.client_id)
        positions = self._store.open_positions()
        self._require_clear(intent, others, positions)
        self._require_pace(intent)
        self._require_shares(intent, others, positions, means)

    def _require_held(self, intent: OrderIntent) -> None:
        position = self._store.position(intent.position_id)
        if position is None or not position.is_open:
            raise LimitReached("long_only", intent.quantity, ZERO, f"no open position {intent.position_id}")
        offered = offered_quantity(self._store.intents_of(intent.position_id))
        if offered > position.remaining_quantity:
            detail = f"{intent.symbol}: {offered:f} offered of {position.remaining_quantity:f} held"
            raise LimitReached("insufficient_balance", offered, position.remaining_quantity, detail)

    def _require_clear(
        self, intent: OrderIntent, others: Sequence[IntentRecord], positions: Sequence[Position]
    ) -> None:
        unclear = [item.intent.client_id for item in others if self._is_unclear(item, intent.created_at)]
        if unclear:
            raise LimitReached("symbol_frozen", Decimal(len(unclear)), ZERO, f"outcome unknown: {', '.join(unclear)}")
        taken = [position.symbol for position in positions] + [record.intent.symbol for record in others]
        if intent.symbol in taken:
            count = Decimal(taken.count(intent.symbol))
            raise LimitReached("already_open", count, ZERO, f"{intent.symbol} is held or has orders")
        bought = (item.intent.symbol for item in others if item.intent.side is Side.BUY)
        places = {intent.symbol, *(position.symbol for position in positions), *bought}
        _require("max_open_positions", Decimal(len(places)), Decimal(self._places()))

    def _require_pace(self, intent: OrderIntent) -> None:
        now = from_ms(to_ms(intent.created_at))
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        recent = self._store.entries_since(min(midnight, now - MINUTE))
        in_minute = sum(record.intent.created_at >= now - MINUTE for record in recent)
        per_minute = min(self._orders.max_orders_per_min, MAX_ORDERS_PER_MIN)
        _require("order_rate", Decimal(in_minute), Decimal(per_minute))
        today = sum((spent_or_reserved(record) for record in recent if record.intent.created_at >= midnight), ZERO)
        per_day = min(self._orders.max_notional_per_day_usdt, MAX_NOTIONAL_PER_DAY)
        _require("notional_per_day", today, exact(per_day))

    def _require_shares(
        self,
        intent: OrderIntent,
        others: Sequence[IntentRecord],
        positions: Sequence[Position],
        means: Means | None,
    ) -> None:
        cash = self._store.ledger_balance(self._quote_asset)
        marks = {} if means is None else means.marks
        worth = {item.symbol: _worth(item, marks) for item in positions}
        held = sum(worth.values(), ZERO)
        capital = cash + held if means is None else means.capital
        in_flight = sum((may_still_spend(record) for record in others), ZERO)
        claimed = in_flight + max(intent.reserved_quote, notional(intent))
        _require("insufficient_balance", claimed, cash)
        exposure = held + in_flight + notional(intent)
        _require("max_exposure", exposure, capital * exact(self._risk.max_exposure_pct))
        _require("max_symbol_exposure", notional(intent), capital * exact(self._risk.max_symbol_exposure_pct))

    def _is_unclear(self, record: IntentRecord, now: datetime) -> bool:
        if record.state is IntentState.UNKNOWN:
            return True
        late = record.intent.created_at + receive_window(record.intent, self._receive_window)
        return record.state is IntentState.SENT and late < now

    def _places(self) -> int:
        return min(self._risk.max_open_positions, MAX_OPEN_POSITIONS)


def offered_quantity(records: Sequence[IntentRecord]) -> Decimal:
    """Give how much the unfinished sells of one position may still sell at most.

    The legs of a list sell its quantity once, whatever either of them has filled; an order and the one that replaces it
    are never at the exchange together.
    """
    live = {item.intent.client_id: item for item in records if _may_sell(item)}
    offers: dict[str, Decimal] = {}
    for record in live.values():
        group = _group(record.intent, live)
        offers[group] = max(offers.get(group, ZERO), _left(record, records))
    return sum(offers.values(), ZERO)


def notional(intent: OrderIntent) -> Decimal:
    """Give the quote amount of a buy at its limit, at the price it was judged at when it has none."""
    price = intent.limit_price or intent.reference_price
    return intent.reserved_quote if price is None else intent.quantity * price


def spent_or_reserved(record: IntentRecord) -> Decimal:
    """Give what an entry has spent, or may have spent in the end while it is not finished."""
    claimed = ZERO if record.state.is_terminal else let_through(record.intent)
    return max(record.filled_quote, claimed)


def let_through(intent: OrderIntent) -> Decimal:
    """Give what an entry was measured at against the limits when it was committed."""
    return max(intent.reserved_quote, notional(intent))


def _may_sell(record: IntentRecord) -> bool:
    return record.intent.side is Side.SELL and not record.state.is_terminal


def _group(intent: OrderIntent, live: Mapping[str, IntentRecord]) -> str:
    replaced = live.get(intent.replaces)
    if replaced is not None:
        return _group(replaced.intent, live)
    return intent.list_id or intent.client_id


def _left(record: IntentRecord, records: Iterable[IntentRecord]) -> Decimal:
    list_id = record.intent.list_id
    if list_id is None:
        return record.intent.quantity - record.filled_quantity
    filled = sum((item.filled_quantity for item in records if item.intent.list_id == list_id), ZERO)
    return record.intent.quantity - filled


def _worth(position: Position, marks: Mapping[Symbol, Decimal]) -> Decimal:
    mark = marks.get(position.symbol)
    return position.cost_open_quote if mark is None else position.notional_quote(mark)


def _require(rule: str, value: Decimal, limit: Decimal) -> None:
    if value > limit * SLACK:
        raise LimitReached(rule, value, limit)
