"""The same schedule through the live exchange: real requests, real answers, and a line that damages bytes."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from bn_ml.ban_file import Ban, BanFile, TranslatedBans
from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, Replacement
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.live_exchange import LiveExchange
from bn_ml.venue.venue import Venue
from bn_ml.venue_clock import VenueClock
from public_api.sandbox.dialect import Dialect
from public_api.sandbox.market_data import DayTicker, Kline, PublicTrade, Span
from public_api.sandbox.requests import Request
from tests.sim.clock import SimClock
from tests.sim.door import REFUSALS, moved
from tests.sim.draws import Draws
from tests.sim.faults import Fault

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

T = TypeVar("T")
KEY, SECRET = "simulatorkey0000", "simulatorsecret"
WINDOW_MS = "5000"


class NoMarket:
    """Klines, day statistics and public trades: the bot gets its prices elsewhere."""

    def klines(self, symbol: Symbol, interval: str, span: Span, now_ms: int) -> Sequence[Kline]:
        return ()

    def day(self, symbol: Symbol, now_ms: int) -> DayTicker | None:
        return None

    def trades(self, symbol: Symbol, limit: int, now_ms: int) -> Sequence[PublicTrade]:
        return ()


class Wall:
    """The machine's own clock, which is set back and forth; the base of the venue's."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.wall()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep_until(self, instant: datetime) -> None:
        raise AssertionError("nothing sleeps on the machine's own clock")


class Bans(BanFile):
    """Keeps a ban over the lives of the process in memory, as its file does on disk."""

    def __init__(self) -> None:
        self.ban: Ban | None = None

    def remember(self, ban: Ban) -> None:
        self.ban = ban

    def recall(self) -> Ban | None:
        return self.ban


