"""What the kill switch decides: whether the running bot does what it was told, and what came of it in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import Fill, IntentRecord, IntentState, Side
from bn_ml.domain.positions import Position
from bn_ml.processes import ProcessState
from bn_ml.state_watch import BookView

FLAT, ONLY_DUST, NOT_FLAT = 0, 3, 4
PATIENCE_S = 10.0
"""How long the running bot may take to show that it has understood, and then from one sign of progress to the next."""

NOT_IN_WALLET = "not in the wallet"


class Verdict(Enum):
    """What to do about the bot that holds the book."""

    WAIT = "wait"
    DONE = "done"
    REPLACE = "replace"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Sign:
    """What is seen of the bot at one moment.

    `beat` changes whenever its loop goes round, `mark` whenever it writes about orders. `epoch_seen` is the newest
    control state its loop says it has read, 0 when it does not say.
    """

    process: ProcessState
    beat: str
    epoch_seen: int
    mark: tuple[int, ...]
    is_flat: bool


class Watch:
    """Judges the running bot from one sign to the next. Times in monotonic seconds."""

    def __init__(
        self, first: Sign, epoch: int, *, now_s: float, until_s: float, patience_s: float = PATIENCE_S
    ) -> None:
        """Watch from the moment the halt of `epoch` was committed until `until_s` at the latest."""
        self._last = first
        self._epoch = epoch
        self._until_s = until_s
        self._patience_s = patience_s
        self._moved_s = now_s
        self._understood = False

    def judge(self, sign: Sign, now_s: float, *, reachable: bool = True) -> Verdict:
        """Say what to do now. A bot that has understood is not replaced while the exchange is away."""
        if sign.is_flat:
            return Verdict.DONE
        if sign.process is not ProcessState.RUNNING:
            return Verdict.REPLACE
        self._understood = self._understood or sign.epoch_seen >= self._epoch or sign.mark != self._last.mark
        # Before it has understood, going round proves nothing; afterwards each write does, and each round while
        # nothing can be written.
        moved = self._understood and (sign.mark != self._last.mark or (not reachable and sign.beat != self._last.beat))
        if moved:
            self._moved_s = now_s
        self._last = sign
        if now_s - self._moved_s >= self._patience_s:
            return Verdict.REPLACE
        return Verdict.GIVE_UP if now_s >= self._until_s else Verdict.WAIT


@dataclass(frozen=True, slots=True)
class SymbolResult:
    """What became of one symbol: orders cancelled, base units sold, left to sell, left as dust, and why."""

    symbol: Symbol
    cancelled: int
    sold: Decimal
    left: Decimal
    dust: Decimal = ZERO
    why: str = ""

    @property
    def is_flat(self) -> bool:
        """Whether nothing is left but dust, or what the wallet does not hold."""
        return self.left == 0 or self.why == NOT_IN_WALLET


@dataclass(frozen=True, slots=True)
class Holdings:
    """What of our own a book shows: open positions, unfinished orders, and by symbol what its ledger owns."""

    positions: Sequence[Position]
    orders: Sequence[IntentRecord]
    ledger: Mapping[Symbol, Decimal]

    @property
    def dust(self) -> dict[Symbol, Decimal]:
        """What is owned of symbols without an open position."""
        return {symbol: amount for symbol, amount in self.ledger.items() if amount > 0 and not self.of(symbol)}

    def of(self, symbol: Symbol) -> Decimal:
        """Give what is held of a symbol in open positions."""
        return sum((item.remaining_quantity for item in self.positions if item.symbol == symbol), ZERO)


def holdings(view: BookView, quote: str, covers: Callable[[Symbol], bool]) -> Holdings:
    """Give what of our own a book shows in the symbols covered; `quote` is the asset the book is kept in."""
    ledger = {Symbol(f"{asset}/{quote}"): amount for asset, amount in view.ledger.items() if asset != quote}
    return Holdings(
        [item for item in view.positions if covers(item.symbol)],
        [item for item in view.orders if covers(item.intent.symbol)],
        {symbol: amount for symbol, amount in ledger.items() if covers(symbol)},
    )


def symbol_results(
    before: Holdings,
    after: Holdings,
    *,
    fills: Sequence[Fill],
    finished: Sequence[IntentRecord],
    why: Mapping[Symbol, str],
) -> tuple[SymbolResult, ...]:
    """Give one line per symbol that held or ordered anything before or after, or is owned as dust, in order of name.

    `fills` are those booked in between, `finished` the orders of `before` as they are now.
    """
    holding = [item.symbol for item in (*before.positions, *after.positions)]
    ordering = [item.intent.symbol for item in (*before.orders, *after.orders)]
    symbols = {*holding, *ordering, *why, *after.dust, *(fill.symbol for fill in fills)}
    return tuple(_result(symbol, after, fills=fills, finished=finished, why=why) for symbol in sorted(symbols))


def exit_code(results: Sequence[SymbolResult], after: Holdings) -> int:
    """Give 0 when nothing of ours is left, 3 when only dust is, 4 when anything is still to be cancelled or sold."""
    if after.orders or not all(item.is_flat for item in results):
        return NOT_FLAT
    return ONLY_DUST if any(item.dust > 0 for item in results) else FLAT


def _result(
    symbol: Symbol,
    after: Holdings,
    *,
    fills: Sequence[Fill],
    finished: Sequence[IntentRecord],
    why: Mapping[Symbol, str],
) -> SymbolResult:
    ended = [item for item in finished if item.intent.symbol == symbol and item.state is IntentState.CANCELED]
    left, dust = after.of(symbol), after.dust.get(symbol, ZERO)
    unfinished = sum(1 for item in after.orders if item.intent.symbol == symbol)
    reason = why.get(symbol) or (f"{unfinished} orders unfinished" if unfinished else _unsold(left, dust))
    sold = sum((fill.quantity for fill in fills if fill.symbol == symbol and fill.side is Side.SELL), ZERO)
    return SymbolResult(symbol, len(ended), sold, left, dust, reason)


def _unsold(left: Decimal, dust: Decimal) -> str:
    if left:
        return "not sold yet"
    return "too small to sell" if dust else ""
