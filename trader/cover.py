"""Brings one tranche under a resting stop, or decides with the venue's answer what becomes of it instead."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from decimal import Decimal

from bn_ml.domain.market import MarketRules, Quote
from bn_ml.domain.orders import IntentRecord, IntentState
from bn_ml.domain.positions import ExitReason, Position, Tranche
from bn_ml.errors import MarketDataError
from trader.closing import Closer
from trader.desk import Desk
from trader.exit_manager import stop_reason
from trader.free_places import FreePlaces
from trader.ladder import FIRST, RUNNER, is_sellable
from trader.pauses import Pauses
from trader.refusals import Refusal, refusal_of
from trader.stop_levels import fitted, is_past_stop, is_past_target
from trader.trailing import NEWEST_S, may_start
from trader.tranche_orders import StopTerms, TrancheOrders
from trader.unprotected import UnprotectedTime

log = logging.getLogger(__name__)

STOP_TRIES = 2
"""How often a refused stop is tried at a valid price before the tranche is sold."""

LATE_TRIES = 2
"""How often a stop that came too late is placed again at once; that says nothing of the order and does not count."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What protecting a tranche takes; all share the desk's store."""

    desk: Desk
    tranches: TrancheOrders
    closer: Closer
    places: FreePlaces
    pauses: Pauses
    bare: UnprotectedTime

    def position(self, position_id: str) -> Position | None:
        """Give a position as of now, None when it is not open."""
        held = self.tranches.positions.position(position_id)
        return held if held is not None and held.is_open else None

    def fresh_quote(self, position: Position) -> Quote | None:
        """Give a quote that may be judged on, None while there is none: a stop is placed without."""
        try:
            quote = self.desk.market.quote(position.symbol)
        except MarketDataError:
            return None
        limit = self.desk.settings.data.max_quote_age_exit_sec
        return quote if abs(quote.age_s(self.desk.clock.now())) <= limit else None

    def may_hand_over(self, quote: Quote | None) -> bool:
        """Tell whether a quote is new enough to let the venue's tracking begin about where it says."""
        return quote is not None and abs(quote.age_s(self.desk.clock.now())) <= NEWEST_S


