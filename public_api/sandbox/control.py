"""The control port: everything the world could do to a client, at an operator's word. JSON in, JSON out.

| path | GET | POST |
|---|---|---|
| `/clock` | time, speed, frozen | `freeze`, `run`, `speed`, `advance_ms`, `until_ms`, `jump_ms` |
| `/faults` | counts, records | `profile`, `script`, `clear` |
| `/symbols` | rules and statuses | `symbol` with `status`, `filters`, `delist` or `expire` |
| `/prices` | last, bid, ask | `symbol` with `last` (and `bid`, `ask`), `gap` or `release` |
| `/account` | balances | `deposit`, `withdraw`, `order` (placed by hand), `cancel` (by hand), `keys`, `maintenance` |
| `/streams` | connections | `drop`, `freeze`, `shutdown`, `refuse`, `lose`, `duplicate`, `reorder`, `terminate` |
| `/reset` | | `balances` |
| `/audit` | orders, trades, balances, uncovered stretches | |
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation

from aiohttp import web

from bn_ml.errors import BnMlError, ConfigError
from bn_ml.venue.errors import VenueError
from public_api.sandbox.answers import Json, Row
from public_api.sandbox.audit_report import audit_report, balances_report
from public_api.sandbox.control_symbols import change_symbol, set_price, symbols_report
from public_api.sandbox.faults import open_profile, read_script
from public_api.sandbox.hand_orders import cancel_by_hand, place_by_hand
from public_api.sandbox.world import World

Wish = Mapping[str, Json]
_Answer = Callable[[Wish], Awaitable[Json]]


class Control:
    """Answers operators of one world. A wish that makes no sense is answered 400 with the reason."""

    def __init__(self, world: World) -> None:
        """Obey on behalf of a world."""
        self._world = world
        self._reads: dict[str, Callable[[], Json]] = {
            "clock": self.clock,
            "faults": self.faults,
            "symbols": lambda: symbols_report(world),
            "prices": self.prices,
            "account": lambda: {"balances": balances_report(world)},
            "streams": self.streams,
            "audit": lambda: audit_report(world),
        }
        self._writes: dict[str, _Answer] = {
            "clock": self._set_clock,
            "faults": self._set_faults,
            "symbols": self._set_symbols,
            "prices": self._set_prices,
            "account": self._set_account,
            "streams": self._set_streams,
            "reset": self._reset,
        }

    def application(self) -> web.Application:
        """Give the routes."""
        application = web.Application(client_max_size=2**20)
        application.router.add_get("/{name}", self._get)
        application.router.add_post("/{name}", self._post)
        return application

    def clock(self) -> Json:
        """Give the market's time, and by how much the exchange's clock is ahead of it."""
        clock, offset_ms = self._world.clock, self._world.line.offset_ms
        return {"now_ms": self._world.move(), "speed": clock.speed, "frozen": clock.frozen, "offset_ms": offset_ms}

    def faults(self) -> Json:
        """Give what has gone wrong so far."""
        plan = self._world.line.plan
        records: list[Json] = [
            {
                "number": record.number,
                "kind": record.fault.kind.value,
                "amount": record.fault.amount,
                "method": record.method,
                "path": record.path,
            }
            for record in plan.records
        ]
        return {"counts": {kind.value: count for kind, count in plan.counts.items()}, "records": records}

    def prices(self) -> Json:
        """Give the books' tops."""
        self._world.move()
        return {
            str(symbol): {"last": str(book.last), "bid": str(book.bid), "ask": str(book.ask), "at_ms": book.at_ms}
            for symbol, book in sorted(self._world.venue.state.books.items())
        }

    def streams(self) -> Json:
        """Give who listens."""
        world = self._world
        return {
            "market": [list(client.streams) for client in world.streams.clients],
            "users": [client.subscription for client in world.users.clients],
            "frozen": world.streams.frozen,
        }

    async def _get(self, request: web.Request) -> web.Response:
        read = self._reads.get(request.match_info["name"])
        if read is None:
            raise web.HTTPNotFound
        return web.json_response(read())

    async def _post(self, request: web.Request) -> web.Response:
        write = self._writes.get(request.match_info["name"])
        if write is None:
            raise web.HTTPNotFound
        try:
            wish = json.loads(await request.text() or "{}")
            if not isinstance(wish, dict):
                raise ValueError("the body must be a JSON object")
            return web.json_response(await write(wish))
        except ConfigError as error:
            return web.json_response({"error": "; ".join(error.problems)}, status=400)
        except VenueError as refusal:
            return web.json_response({"error": refusal.text, "code": refusal.code}, status=400)
        except (BnMlError, KeyError, ValueError, TypeError, InvalidOperation) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)

    async def _set_clock(self, wish: Wish) -> Json:
        clock = self._world.clock
        if wish.get("freeze"):
            clock.freeze()
        if "speed" in wish:
            clock.run(float(str(wish["speed"])))
        elif wish.get("run"):
            clock.run()
        if "advance_ms" in wish:
            clock.advance(int(str(wish["advance_ms"])))
        if "until_ms" in wish:
            clock.advance(int(str(wish["until_ms"])) - clock.now_ms())
        if "jump_ms" in wish:
            self._world.line.offset_ms += int(str(wish["jump_ms"]))
        return self.clock()

    async def _set_faults(self, wish: Wish) -> Json:
        plan = self._world.line.plan
        if wish.get("clear"):
            plan.clear()
        if "profile" in wish:
            plan.use(open_profile(str(wish["profile"])))
        script = wish.get("script", [])
        if not isinstance(script, list) or not all(isinstance(row, dict) for row in script):
            raise ValueError("script must be a list of objects")
        plan.script(read_script([row for row in script if isinstance(row, dict)]))
        return self.faults()

    async def _set_symbols(self, wish: Wish) -> Json:
        change_symbol(self._world, wish)
        return symbols_report(self._world)

    async def _set_prices(self, wish: Wish) -> Json:
        set_price(self._world, wish)
        return self.prices()

    async def _set_account(self, wish: Wish) -> Json:
        world = self._world
        for asset, amount in _amounts(wish, "deposit").items():
            world.deposit(asset, amount)
        for asset, amount in _amounts(wish, "withdraw").items():
            world.withdraw(asset, amount)
        if "maintenance" in wish:
            world.dialect.desk.maintenance = bool(wish["maintenance"])
        keys = wish.get("keys")
        if isinstance(keys, dict):
            _set_keys(world, keys)
        answer: Row = {}
        if isinstance(order := wish.get("order"), dict):
            answer["order"] = place_by_hand(world, order)
        if isinstance(cancel := wish.get("cancel"), dict):
            answer["cancelled"] = cancel_by_hand(world, cancel)
        return {"balances": balances_report(world)} | answer

    async def _set_streams(self, wish: Wish) -> Json:
        streams, users = self._world.streams, self._world.users
        if "freeze" in wish:
            streams.frozen = users.frozen = bool(wish["freeze"])
        if "refuse" in wish:
            streams.refusals = users.refusals = int(str(wish["refuse"]))
        for name in ("lose", "duplicate", "reorder"):
            if name in wish:
                setattr(users.distortion, name, int(str(wish[name])))
        now_ms = self._world.move()
        if wish.get("terminate"):
            users.terminate(now_ms)
        if wish.get("drop"):
            streams.drop_all()
            users.drop_all()
        if wish.get("shutdown"):
            streams.shut_down(now_ms)
            users.shut_down(now_ms)
        return self.streams()

    async def _reset(self, wish: Wish) -> Json:
        self._world.reset(_amounts(wish, "balances"))
        return {"balances": balances_report(self._world)}


def _amounts(wish: Wish, name: str) -> dict[str, Decimal]:
    amounts = wish.get(name, {})
    if not isinstance(amounts, dict):
        raise ValueError(f"{name} must be an object of amounts by asset")
    return {asset: Decimal(str(amount)) for asset, amount in amounts.items()}


def _set_keys(world: World, keys: Wish) -> None:
    """Change what the account's keys may do: `may_trade`, `may_read`, `may_withdraw`, `revoked`."""
    ring = world.dialect.keys
    for name in ("may_trade", "may_read", "may_withdraw"):
        if name in keys:
            setattr(ring, name, bool(keys[name]))
    if "revoked" in keys:
        for api_key, secret in world.keys.ring().items():
            if keys["revoked"]:
                ring.revoke(api_key)
            else:
                ring.restore(api_key, secret)
