"""A Binance Spot REST server without the network: one request and the time in, one response out.

Deterministic: the same requests at the same times against the same venue give the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bn_ml.errors import StateError
from bn_ml.venue.errors import ENGINE, HALF_REPLACED, NOT_REPLACED, VenueError
from bn_ml.venue.happenings import OrderHappening, Step
from bn_ml.venue.invariants import Conservation, momentary_violations
from bn_ml.venue.orders import VenueOrder
from bn_ml.venue.venue import Venue
from public_api.sandbox import answers
from public_api.sandbox.desk import Call, Desk
from public_api.sandbox.limits import LimitSettings, WeightMeter
from public_api.sandbox.listings import Listings, wire
from public_api.sandbox.market_data import MarketData
from public_api.sandbox.order_answers import queried
from public_api.sandbox.requests import Parameters, Request, Response
from public_api.sandbox.routes import GONE, ROUTES, Access, Route
from public_api.sandbox.signing import KeyRing, SignedTime, check_signature, no_permission
from public_api.sandbox.time_unit import in_microseconds, wants_microseconds

KEPT_HAPPENINGS = 10_000
_REACHED_ENGINE = (ENGINE, HALF_REPLACED, NOT_REPLACED)


class Dialect:
    """Speaks for one venue to the clients of one account.

    `recoded` changes the code an error text is sent with, by text. After each request that may change the books their
    invariants are tested; a broken one raises `StateError`.
    """

    def __init__(
        self,
        venue: Venue,
        markets: MarketData,
        keys: Mapping[str, str],
        *,
        limits: LimitSettings | None = None,
        seed: int = 0,
        recoded: Mapping[str, int] | None = None,
    ) -> None:
        """Open for business; `keys` are secrets (or PEM public keys) by API key."""
        self._desk = Desk(venue, markets, KeyRing(keys), limits or LimitSettings(), seed)
        self.recoded = dict(recoded or {})
        self._meters: dict[str, WeightMeter] = {}
        self._outbox: deque[OrderHappening] = deque(maxlen=KEPT_HAPPENINGS)
        self._watch(venue)

    @property
    def venue(self) -> Venue:
        """The venue behind the answers."""
        return self._desk.venue

    @property
    def keys(self) -> KeyRing:
        """The account's keys and what they may do."""
        return self._desk.keys

    @property
    def listings(self) -> Listings:
        """The symbols, their statuses and filters."""
        return self._desk.listings

    @property
    def desk(self) -> Desk:
        """What the endpoints work with."""
        return self._desk

    def handle(self, request: Request, now_ms: int, *, engine_ms: int | None = None, trusted: bool = False) -> Response:
        """Answer a request received at `now_ms` that reaches the matching engine at `engine_ms` (default: at once).

        `trusted`: key, signature and time were tested elsewhere, as for a logged-in WebSocket; they are not looked at.
        """
        meter = self.meter(request.address)
        route = ROUTES.get((request.method, request.path))
        params = Parameters(request.query, request.body if request.method != "GET" else "")
        try:
            weight = 1 if route is None else route.weight(params)
        except VenueError as refusal:
            route, weight, response = None, 1, answers.error(refusal)
        else:
            response = answers.gone() if request.path in GONE else answers.not_found()
        try:
            meter.admit(0 if route is not None and route.free else weight, now_ms)
            if route is not None:
                call = Call(params, now_ms if engine_ms is None else engine_ms)
                finer = wants_microseconds(request)
                payload = self._carried_out(route, request, call, None if trusted else now_ms)
                response = answers.answer(in_microseconds(payload) if finer else payload)
        except VenueError as refusal:
            response = answers.error(self._recoded(refusal))
            if route is not None and route.free and response.status not in (418, 429):
                meter.charge(weight, now_ms)
        return self._with_headers(response, request, route, now_ms)

    def meter(self, address: str) -> WeightMeter:
        """Give the weight counter of an address."""
        if address not in self._meters:
            self._meters[address] = WeightMeter(self._desk.limits)
        return self._meters[address]

    def open_order_bodies(self) -> dict[str, str]:
        """Give the present answers to a query for open orders: by wire name, and for all under the empty name."""
        opened = self.venue.open_orders()
        names = ("", *(wire(symbol) for symbol in self.listings.all()))
        return {
            name: answers.answer([queried(order) for order in opened if name in ("", wire(order.symbol))]).body
            for name in names
        }

    def take_happenings(self) -> Sequence[OrderHappening]:
        """Give, once, what happened to orders since the last call, in order."""
        self.settle()
        taken = tuple(self._outbox)
        self._outbox.clear()
        return taken

    def settle(self) -> None:
        """Take notice of what quotes and bars did to orders; raises `StateError` when an invariant is broken."""
        state = self.venue.state
        fresh, state.happenings = state.happenings or [], []
        for happening in fresh:
            self._note(happening)
        self._outbox.extend(fresh)
        broken = (*self._conservation.violations(), *momentary_violations(state))
        if broken:
            raise StateError("the sandbox's books are broken: " + "; ".join(broken))

    def reset(self, venue: Venue) -> None:
        """Start again with another venue, as after the test network's monthly wipe: no order is known any more."""
        self._desk = replace_venue(self._desk, venue)
        self._outbox.clear()
        self._watch(venue)

    def _watch(self, venue: Venue) -> None:
        venue.state.happenings = []
        self._conservation = Conservation(venue.state)

    def _carried_out(self, route: Route, request: Request, call: Call, tested_ms: int | None) -> answers.Json:
        if tested_ms is None:
            signed = None
            call.params.pass_over("apiKey", "timestamp", "recvWindow", "signature")
        else:
            signed = self._admitted(route, request, call.params, tested_ms)
        if route.orders:
            self._desk.orders.admit(route.orders, call.now_ms)
        try:
            if signed is not None and call.now_ms != tested_ms:
                self._check_late(signed, route, call.now_ms)
            payload = route.endpoint(self._desk, call)
        except VenueError as refusal:
            if refusal.code in _REACHED_ENGINE:
                self._desk.orders.add(route.orders, call.now_ms)
            raise
        finally:
            if route.access is Access.TRADE:
                self.settle()
        return payload

    def _admitted(self, route: Route, request: Request, params: Parameters, now_ms: int) -> SignedTime | None:
        if route.access is Access.PUBLIC:
            return None
        secret = self.keys.secret(request.header("X-MBX-APIKEY"))
        if route.access is Access.KEY and not params.sent("signature"):
            return None
        signed = SignedTime(params)
        check_signature(request, params, secret)
        signed.check(now_ms)
        allowed = self.keys.may_trade if route.access is Access.TRADE else self.keys.may_read
        if not allowed:
            raise no_permission()
        return signed

    def _check_late(self, signed: SignedTime, route: Route, engine_ms: int) -> None:
        try:
            signed.check(engine_ms)
        except VenueError:
            self._desk.orders.add(route.orders, engine_ms)
            raise

    def _note(self, happening: OrderHappening) -> None:
        order = happening.order
        if happening.step is Step.NEW and not (order.pending and not order.waits):
            self._desk.orders.add(1, happening.at_ms)
        if happening.trade is not None:
            self._conservation.add(happening.trade)
            if _first_fill(order, happening):
                self._desk.orders.give_back(order.created_ms, happening.at_ms)

    def _recoded(self, refusal: VenueError) -> VenueError:
        code = self.recoded.get(refusal.text)
        return refusal if code is None else VenueError(code, refusal.text)

    def _with_headers(self, response: Response, request: Request, route: Route | None, now_ms: int) -> Response:
        used = str(self.meter(request.address).used(now_ms))
        number = self._desk.number()
        headers = {
            **response.headers,
            "X-MBX-UUID": f"{number:08x}-0000-4000-8000-{self._desk.seed & 0xFFFFFFFFFFFF:012x}",
            "X-MBX-USED-WEIGHT": used,
            "X-MBX-USED-WEIGHT-1M": used,
        }
        if route is not None and route.orders and response.status == 200:
            headers |= self._desk.orders.headers(now_ms)
        return replace(response, headers=headers)


def replace_venue(desk: Desk, venue: Venue) -> Desk:
    """Give a desk of the same account at another venue; counters of orders go on."""
    fresh = Desk(venue, desk.markets, desk.keys, desk.limits, desk.seed + 1)
    fresh.orders = desk.orders
    return fresh


def _first_fill(order: VenueOrder, happening: OrderHappening) -> bool:
    return happening.trade is not None and order.executed == happening.trade.quantity
