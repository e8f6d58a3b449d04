"""Raises resting stops: in one request where the venue replaces a lone stop, else cancelled and placed again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from bn_ml.domain.market import Bar, MarketRules, Quote
from bn_ml.domain.orders import IntentRecord, IntentState
from bn_ml.domain.positions import Position, Tranche
from trader.cover import Cover, Tools
from trader.order_manager import OrderManager
from trader.refusals import Refusal, refusal_of
from trader.stop_levels import is_past_stop
from trader.trailing import StopMove, guaranteed, stop_move
from trader.tranche_orders import StopTerms
from trader.unprotected import is_covered


class StopMover:
    """Moves the stops of covered positions upwards, one tranche at a time."""

    def __init__(self, tools: Tools, orders: OrderManager, cover: Cover) -> None:
        """Move with these tools."""
        self._tools = tools
        self._tranches = tools.tranches
        self._orders = orders
        self._cover = cover

    def move(self, position: Position, wanted: Decimal, distance_frac: Decimal | None) -> bool:
        """Raise every stop to `wanted`, or let the venue trail it at a distance; tells whether anything was sent.

        While any tranche is without its stop, or any answer unclear, no other stop is touched: the next look goes on.
        """
        rules, quote = self._tools.closer.rules(position), self._tools.fresh_quote(position)
        sent = False
        for tranche in position.tranches:
            stop = self._tranches.stop_of(position.position_id, tranche.label)
            if stop is None or not self._is_settled(position.position_id):
                break
            distance = distance_frac if self._tools.may_hand_over(quote) else None
            move = _decided(stop, tranche, wanted, quote, rules, distance)
            if move is None:
                continue
            sent = True
            self._move_one(position, stop, replace(tranche, stop_price=move.stop), move.trailing_bp, rules, quote)
        return sent

    def follow(self, position: Position, quote: Quote, bars: tuple[Bar, ...]) -> None:
        """Note how far the venue's trailing stops have risen by the trades seen."""
        rules = self._tools.closer.rules(position)
        for tranche in position.tranches:
            stop = self._tranches.stop_of(position.position_id, tranche.label)
            if stop is not None and stop.intent.trailing_bp:
                level = guaranteed(stop.intent, quote, bars, rules)
                self._tranches.raise_record(position.position_id, tranche.label, level)
        self._tranches.settle(position.position_id)

    def _move_one(
        self,
        position: Position,
        stop: IntentRecord,
        aim: Tranche,
        basis_points: int,
        rules: MarketRules,
        quote: Quote | None,
    ) -> None:
        passed = quote is not None and is_past_stop(aim, quote)
        if stop.intent.list_id or passed or not rules.replace_allowed:
            self._place_again(position, aim, basis_points)
            return
        last = None if quote is None else quote.last
        rest = rules.quantity_down(self._tranches.rest_of(position, aim.label))
        terms = StopTerms(rest, aim.stop_price, trailing_bp=basis_points, last=last)
        record = self._tranches.replace(position, stop, terms)
        if record.state is IntentState.OPEN and basis_points:
            self._tranches.raise_record(position.position_id, aim.label, aim.stop_price)
        if record.state is IntentState.REFUSED:
            self._after_refusal(position, aim, refusal_of(record.reason))

    def _after_refusal(self, position: Position, aim: Tranche, refusal: Refusal) -> None:
        old = self._tranches.stop_of(position.position_id, aim.label)
        if old is not None and refusal is not Refusal.NO_STOP:
            # What rests is worth more than what was wanted: nothing is risked for a better stop.
            return
        if old is None and self._tranches.live(position.position_id, aim.label):
            return
        self._place_again(position, aim, 0)

    def _place_again(self, position: Position, aim: Tranche, basis_points: int) -> None:
        self._tools.bare.begin(position.position_id, aim.label)
        if self._tranches.cancel_all(position.position_id, aim.label):
            self._cover.cover(position.position_id, aim, basis_points)

    def _is_settled(self, position_id: str) -> bool:
        held, live = self._tools.position(position_id), self._orders.open_of(position_id)
        all_known = all(record.state is IntentState.OPEN for record in live)
        return held is not None and all_known and is_covered(held, live)


def _decided(
    stop: IntentRecord,
    tranche: Tranche,
    wanted: Decimal,
    quote: Quote | None,
    rules: MarketRules,
    distance: Decimal | None,
) -> StopMove | None:
    if stop.intent.trailing_bp or stop.intent.stop_price is None:
        return None
    level, resting = max(wanted, tranche.stop_price), stop.intent.stop_price
    if quote is None:
        return StopMove(level) if level > resting else None
    return stop_move(resting, level, quote.last, rules, distance_frac=distance)
