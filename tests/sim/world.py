"""A schedule as it runs: venue, market, clock and faults outlive the bot; the bot lives from what is on disk."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from bn_ml.crash_points import crash_points
from bn_ml.domain.account import ControlState
from bn_ml.domain.events import ControlChanged, CycleFailed, CycleStarted, Event
from bn_ml.domain.market import Quote, Symbol
from bn_ml.domain.orders import OrderType, Purpose
from bn_ml.errors import StateError, Transient
from bn_ml.state_store import StateStore
from bn_ml.venue.liquidity import Liquidity
from bn_ml.venue.orders import CONTINGENT, VenueTrade
from bn_ml.venue.persistence import MemoryPersistence
from bn_ml.venue.venue import Venue
from public_api.sandbox.dialect import Dialect
from tests.sim.clock import SimClock
from tests.sim.door import Engine, SimDoor
from tests.sim.draws import Draws
from tests.sim.faults import Fault, Faults
from tests.sim.happenings import Happenings
from tests.sim.invariants import RECOVER_MS, RESOLVE_MS, Watch
from tests.sim.life import Killed, Life
from tests.sim.market import SimMarket, SimScanner
from tests.sim.plan import CALM_MS, CAPITAL, ROUGH_MS, Plan
from tests.sim.truth import Truth
from tests.sim.wire import Bans, WireDoor, new_dialect

PASSING = ("Transient", "Unreachable", "MarketDataError", "Refused", "OutcomeUnknown")
MAX_LIVES = 60


class SimWorld:
    """Runs one schedule. `interleave_at` is the step at which a second process commits HALTED, None for never."""

    def __init__(
        self, plan: Plan, faults: Faults, path: Path, *, keep_trace: bool = False, interleave_at: int | None = None
    ) -> None:
        self.plan, self.faults, self.path = plan, faults, path
        self.clock = SimClock()
        self.began_ms = self.clock.ms
        self.ends_ms = self.began_ms + ROUGH_MS + CALM_MS
        self.trace: list[str] = []
        self.digest = hashlib.sha256()
        self._keep_trace = keep_trace
        self.interleave_at = interleave_at
        self.steps = 0
        self.market = SimMarket(plan, self.clock)
        self.scanner = SimScanner(plan, self.market)
        self.venue = Venue(MemoryPersistence(), fees=plan.fees, liquidity=Liquidity(participation=plan.participation))
        self.truth = Truth(self.venue)
        self.engine = Engine(self.venue, self.market, self.clock)
        self.reader = sqlite3.connect(path, isolation_level=None)
        self.reader.row_factory = sqlite3.Row
        self.watch = Watch(self)
        self.happenings = Happenings(self)
        self.bans = Bans()
        self.is_outside = False
        self._dialect: Dialect | None = None
        self.life: Life | None = None
        self.crashes = self.restarts = self.stops_by_error = self.orders = 0
        self.banned_until_ms = self.known_ban_ms = self.cycle_began_ms = 0
        self.owner = -1
        self.is_alive = False
        self._in_transaction = False
        self._connect()

    @property
    def elapsed_ms(self) -> int:
        """Virtual ms since the schedule began."""
        return self.clock.ms - self.began_ms

    @property
    def is_banned(self) -> bool:
        """Whether the venue answers nothing but 429 and 418."""
        return self.banned_until_ms > self.clock.ms

    def tell(self, line: str) -> None:
        """Add a line to the trace."""
        text = f"{self.elapsed_ms} {line}".replace(str(self.path), "the book")
        self.digest.update(text.encode() + b"\n")
        if self._keep_trace:
            self.trace.append(text)

    def excuse(self, why: str) -> None:
        """Something beyond the bot's doing happened: bounds count from here."""
        self.tell(f"excuse {why}")
        self.watch.excuse()

    def run(self) -> None:
        """Play the schedule to its end and judge what is left."""
        lives = 0
        if self.plan.paper_before:
            self._trade_on_paper()
        with crash_points(self.crash_point):
            while self.clock.ms < self.ends_ms and lives < MAX_LIVES:
                lives += 1
                self._live(lives)
                if self.plan.paper_before:
                    # Refused at the first start, and at every later one for the same reason.
                    return
        self.watch.demand("P8", lives < MAX_LIVES, f"the process ended {lives} times")

    def close(self) -> None:
        """Close the files."""
        if self.life is not None:
            self.life.store.close()
            self.life = None
        self.reader.close()

    def crash_point(self, name: str) -> None:
        """Pass a point at which the process may die."""
        if not self.is_alive or self.is_outside:
            return
        self._in_transaction = name == "commit.before"
        if not self._in_transaction:
            self.step(name)
        if self.faults.of_crash_point():
            self.tell(f"killed at {name}")
            raise Killed

    def step(self, name: str) -> None:
        """Pass a point between two actions, where another process may act."""
        self.steps += 1
        if self.interleave_at == self.steps and self.is_alive:
            self.happenings.halt_from_outside()

    def committed(self, *, intents: bool) -> None:
        """The bot has committed a transaction."""
        self._in_transaction = False
        if intents:
            self.watch.after_commit()

    def heard(self, event: Event) -> None:
        """The bot has journaled a fact."""
        if isinstance(event, CycleStarted):
            self.cycle_began_ms = self.clock.ms
        elif isinstance(event, ControlChanged):
            self.tell(f"control {event.state} {event.reason}")

        elif isinstance(event, CycleFailed):
            kind = event.error.partition(": ")[2].partition(":")[0]
            self.tell(f"cycle failed {event.error}")
            halted = kind == "LimitReached" and "control_state" in event.error
            self.watch.demand("error", kind in PASSING or halted, f"cycle failed: {event.error}")

    def race(self, symbol: Symbol | None, number: int) -> None:
        """Let the market meet one of the bot's resting orders right now."""
        resting = self.truth.resting(symbol)
        if not resting:
            return
        order = resting[number % len(resting)]
        level = order.trigger_level if order.type in CONTINGENT else order.price
        if level is None or level <= 0:
            return
        nudge = Decimal("0.05") if order.type is OrderType.LIMIT_MAKER else Decimal("-0.05")
        self.excuse("the market met an order in between")
        if number // 7 % 2:
            self.thin_out(order.symbol, number)
        before = self.market.price[order.symbol]
        self.set_price(order.symbol, (level + nudge).quantize(Decimal("0.01")))
        if number // 3 % 2:
            # A wick: the market is back before anybody looks.
            self.set_price(order.symbol, before)

    def thin_out(self, symbol: Symbol, number: int) -> None:
        """Let the book of a symbol be nearly empty until its next price."""
        self.market.depth[symbol] = Decimal(12 + number % 100)
        self.tell_venue(self.market.move(symbol, self.market.price[symbol]))
        self.clock.at(self.clock.ms + 400, lambda: self.market.depth.pop(symbol, None) and None)

    def set_price(self, symbol: Symbol, price: Decimal) -> None:
        """Let the market trade at a price."""
        self.tell_venue(self.market.move(symbol, max(price, Decimal("0.10"))))

    def tell_venue(self, quote: Quote) -> None:
        """Let the venue match at a quote."""
        self.venue.set_rules(self.market.rule[quote.symbol])
        self.venue.on_quote(quote)
        self.watch.changed()

    def feed_age_s(self, symbol: Symbol) -> float:
        """Give how old the bot's newest price of a symbol is; infinite when it has none."""
        if symbol in self.market.down:
            return float("inf")
        return self.market.age_ms(symbol, self.clock.ms) / 1000

    def dialect(self) -> Dialect:
        """Give the venue's server, the same one for every life."""
        if self._dialect is None:
            self._dialect = new_dialect(self.venue)
        return self._dialect

    def wait(self, seconds: float) -> bool:
        """Sleep for the venue's clock; never told to stop early."""
        self.watch.at_rest()
        self.clock.advance(self.clock.ms + max(int(seconds * 1000 + 0.999), 1))
        return False

    def newest_epoch(self) -> int:
        """Give the epoch committed last, 0 before the first."""
        return int(self.reader.execute("SELECT coalesce(max(epoch), 0) FROM control").fetchone()[0])

    def control_state(self) -> str:
        """Give the committed control state."""
        row = self.reader.execute("SELECT state FROM control ORDER BY epoch DESC LIMIT 1").fetchone()
        return "NORMAL" if row is None else str(row["state"])

    def second_store(self) -> StateStore:
        """Open the book as another process would."""
        store = StateStore(self.path)
        store.session.execute("PRAGMA synchronous = OFF")
        return store

    def read_position(self, text: str) -> tuple[Decimal, Decimal]:
        """Give what a stored position holds, and its dust."""
        facts = json.loads(text)
        return Decimal(facts["remaining_quantity"]), Decimal(facts["dust_quantity"])

    def _connect(self) -> None:
        clock, faults = self.clock, self.faults
        clock.before_sleep = self.watch.at_rest
        faults.on_fault = lambda name, fault: self._faulted(name, fault)
        self.truth.on_trade = self._traded
        self.truth.on_stop = self.watch.on_stop
        self.truth.on_strange = self.happenings.strange
        for symbol in self.plan.opening:
            self.tell_venue(self.market.true_quote(symbol))
        self.venue.deposit("USDC", CAPITAL)
        for asset, amount in sorted(self.plan.foreign.items()):
            self.venue.deposit(asset, amount)
        if self.plan.bnb:
            self.venue.deposit("BNB", self.plan.bnb)
        for at_ms, symbol, price in self.plan.prices:
            clock.at(at_ms, self._priced(symbol, price))
        for happening in self.plan.happenings:
            clock.at(happening.at_ms, lambda item=happening: self.happenings.happen(item))  # type: ignore[misc]
        clock.at(self.began_ms + ROUGH_MS, self._calm)

    def _priced(self, symbol: Symbol, price: Decimal) -> Callable[[], None]:
        return lambda: self.set_price(symbol, price)

    def _calm(self) -> None:
        self.faults.healed = True
        self.scanner.calm = True
        self.banned_until_ms = min(self.banned_until_ms, self.clock.ms)
        self.happenings.end_all()
        self.excuse("calm begins")

    def _faulted(self, name: str, fault: Fault) -> None:
        self.tell(f"fault {name} {fault.kind} {fault.number}")
        self.watch.excuse()
        if fault.kind == "refused":
            self.watch.refused()

    def _traded(self, trade: VenueTrade) -> None:
        self.tell(
            f"trade {trade.symbol} {trade.trade_id} {trade.client_id} {trade.side.value} {trade.quantity} "
            f"@ {trade.price} fee {trade.fee} {trade.fee_asset}"
        )
        self.orders += 1
        self.watch.on_trade(trade)

    def _live(self, number: int) -> None:
        self.restarts = number - 1
        rows = self.watch.died()
        self.watch.begins_to_recover()
        self.is_alive = True
        if self.life is not None:
            self.life.store.close()
            self.life = None
        try:
            self.life = self._born()
            self.watch.reborn(rows)
            self.life.run()
        except Killed:
            self.crashes += 1
        except Transient as error:
            # The exchange could not be read before the first cycle: the supervisor starts the process again.
            self.tell(f"not started: {error}")
        except StateError as error:
            self.stops_by_error += 1
            self.tell(f"stopped by {error}")
            self._judge_stop(str(error))
        if self.clock.ms >= self.ends_ms:
            return
        self.is_alive = False
        self.owner = -1
        self.watch.excuse()
        if self.life is not None:
            with suppress(StateError):
                self.life.store.close()
        self.clock.advance(self.clock.ms + Draws(self.plan.seed, "down", number).between(300, 8000))

    def _trade_on_paper(self) -> None:
        store = self.second_store()
        store.bind_book("paper", "sim", self.clock.now())
        store.deposit("USDC", CAPITAL, self.clock.now(), "starting capital")
        store.close()

    def _born(self) -> Life:
        if not self.plan.wire:
            return Life(self, SimDoor(self, self.engine), self.clock)
        door = WireDoor(self)
        if self.clock.wall_offset_ms:
            # A start knows a ban by the machine's clock only, which was set.
            self.known_ban_ms = 0
        if not door.live.keep_time():
            raise Transient("the venue does not tell its time")
        return Life(self, door, door.clock, door.live)

    def _judge_stop(self, error: str) -> None:
        if self.plan.paper_before:
            self.watch.demand("book", "paper book" in error, f"the bot stopped: {error}")
            return
        disk = any(word in error for word in ("locked", "full", "disk I/O"))
        over = "epoch" in error and self.happenings.taken_over
        self.watch.demand("stop", disk or over, f"the bot stopped: {error}")


__all__ = ["RECOVER_MS", "RESOLVE_MS", "ControlState", "Purpose", "SimWorld"]
