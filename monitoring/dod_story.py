"""What happened in what order, from the exact tables, and what was owned, held and on its way after each step.

The journal gives the order of what it tells; an order or a trade it does not tell of takes its place by its own time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import gcd

from bn_ml.domain.market import to_ms
from monitoring.dod_rows import FillRow, IntentRow, LedgerRow, Rows, ToldRow, to_whole

NEVER_PLACED = frozenset({"REFUSED", "NEVER_ACCEPTED"})
_LATE = 1 << 62


class StepKind(Enum):
    """What a step does."""

    SENT = "sent"
    FILLED = "filled"
    ENDED = "ended"
    DOUBTED = "doubted"
    MISSING = "missing"
    CLOSED = "closed"
    CYCLE_BEGAN = "cycle_began"
    CYCLE_ENDED = "cycle_ended"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. `at_ms` is when the bot knew of it; `cycle` the turn it was in, -1 when not known."""

    at_ms: int
    kind: StepKind
    cycle: int = -1
    intent: IntentRow | None = None
    fill: FillRow | None = None
    position_id: str = ""
    quantity: int = 0


@dataclass(slots=True)
class Holding:
    """What the trades so far leave of a position. `entry_ended_ms` is None while its entry may still buy."""

    position_id: str
    symbol: str
    step: int
    quantity: int = 0
    received: int = 0
    cost: int = 0
    entry_ended_ms: int | None = None

    @property
    def sellable(self) -> int:
        """The quantity that whole lots make of it."""
        return self.quantity // self.step * self.step