class Cover:
    """Places the stop of a tranche that has none."""

    def __init__(self, tools: Tools) -> None:
        """Decide with these tools."""
        self._tools = tools
        self._tranches = tools.tranches
        self._closer = tools.closer

    def cover(self, position_id: str, tranche: Tranche, trailing_bp: int = 0) -> None:
        """Place a tranche's stop at its level or above; `trailing_bp` hands it to the venue where that is not lower.

        What of the tranche is offered otherwise is cancelled and read back first; an unclear answer ends the attempt.
        """
        refused, late, refusal = 0, 0, Refusal.INVALID
        while refused < STOP_TRIES:
            held = self._ready(position_id, tranche.label)
            if held is None:
                return
            rest = self._tranches.rest_of(held, tranche.label)
            tranche = self._tranches.not_below_shown(held, tranche)
            placed = self._place(held, tranche, rest, trailing_bp)
            if placed is None or placed.state is not IntentState.REFUSED:
                return
            refusal = refusal_of(placed.reason)
            if refusal is Refusal.TOO_LATE and late < LATE_TRIES:
                late += 1
                continue
            if not self._once_more(held, tranche, rest, refusal):
                return
            refused, trailing_bp = refused + 1, 0
        self._give_up(position_id, tranche, refusal)

    def _ready(self, position_id: str, label: str) -> Position | None:
        """Give the position when nothing of the tranche is offered any more and some of it is left, else None."""
        if self._tranches.stop_of(position_id, label) is not None:
            return None
        if not self._tranches.cancel_all(position_id, label):
            return None
        self._tools.bare.begin(position_id, label)
        # Read after the cancels: they may have brought fills.
        held = self._tools.position(position_id)
        if held is None:
            return None
        if self._tranches.rest_of(held, label) > 0:
            return held
        self._tranches.save(replace(held, tranches=_others(held, label)))
        return None

    def _place(self, held: Position, tranche: Tranche, rest: Decimal, trailing_bp: int) -> IntentRecord | None:
        """Send the stop, or do what has to be done instead; None when no stop was sent."""
        rules, quote = self._closer.rules(held), self._tools.fresh_quote(held)
        aim = fitted(tranche, rules, quote)
        if not is_sellable(rest, aim.stop_price, rules):
            if not self._fold(held, tranche, rest):
                self._closer.sell(held, rest, ExitReason.BELOW_MIN_SIZE, tranche.label)
            return None
        reason = _past(held, aim, quote)
        if reason is not None:
            self._closer.sell(held, rest, reason, tranche.label)
            return None
        basis_points = _trailing(trailing_bp, aim, quote, rules) if self._tools.may_hand_over(quote) else 0
        return self._send(held, aim, rules.quantity_down(rest), basis_points, quote)

    def _send(
        self, held: Position, aim: Tranche, quantity: Decimal, basis_points: int, quote: Quote | None
    ) -> IntentRecord:
        last = None if quote is None else quote.last
        terms = StopTerms(quantity, aim.stop_price, aim.target_price, basis_points, last)
        record = self._tranches.place(held, aim.label, terms)
        if record.state is IntentState.OPEN:
            self._tools.pauses.accepted(held.position_id)
            self._tools.bare.end(held.position_id, aim.label)
            if basis_points:
                self._tranches.raise_record(held.position_id, aim.label, aim.stop_price)
        return record

    def _once_more(self, held: Position, tranche: Tranche, rest: Decimal, refusal: Refusal) -> bool:
        """Tell whether to try again at once; otherwise what can be done instead has been done."""
        if refusal in (Refusal.NO_LIST, Refusal.NO_STOP):
            self._tools.places.forget(held.symbol)
            if self._stands(held, tranche.label):
                self._wait_for_place(held, tranche, rest, refusal)
            else:
                self._shrink(held, tranche, rest)
        elif refusal is Refusal.BALANCE:
            self._cover_what_is_free(held, tranche, rest)
        elif refusal in (Refusal.LATER, Refusal.TOO_LATE, Refusal.CLOSED):
            self._tools.pauses.refused(held.position_id)
        else:
            return True
        return False

    def _shrink(self, held: Position, tranche: Tranche, rest: Decimal) -> None:
        """Need one place less: join a neighbour, or else do without the target."""
        if self._fold(held, tranche, rest):
            return
        if tranche.target_price is None:
            log.error("no place for a stop symbol=%s quantity=%s", held.symbol, rest)
            self._tools.pauses.refused(held.position_id)
            return
        lone = Tranche(RUNNER, rest, tranche.stop_price)
        self._tranches.save(replace(held, tranches=(*_others(held, tranche.label), lone)))
        self.cover(held.position_id, lone)

    def _wait_for_place(self, held: Position, tranche: Tranche, rest: Decimal, refusal: Refusal) -> None:
        """Do without the target where that helps, else wait: a neighbour's resting stop is not lifted for this one.

        What finds no place for too long is sold.
        """
        if refusal is Refusal.NO_LIST and tranche.target_price is not None:
            alone = replace(tranche, quantity=rest, target_price=None)
            kept = tuple(alone if item.label == alone.label else item for item in held.tranches)
            self._tranches.save(replace(held, tranches=kept))
            self.cover(held.position_id, alone)
            return
        log.error("no place for a stop symbol=%s tranche=%s quantity=%s", held.symbol, tranche.label, rest)
        self._tools.pauses.refused(held.position_id)

    def _stands(self, held: Position, label: str) -> bool:
        """Tell whether the position was protected before and the neighbour's stop rests."""
        neighbour = _neighbour(held, label)
        if neighbour is None or held.protected_at is None:
            return False
        return self._tranches.stop_of(held.position_id, neighbour.label) is not None

    def _fold(self, held: Position, tranche: Tranche, rest: Decimal) -> bool:
        """Hand what is left of a tranche to a neighbour; False when there is none."""
        neighbour = _neighbour(held, tranche.label)
        if neighbour is None:
            return False
        if not self._tranches.cancel_all(held.position_id, neighbour.label):
            return True
        self._tools.bare.begin(held.position_id, neighbour.label)
        now = self._tools.position(held.position_id)
        if now is not None and any(item.label == neighbour.label for item in now.tranches):
            stop = max(neighbour.stop_price, tranche.stop_price)
            wider = replace(neighbour, quantity=neighbour.quantity + rest, stop_price=stop)
            others = _others(now, tranche.label)
            kept = tuple(wider if item.label == wider.label else item for item in others)
            self._tranches.save(replace(now, tranches=kept))
            self.cover(held.position_id, wider)
        return True

    def _cover_what_is_free(self, held: Position, tranche: Tranche, rest: Decimal) -> None:
        """Protect as much as the exchange lets us: the rest is locked by somebody else, or missing."""
        rules, quote = self._closer.rules(held), self._tools.fresh_quote(held)
        free = rules.quantity_down(min(rest, self._closer.free(held)))
        log.error("less is free than held symbol=%s wanted=%s free=%s", held.symbol, rest, free)
        aim = fitted(tranche, rules, quote)
        if not is_sellable(free, aim.stop_price, rules) or self._send(held, aim, free, 0, quote).state is not (
            IntentState.OPEN
        ):
            self._tools.pauses.refused(held.position_id)

    def _give_up(self, position_id: str, tranche: Tranche, refusal: Refusal) -> None:
        held = self._tools.position(position_id)
        if held is None:
            return
        log.error("stop refused twice, selling symbol=%s tranche=%s", held.symbol, tranche.label)
        reason = ExitReason.PROTECTION_FAILED
        if refusal is Refusal.BELOW_STOP:
            reason = stop_reason(held)
        elif refusal is Refusal.ABOVE_TARGET:
            reason = _target_reason(tranche)
        self._closer.sell(held, self._tranches.rest_of(held, tranche.label), reason, tranche.label)


def _past(position: Position, aim: Tranche, quote: Quote | None) -> ExitReason | None:
    """Give why a tranche is sold instead of protected, None when the price lies between stop and target."""
    if quote is None:
        return None
    if is_past_stop(aim, quote):
        return stop_reason(position)
    return _target_reason(aim) if is_past_target(aim, quote) else None


def _trailing(basis_points: int, aim: Tranche, quote: Quote | None, rules: MarketRules) -> int:
    """Give the trailing distance if it may begin at this quote without a lower stop, else 0."""
    if quote is None or not basis_points or not may_start(quote.last, basis_points, aim.stop_price, rules):
        return 0
    return basis_points


def _target_reason(tranche: Tranche) -> ExitReason:
    return ExitReason.TP1 if tranche.label == FIRST else ExitReason.TP2


def _others(position: Position, label: str) -> tuple[Tranche, ...]:
    return tuple(item for item in position.tranches if item.label != label)


def _neighbour(position: Position, label: str) -> Tranche | None:
    """Give the tranche after the named one, the one before it for the last, None when there is no other."""
    labels = [item.label for item in position.tranches]
    if label not in labels or len(labels) < 2:
        return None
    place = labels.index(label)
    return position.tranches[place + 1 if place + 1 < len(labels) else place - 1]