class Line:
    """The `Transport` between the live exchange and the dialect: signs, takes time, and fails as the seed says."""

    def __init__(self, world: SimWorld, dialect: Dialect) -> None:
        self._world = world
        self._dialect = dialect
        self._bodies: dict[str, tuple[int, HttpAnswer]] = {}

    def request(self, method: str, path: str, params: Mapping[str, str], *, signed: bool) -> HttpAnswer:
        world = self._world
        writes = method != "GET"
        fault = world.faults.of_request(method)
        world.tell(f"{method} {path.rpartition('/')[2]} {fault.kind}")
        latency = Draws(world.plan.seed, "latency", world.clock.ms).between(4, 40)
        world.clock.advance(world.clock.ms + latency)
        if world.is_banned:
            return self._banned()
        request = _signed(method, path, params) if signed else Request(method, path, urlencode(params))
        if writes:
            return self._write(request, fault, params)
        return self._read(request, fault, params)

    def _write(self, request: Request, fault: Fault, params: Mapping[str, str]) -> HttpAnswer:
        world, kind, number = self._world, fault.kind, fault.number
        if kind == "lost":
            world.clock.advance(world.clock.ms + number % 3000)
            world.excuse(kind)
            raise NoAnswer("timed out")
        if kind == "late":
            world.clock.at(world.clock.ms + 200 + number % 6500, lambda: self._arrive(request))
            world.clock.advance(world.clock.ms + (number // 7) % 3000)
            world.excuse(kind)
            raise NoAnswer("connection reset")
        if kind == "refused":
            code, text = REFUSALS[number % len(REFUSALS)]
            return _error(400, code, text)
        if kind == "slow" and number % 2:
            world.clock.advance(world.clock.ms + 300 + number % 9000)
            world.excuse("slow")
        if kind in ("race", "moved", "thinned"):
            self._upset(kind, number, params)
        answer = self._handled(request)
        if kind == "duplicate":
            self._arrive(request)
        if kind == "slow" and not number % 2:
            world.clock.advance(world.clock.ms + 300 + number % 9000)
            world.excuse("slow")
        if kind == "unheard":
            world.clock.advance(world.clock.ms + number % 3000)
            world.excuse(kind)
            raise NoAnswer("the answer was lost")
        return damaged(answer, kind, number)

    def _read(self, request: Request, fault: Fault, params: Mapping[str, str]) -> HttpAnswer:
        world, kind, number = self._world, fault.kind, fault.number
        if kind == "transient":
            if number % 2:
                raise NoAnswer("connection reset")
            return HttpAnswer(503, "<html>Service Unavailable</html>", {})
        if kind == "slow":
            world.clock.advance(world.clock.ms + 200 + number % 4000)
            world.excuse("slow")
        if kind == "lag" and self._is_young(params, number):
            return _error(400, -2013, "Order does not exist.")
        answer = self._handled(request)
        at_ms, old = self._bodies.get(request.path, (0, answer))
        self._bodies[request.path] = (world.clock.ms, answer)
        if kind == "stale" and world.clock.ms - at_ms <= 4000:
            return old
        if kind == "race":
            world.race(None, number)
        return damaged(answer, kind, number)

    def _handled(self, request: Request) -> HttpAnswer:
        response = self._dialect.handle(request, self._world.clock.ms)
        self._world.watch.changed()
        if response.status == 400:
            self._world.watch.refused()
            self._world.tell(f"answer {response.body[:120]}")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return HttpAnswer(response.status, response.body, headers)

    def _arrive(self, request: Request) -> None:
        response = self._dialect.handle(request, self._world.clock.ms)
        self._world.tell(f"arrived {request.method}: {response.status}")
        self._world.watch.changed()
        if response.status == 200:
            self._world.excuse("a request was carried out late")

    def _banned(self) -> HttpAnswer:
        world = self._world
        world.watch.demand("ban", world.known_ban_ms < world.clock.ms, "a request was sent although the ban was known")
        world.known_ban_ms = world.banned_until_ms
        wait_s = -(-(world.banned_until_ms - world.clock.ms) // 1000)
        body = json.dumps({"code": -1003, "msg": "Way too many requests; IP banned."})
        return HttpAnswer(418, body, {"retry-after": str(wait_s)})

    def _is_young(self, params: Mapping[str, str], number: int) -> bool:
        name = params.get("origClientOrderId", "")
        sent = self._world.truth.sent.get(name)
        return sent is not None and self._world.clock.ms - sent.at_ms < 1500 + number % 2500

    def _upset(self, kind: str, number: int, params: Mapping[str, str]) -> None:
        world = self._world
        symbol = next((item for item in world.plan.opening if item.replace("/", "") == params.get("symbol")), None)
        if kind == "race" or symbol is None:
            world.race(symbol, number)
        elif kind == "thinned":
            world.thin_out(symbol, number)
        else:
            world.set_price(symbol, moved(world.market.price[symbol], number))


class WireDoor:
    """The live exchange with the world looking on; it is what the bot calls."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        wall = Wall(world.clock)
        self.clock = VenueClock(wall, wait=world.wait)
        self.live = LiveExchange(
            Line(world, world.dialect()),
            self.clock,
            world.plan.settings.exchange,
            symbols=tuple(world.plan.opening),
            bans=TranslatedBans(world.bans, wall, self.clock),
        )

    def create_order(self, intent: OrderIntent) -> OrderReport:
        return self._write("create_order", (intent,), lambda: self.live.create_order(intent))

    def create_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[OrderReport, OrderReport]:
        return self._write("create_oco", (target, stop), lambda: self.live.create_oco(target, stop))

    def replace_order(self, client_id: str, intent: OrderIntent) -> Replacement:
        self._world.watch.before_cancel(intent.symbol, client_id)
        return self._write("replace_order", (intent,), lambda: self.live.replace_order(client_id, intent))

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        self._world.watch.before_cancel(symbol, client_id)
        return self._write("cancel_order", (), lambda: self.live.cancel_order(symbol, client_id))

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        return self._write("order_status", (), lambda: self.live.order_status(symbol, client_id))

    def open_orders(self) -> Sequence[OrderReport]:
        return self._write("open_orders", (), self.live.open_orders)

    def balances(self) -> Mapping[str, Balance]:
        return self._write("balances", (), self.live.balances)

    def trades(self, symbol: Symbol, since: datetime) -> Sequence[Fill]:
        return self._write("trades", (), lambda: self.live.trades(symbol, since))

    def _write(self, method: str, intents: tuple[OrderIntent, ...], call: Callable[[], T]) -> T:
        world = self._world
        world.crash_point(f"{method}.before")
        world.watch.before_call(method, intents)
        for intent in intents:
            world.truth.note(intent, world.clock.ms)
        answer = call()
        world.crash_point(f"{method}.after")
        world.watch.after_call(method)
        return answer


def new_dialect(venue: Venue) -> Dialect:
    """Give the server side of the line."""
    return Dialect(venue, NoMarket(), {KEY: SECRET})


def damaged(answer: HttpAnswer, kind: str, number: int) -> HttpAnswer:
    """Give an answer as a bad line delivers it; whatever it says was done."""
    match kind:
        case "half":
            return HttpAnswer(answer.status, answer.body[: number % max(len(answer.body), 1)], answer.headers)
        case "empty":
            return HttpAnswer(200, "", answer.headers)
        case "html":
            return HttpAnswer(502, "<html><h1>502 Bad Gateway</h1></html>", {})
        case "backend":
            return HttpAnswer(504, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}', {})
        case "internal":
            return HttpAnswer(500, '{"code":-1001,"msg":"Internal error."}', {})
        case "other":
            return HttpAnswer(answer.status, answer.body.replace("bnml-", "bnmk-"), answer.headers)
        case _:
            return answer


def _signed(method: str, path: str, params: Mapping[str, str]) -> Request:
    query = urlencode({"recvWindow": WINDOW_MS, **params})
    signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    return Request(method, path, f"{query}&signature={signature}", headers={"X-MBX-APIKEY": KEY})


def _error(status: int, code: int, text: str) -> HttpAnswer:
    return HttpAnswer(status, json.dumps({"code": code, "msg": text}), {})