@dataclass
class Story:
    """The state after the steps taken so far. Amounts in units; `cash` by asset."""

    rows: Rows
    now_ms: int = 0
    cash: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    holdings: dict[str, Holding] = field(default_factory=dict)
    live: dict[str, IntentRow] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    filled: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    filled_quote: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _outside: list[LedgerRow] = field(default_factory=list)
    _steps: Mapping[str, int] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Keep what came from outside in order of time, and the lot of each symbol."""
        self._outside = sorted((row for row in self.rows.ledger if row.symbol is None), key=lambda row: -row.at_ms)
        self._steps = _lots(self.rows)

    def take_in(self, until_ms: int) -> None:
        """Add what came from outside up to an instant, or left, before anything else is judged there."""
        while self._outside and self._outside[-1].at_ms <= until_ms:
            row = self._outside.pop()
            self.cash[row.asset] += row.amount

    def apply(self, step: Step) -> None:
        """Bring the state up to date with one more step."""
        self.now_ms = max(self.now_ms, step.at_ms)
        intent = step.intent
        if step.kind is StepKind.CLOSED:
            self.holdings.pop(step.position_id, None)
            self._over.add(step.position_id)
        elif step.kind is StepKind.MISSING and step.position_id in self.holdings:
            self.holdings[step.position_id].quantity -= step.quantity
        elif intent is None:
            return
        elif step.kind is StepKind.SENT:
            self.live[intent.client_id] = intent
        elif step.kind is StepKind.DOUBTED:
            self.doubtful.add(intent.client_id)
        elif step.kind is StepKind.ENDED:
            self._end(intent)
        elif step.kind is StepKind.FILLED and step.fill is not None:
            self._book(step.fill, intent)

    def occupied(self) -> set[str]:
        """Give the symbols held or being bought."""
        held = {item.symbol for item in self.holdings.values() if item.quantity > 0}
        return held | {row.symbol for row in self.live.values() if row.side == "BUY"}

    def may_spend(self) -> int:
        """Give what the buys that are not finished may still spend, in units of the quote asset."""
        buys = (row for row in self.live.values() if row.side == "BUY")
        return sum(max(max(row.reserved_quote, row.notional) - self.filled_quote[row.client_id], 0) for row in buys)

    def stops_left(self, position_id: str) -> int:
        """Give the quantity that resting stops of a position still sell."""
        stops = (row for row in self.live.values() if row.position_id == position_id and row.purpose == "stop")
        return sum(row.qty - self.filled[row.client_id] for row in stops if row.state not in NEVER_PLACED)

    def is_in_doubt(self, position_id: str) -> bool:
        """Whether nobody can say what became of an order of a position."""
        return any(row.position_id == position_id for name, row in self.live.items() if name in self.doubtful)

    def _end(self, intent: IntentRow) -> None:
        self.live.pop(intent.client_id, None)
        self.doubtful.discard(intent.client_id)
        holding = self.holdings.get(intent.position_id)
        if intent.is_entry and holding is not None:
            holding.entry_ended_ms = self.now_ms

    def _book(self, fill: FillRow, intent: IntentRow) -> None:
        base, _, quote = fill.symbol.partition("/")
        sign = 1 if fill.side == "BUY" else -1
        self.cash[base] += sign * fill.qty
        self.cash[quote] -= sign * fill.quote
        self.cash[fill.fee_asset] -= fill.fee
        self.filled[fill.client_id] += fill.qty
        self.filled_quote[fill.client_id] += fill.quote
        # A trade is proof enough that the exchange has the order.
        self.doubtful.discard(fill.client_id)
        held = self.holdings.get(intent.position_id)
        if held is None:
            if sign < 0 or intent.position_id in self._over:
                # What comes after the end of a position is dust, and nothing to protect.
                return
            held = Holding(intent.position_id, fill.symbol, self._steps.get(fill.symbol, 1))
            self.holdings[intent.position_id] = held
            if intent.client_id not in self.live:
                held.entry_ended_ms = self.now_ms
        if sign > 0:
            received = fill.qty - fill.base_fee
            held.quantity += received
            held.received += received
            held.cost += fill.quote + fill.quote_fee
        else:
            held.quantity -= fill.qty


def timeline(rows: Rows) -> tuple[Step, ...]:
    """Give all steps of a book in their order."""
    told = list(_told_steps(rows))
    return tuple(step for _, step in sorted((*told, *_untold_steps(rows)), key=lambda item: item[0]))


def _told_steps(rows: Rows) -> Iterator[tuple[tuple[int, int], Step]]:
    intents = {row.client_id: row for row in rows.intents}
    fills = {(row.symbol, row.trade_id): row for row in rows.fills}
    closed = _closed(rows)
    now = 0
    for row in rows.told:
        # A trade carries its own instant, which may lie before the one the bot learned of it.
        now = max(now, row.at_ms)
        step = _step_of(row, now, intents, fills)
        if step is not None:
            yield (now, row.id), step
            yield from _closing(step, row.id, closed)


def _closing(step: Step, place: int, closed: Mapping[int, str]) -> Iterator[tuple[tuple[int, int], Step]]:
    """Close a position right after the last trade that sold of it."""
    if step.fill is not None and step.fill.id in closed:
        yield (step.at_ms, place), Step(step.at_ms, StepKind.CLOSED, position_id=closed[step.fill.id])


def _step_of(
    row: ToldRow, at_ms: int, intents: Mapping[str, IntentRow], fills: Mapping[tuple[str, str], FillRow]
) -> Step | None:
    told = row.payload
    intent = intents.get(told.client_id)
    match row.kind:
        case "CycleStarted":
            return Step(at_ms, StepKind.CYCLE_BEGAN, row.cycle)
        case "CycleFinished":
            return Step(at_ms, StepKind.CYCLE_ENDED, row.cycle)
        case "PositionReconciled":
            missing = to_whole(told.missing)
            return Step(at_ms, StepKind.MISSING, row.cycle, position_id=told.position_id, quantity=missing)
        case "OrderSent" if intent is not None:
            return Step(at_ms, StepKind.SENT, row.cycle, intent)
        case "OrderFinished" | "OrderRejected" if intent is not None and intent.resolved_ms is not None:
            return Step(at_ms, StepKind.ENDED, row.cycle, intent)
        case "OrderOutcomeUnknown" if intent is not None:
            return Step(at_ms, StepKind.DOUBTED, row.cycle, intent)
        case "OrderFilled" if intent is not None:
            fill = fills.get((told.symbol, told.trade_id))
            return None if fill is None else Step(at_ms, StepKind.FILLED, row.cycle, intent, fill)
    return None


def _untold_steps(rows: Rows) -> Iterator[tuple[tuple[int, int], Step]]:
    """Give the orders, ends, trades and ends of positions the journal says nothing of, each at its own time."""
    intents = {row.client_id: row for row in rows.intents}
    sent = {row.payload.client_id for row in rows.told if row.kind == "OrderSent"}
    ended = {row.payload.client_id for row in rows.told if row.kind in ("OrderFinished", "OrderRejected")}
    filled = {(row.payload.symbol, row.payload.trade_id) for row in rows.told if row.kind == "OrderFilled"}
    for intent in rows.intents:
        if intent.client_id not in sent:
            yield (intent.created_ms, _LATE), Step(intent.created_ms, StepKind.SENT, intent=intent)
        if intent.client_id not in ended and intent.resolved_ms is not None:
            yield (intent.resolved_ms, _LATE + 2), Step(intent.resolved_ms, StepKind.ENDED, intent=intent)
    for fill in rows.fills:
        if (fill.symbol, fill.trade_id) not in filled and fill.client_id in intents:
            step = Step(fill.at_ms, StepKind.FILLED, intent=intents[fill.client_id], fill=fill)
            yield (fill.at_ms, _LATE + 1), step
    sold_out = set(_closed(rows).values())
    for position in rows.positions:
        if position.closed_at is not None and position.position_id not in sold_out:
            at_ms = to_ms(position.closed_at)
            yield (at_ms, _LATE + 3), Step(at_ms, StepKind.CLOSED, position_id=position.position_id)


def _closed(rows: Rows) -> dict[int, str]:
    """Give, by the number of the trade that ended it, each closed position whose end was a sale."""
    ends = {item.position_id: to_ms(item.closed_at) for item in rows.positions if item.closed_at is not None}
    owner = {row.client_id: row.position_id for row in rows.intents}
    sales = ((fill, owner.get(fill.client_id, "")) for fill in rows.fills if fill.side == "SELL")
    last = {name: fill.id for fill, name in sales if ends.get(name) == fill.at_ms}
    return {fill_id: name for name, fill_id in last.items()}


def _lots(rows: Rows) -> dict[str, int]:
    """Give the lot of each symbol: by the rules its entries were planned under, else what divides every order of it."""
    lots: dict[str, int] = {}
    for row in rows.intents:
        lots[row.symbol] = gcd(lots.get(row.symbol, 0), row.qty)
    for plan in rows.plans.values():
        lots[str(plan.rules.symbol)] = to_whole(plan.rules.step)
    return {symbol: max(lot, 1) for symbol, lot in lots.items()}
