"""The exchange as one thing: its clock, market, venue, dialect and listeners; everything but the network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from bn_ml.domain.market import ZERO
from bn_ml.errors import StateError
from bn_ml.ports import Clock
from bn_ml.venue.account import FeeRates
from bn_ml.venue.venue import Venue
from public_api.sandbox.account_keys import AccountKeys
from public_api.sandbox.dialect import Dialect
from public_api.sandbox.faults import FaultPlan, FaultProfile
from public_api.sandbox.limits import LimitSettings
from public_api.sandbox.market_clock import MarketClock
from public_api.sandbox.market_feed import MarketFeed
from public_api.sandbox.market_publisher import MarketPublisher
from public_api.sandbox.market_walk import MarketWalk
from public_api.sandbox.protection_audit import ProtectionAudit
from public_api.sandbox.streams import StreamHub
from public_api.sandbox.transmission import UnreliableLine
from public_api.sandbox.user_events import UserEvents, balance_update
from public_api.sandbox.user_hub import UserHub
from public_api.sandbox.venue_file import VenueFile

log = logging.getLogger(__name__)

_TIME_NOTE = "market time ms"
_NOTE_EVERY_MS = 1000


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """How to begin. `start_ms` counts only where the state file does not know an instant; at `end_ms` time stops.

    With `follows_wall` the clock of a known state goes on at `start_ms` at the earliest, and the market in between
    happens at once.

    `balances` are paid in once, when the state is new.
    """

    start_ms: int
    end_ms: int | None = None
    follows_wall: bool = False
    speed: float = 1.0
    seed: int = 0
    balances: Mapping[str, Decimal] = field(default_factory=dict)
    state_file: Path | None = None
    fees: FeeRates = field(default_factory=FeeRates)
    limits: LimitSettings = field(default_factory=LimitSettings)
    profile: FaultProfile = field(default_factory=FaultProfile)


class World:
    """Holds the parts together. Every change goes through `move` and `settle`, in one thread."""

    def __init__(self, feed: MarketFeed, options: WorldOptions, wall: Clock) -> None:
        """Open the state file and begin; raises `StateError` when the file cannot be used."""
        self.feed = feed
        self.options = options
        self.keys = AccountKeys.of_seed(options.seed)
        self.file = VenueFile(options.state_file)
        known_ms = self._known_ms()
        start_ms = options.start_ms if known_ms is None else known_ms
        begins_ms = max(start_ms, options.start_ms) if options.follows_wall else start_ms
        self.clock = MarketClock(wall, begins_ms, options.speed, end_ms=options.end_ms)
        self.users = UserHub()
        self.broken: list[str] = []
        venue = self._venue()
        self.dialect = Dialect(venue, feed, self.keys.ring(), limits=options.limits, seed=options.seed)
        self.line = UnreliableLine(self.dialect, FaultPlan(options.profile, seed=options.seed))
        self.streams = StreamHub(MarketPublisher(self.dialect))
        self._watch(venue, start_ms)
        if not venue.balances():
            for asset, amount in options.balances.items():
                venue.deposit(asset, amount)
        self.move()

    @property
    def venue(self) -> Venue:
        """The venue now in use."""
        return self.dialect.venue

    def move(self) -> int:
        """Bring the market up to the clock's instant, tell everybody, and give the instant."""
        now_ms = self.clock.now_ms()
        begun = self.walk.advance(now_ms)
        self._tick(now_ms)
        if begun:
            self.settle(now_ms)
            self.streams.publish(now_ms)
            if now_ms >= self._noted_ms + _NOTE_EVERY_MS:
                self._note_time(now_ms)
        return now_ms

    def _tick(self, now_ms: int) -> None:
        try:
            self.line.tick(now_ms)
        except StateError as error:
            self.note_broken(error)

    def settle(self, now_ms: int) -> None:
        """Tell the account's listeners and the audit what has happened since the last call."""
        try:
            happened = self.dialect.take_happenings()
        except StateError as error:
            self.note_broken(error)
            happened = ()
        self.audit.traded([step.trade for step in happened if step.trade is not None])
        self.audit.look(self.venue.state, now_ms)
        self.users.publish(self.events.tell(happened, now_ms))
        if happened:
            self.streams.publish(now_ms)

    def note_broken(self, error: StateError) -> None:
        """Keep a fault of the sandbox's own books for the audit."""
        log.error("sandbox books broken: %s", error)
        self.broken.append(str(error))

    def deposit(self, asset: str, amount: Decimal) -> None:
        """Pay in from outside; raises `ValueError` unless the amount is positive."""
        now_ms = self.move()
        self.venue.deposit(asset, amount)
        self.users.publish([balance_update(asset, amount, now_ms)])
        self.settle(now_ms)

    def withdraw(self, asset: str, amount: Decimal) -> None:
        """Take out to elsewhere; raises `ValueError` unless that much is free."""
        now_ms = self.move()
        state = self.venue.state
        if not 0 < amount <= state.account.of(asset).free:
            raise ValueError(f"cannot withdraw {amount} {asset}, free are {state.account.of(asset).free}")
        state.account.move(asset, free=-amount)
        state.deposits[asset] = state.deposits.get(asset, ZERO) - amount
        state.save()
        self.users.publish([balance_update(asset, -amount, now_ms)])
        self.settle(now_ms)

    def reset(self, balances: Mapping[str, Decimal]) -> None:
        """Forget all orders and pay in afresh, as the test network does each month."""
        now_ms = self.move()
        self.file.wipe()
        venue = self._venue()
        self.dialect.reset(venue)
        self._watch(venue, now_ms)
        for asset, amount in balances.items():
            venue.deposit(asset, amount)
        self.walk.advance(now_ms)
        self.settle(now_ms)

    def close(self) -> None:
        """Note the time and close the state file."""
        self._note_time(self.clock.now_ms())
        self.file.close()

    def _known_ms(self) -> int | None:
        """Give the newest instant the state file knows of, None when it is new."""
        noted = self.file.noted(_TIME_NOTE)
        if noted is None:
            return None
        orders = Venue(self.file).state.all_orders()
        return max(int(noted), max((order.updated_ms for order in orders), default=0))

    def _venue(self) -> Venue:
        venue = Venue(self.file, fees=self.options.fees)
        for rules in self.feed.rules.values():
            venue.set_rules(rules)
        return venue

    def _watch(self, venue: Venue, since_ms: int) -> None:
        self.walk = MarketWalk(self.feed, venue, since_ms)
        self.events = UserEvents(venue)
        self.audit = ProtectionAudit()
        self.audit.traded(venue.state.all_trades())
        self._noted_ms = 0

    def _note_time(self, now_ms: int) -> None:
        self.file.note(_TIME_NOTE, str(now_ms))
        self._noted_ms = now_ms
