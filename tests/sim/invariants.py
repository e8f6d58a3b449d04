"""What must hold after every step, judged from the venue's truth and the committed rows, never the bot's memory.

Each promise, what is demanded of it, and where the demand ends. Quiet means: alive and recovered, and since then no
fault of a call, a commit or the feed, and no act of the world on the bot's orders.

P1 sent once
    Demanded: each client id is sent once, after its row is committed as SENT and as it says; accepted once.
    Not: where the network itself delivers a request twice.
P2 explained
    Demanded: a trade is booked within 10 s of quiet; at the end fills, ledger, declared foreign amounts and venue
    agree to the unit. After units were moved by a hand: HALTED instead.
P3 exact
    Demanded: position = buys - base fees - sells at the end and whenever all trades are booked.
P4 never oversold, one position per symbol
    Demanded: no sale of more than the booked fills leave; what rests never offers more than is held.
    Not: what a trade not yet told has just sold.
P5 limits
    Demanded: at each commit of an entry, counting in flight and unknown; a buy with a limit pays no more than reserved.
    Not: shares of equity while a held symbol has no price; what a market order pays.
P6 stop within 5 s
    Demanded: full cover of the sellable units after 5 s of quiet, 30 s where the venue has refused something; 10 s for
    a rest below the least notional, which joins a neighbour's stop at a look that comes by itself.
    Not: dead, recovering, banned, HALTED, symbol stopped, no fresh price, an order in doubt, being sold; too small.
P7 doubt ends
    Demanded: no SENT or UNKNOWN row after 20 s of quiet.
P8 nothing lost
    Demanded: rows committed before a death are there after it; recovered after 6 s of quiet (5 s of them may be the
    pause after a failed attempt), 20 s with a doubt.
P9 HALT
    Demanded: after HALTED is committed only exits are journaled, after REDUCE_ONLY no entries, nothing by a former
    owner; a halt without cause is a fault, and so is none where units or orders are unexplained for a minute.
P10 prices
    Demanded: no entry on a quote older than the entry limit, no client-side exit on one older than the exit limit.
    Not: exits of the kill switch; prices lost after the bot woke up to decide; after a stop refused for its price.
Stops
    Demanded: a tranche's stop never moves down; of a protected position never two tranches are lifted at a time; a halt
    that does not flatten leaves stops alone.
    Not: how far the venue's own trailing had come beyond what the bot was told; lifting after a fault in between; the
    level of a tranche sold by its stop, for what is named like it after the rest was split anew; where trailing starts
    when the market moves while the order is on its way.
Foreign
    Demanded: orders of others are not cancelled; nothing is sent to an exchange that asked to stay away.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from bn_ml.domain.market import ZERO, MarketRules, Symbol
from bn_ml.domain.orders import OrderIntent, OrderStatus, Purpose, Side
from bn_ml.venue.orders import VenueOrder, VenueTrade
from tests.sim.entry_limits import amount, check_entry

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

UNITS = 10**8
PROTECT_MS, RESOLVE_MS, BOOK_MS, RECOVER_MS = 5_000, 20_000, 10_000, 6_000
JOIN_MS, PATIENCE_MS = 10_000, 30_000
OWN_EXITS = ("stop_loss", "hard_drawdown", "trailing_stop", "time_stop", "sell_signal", "tp1", "tp2")
FLATTENING = ("kill_switch", "breaker_drawdown")
PASSED = ("would trigger immediately", "would immediately match", "relationship of the prices")
WRITES = ("create", "replace", "cancel")
SHOWN = 5


class Watch:
    """Collects violations while a schedule runs."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self.violations: list[tuple[str, str]] = []
        self.halt_due_ms: int | None = None
        self._seq = 0
        self._dirty = True
        self._naked_since: dict[str, int] = {}
        self._bare_since: dict[str, int] = {}
        self._doubt_since: dict[str, int] = {}
        self._stops: dict[tuple[str, str], Decimal] = {}
        self._stop_orders: dict[tuple[str, str], VenueOrder] = {}
        self._lifted: defaultdict[str, dict[str, tuple[int, Decimal]]] = defaultdict(dict)
        self._covered: set[str] = set()
        self._paid: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        self._fills_checked = -1
        self.excused_ms = 0
        self._refused_ms = -PATIENCE_MS
        self.is_recovering = False
        self._told: set[tuple[str, str]] = set()

    def complain(self, invariant: str, message: str) -> None:
        """Note a violation."""
        if len(self.violations) < SHOWN:
            self.violations.append((invariant, f"{self._world.elapsed_ms} ms: {message}"))
            self._world.tell(f"VIOLATION {invariant} {message}")

    def demand(self, invariant: str, holds: bool, message: str) -> None:
        """Note a violation unless something holds."""
        if not holds:
            self.complain(invariant, message)

    def excuse(self) -> None:
        """Something went wrong just now: bounds count from here."""
        self.excused_ms = self._world.clock.ms

    def begins_to_recover(self) -> None:
        """A process has been started."""
        self.excuse()
        self.is_recovering = True

    def recovered(self) -> None:
        """The started process has compared and protected everything."""
        doubtful = self.number("SELECT count(*) FROM intents WHERE state IN ('SENT','UNKNOWN')")
        took_ms = self._world.clock.ms - self.excused_ms
        limit_ms = RESOLVE_MS if doubtful else RECOVER_MS
        self.demand("P8", took_ms <= limit_ms, f"recovered {took_ms} ms after the last fault")
        self.is_recovering = False
        self.excuse()

    def refused(self) -> None:
        """The venue refused something: what needs it again may wait longer."""
        self._refused_ms = self._world.clock.ms

    def changed(self) -> None:
        """Something changed at the venue."""
        self._dirty = True

    def before_call(self, method: str, intents: tuple[OrderIntent, ...]) -> None:
        """Judge an order about to be sent."""
        world = self._world
        for intent in intents:
            name = intent.client_id
            self.demand("P1", name not in world.truth.sent, f"{name} is sent a second time")
            row = self.row("SELECT * FROM intents WHERE client_id = ?", name)
            if row is None:
                self.complain("P1", f"{name} is sent before its row is committed")
                continue
            self.demand("P1", row["state"] == "SENT", f"{name} is sent, but its row says {row['state']}")
            told = (row["symbol"], row["side"], row["type"], row["qty"])
            mine = (str(intent.symbol), intent.side.value, intent.type.value, int(intent.quantity * UNITS))
            self.demand("P1", told == mine, f"{name}: sent {mine}, committed {told}")
            if intent.side is Side.SELL:
                held = self._booked(intent.position_id)
                self.demand("P4", intent.quantity <= held, f"{name}: sells {intent.quantity} of {held} booked")
        for sale in (item for item in intents if item.purpose is Purpose.EXIT):
            # What a sale needs free is not lifted for a better stop, also when nobody buys.
            self._lifted[sale.position_id].clear()
        stops = [item for item in intents if item.purpose is Purpose.STOP]
        if method != "replace_order":
            for stop in stops:
                self._check_lifted(stop)

    def before_cancel(self, symbol: Symbol, client_id: str) -> None:
        """Judge a cancel about to be sent."""
        sent = self._world.truth.sent.get(client_id)
        if sent is None:
            known = self.row("SELECT 1 FROM intents WHERE client_id = ?", client_id)
            self.demand("foreign", known is not None, f"the bot cancels {client_id}, which is not its own")
            return
        order = self._world.venue.find(symbol, client_id=client_id)
        if order is None or not order.is_open:
            return
        intent = sent.intent
        control = self.row("SELECT * FROM control ORDER BY epoch DESC LIMIT 1")
        if control is not None and control["state"] == "HALTED" and intent.purpose is Purpose.STOP:
            flattens = any(cause in control["reason"] for cause in FLATTENING)
            self.demand("stops", flattens, f"{client_id}: a stop is cancelled under HALTED ({control['reason']})")
        if intent.purpose in (Purpose.STOP, Purpose.TARGET):
            self._lifted[intent.position_id].setdefault(intent.tranche, (self._world.clock.ms, order.remaining))

    def after_call(self, method: str) -> None:
        """Judge the venue after a call."""
        self._dirty |= method.startswith(WRITES)
        self._protection()
        for intent_symbol in self._world.plan.opening if method.startswith(WRITES) else ():
            offered = self._world.truth.offered(intent_symbol)
            if offered:
                held = self._world.truth.held_of(intent_symbol)
                self.demand("P4", offered <= held, f"{intent_symbol}: {offered} offered, {held} held")

    def on_trade(self, trade: VenueTrade) -> None:
        """Judge a trade of one of the bot's orders."""
        self._dirty = True
        sent = self._world.truth.sent.get(trade.client_id)
        if sent is not None and sent.intent.purpose is Purpose.EXIT:
            self._lifted[sent.intent.position_id].clear()
        if sent is None or trade.side is Side.SELL or sent.intent.limit_price is None:
            return
        fee = trade.fee if trade.fee_asset == trade.symbol.quote else ZERO
        self._paid[trade.client_id] += trade.quote_quantity + fee
        paid, reserved = self._paid[trade.client_id], sent.intent.reserved_quote
        self.demand("P5", paid <= reserved, f"{trade.client_id}: paid {paid}, reserved {reserved}")

    def after_commit(self) -> None:
        """Judge the intents a commit has brought."""
        rows = self.rows("SELECT * FROM intents WHERE seq > ? ORDER BY seq", self._seq)
        if not rows:
            return
        control = self.row("SELECT * FROM control ORDER BY epoch DESC LIMIT 1")
        for row in rows:
            self._seq = row["seq"]
            self._check_intent(row, control)

    def at_rest(self) -> None:
        """Judge the moment before the bot sleeps."""
        world = self._world
        self._protection()
        if not world.is_alive:
            return
        now = world.clock.ms
        if world.is_banned or world.known_ban_ms > now:
            # Who was told to stay away does so, also when the venue would answer again before.
            self.excuse()
        self._doubts(now)
        quiet_ms = now - self.excused_ms
        if quiet_ms < BOOK_MS:
            return
        due = sum(trade.at_ms < now - BOOK_MS for trade in world.truth.trades)
        booked = self.number("SELECT count(*) FROM fills")
        if booked < due and not self.halt_due_ms and self._once("P2", str(due)):
            self.complain("P2", f"{due} trades are due, {booked} are booked")
        if booked == len(world.truth.trades) != self._fills_checked:
            self._fills_checked = booked
            self._check_positions()

    def died(self) -> tuple[int, ...]:
        """Give how many rows are committed."""
        tables = ("intents", "fills", "ledger", "control", "journal")
        return tuple(self.number(f"SELECT count(*) FROM {table}") for table in tables)

    def reborn(self, before: tuple[int, ...]) -> None:
        """Judge what is left after a death."""
        after = self.died()
        lost = any(new < old for new, old in zip(after, before, strict=True))
        self.demand("P8", not lost, f"rows before the death {before}, after it {after}")

    def _check_intent(self, row: sqlite3.Row, control: sqlite3.Row | None) -> None:
        world, name, purpose = self._world, row["client_id"], row["purpose"]
        state = control["state"] if control else "NORMAL"
        owner = control["owner"] if control else 0
        if state == "HALTED":
            self.demand("P9", purpose == "exit", f"{name}: {purpose} journaled under HALTED")
        if state == "REDUCE_ONLY":
            self.demand("P9", purpose != "entry", f"{name}: entry journaled under REDUCE_ONLY")
        self.demand("P9", owner == world.owner, f"{name}: journaled by owner {world.owner}, the book is {owner}'s")
        symbol = Symbol(row["symbol"])
        age_s = world.feed_age_s(symbol)
        if purpose == "entry":
            limit = world.plan.settings.data.max_quote_age_entry_sec
            self.demand("P10", age_s <= limit, f"{name}: entry on a quote {age_s} s old")
            # One that ended while the cycle waited for its first answer forbids nothing.
            known = world.known_ban_ms > max(world.cycle_began_ms, world.clock.ms)
            self.demand("ban", not known, f"{name}: entry although the ban was known when the cycle began")
            check_entry(self, world, row)
        elif purpose == "exit" and row["note"] in OWN_EXITS:
            limit = world.plan.settings.data.max_quote_age_exit_sec
            # What its own requests took since the bot woke up to decide does not make the decision a stale one.
            decided_s = world.market.age_ms(symbol, world.clock.woke_ms) / 1000
            fresh = decided_s <= limit or self._was_told(row)
            self.demand("P10", fresh, f"{name}: {row['note']} on a quote {decided_s} s old")

    def _was_told(self, sale: sqlite3.Row) -> bool:
        """Whether the venue has refused a stop of what is sold since the bot woke up, the price having passed it."""
        refused = self.rows(
            "SELECT reason FROM intents WHERE position_id = ? AND tranche = ? AND purpose = 'stop' "
            "AND state = 'REFUSED' AND resolved_ms >= ?",
            sale["position_id"],
            sale["tranche"],
            self._world.clock.woke_ms,
        )
        return any(text in row["reason"] for row in refused for text in PASSED)

    def _check_lifted(self, stop: OrderIntent) -> None:
        """At most one tranche of a position may be without its stop by the bot's own doing."""
        lifted = self._lifted[stop.position_id]
        covered = self._world.truth.covered(stop.position_id, stop.symbol)
        rules = self._world.market.rule[stop.symbol]
        for tranche in [name for name in lifted if name in covered]:
            del lifted[tranche]
        bare = [
            name
            for name, (at_ms, quantity) in lifted.items()
            if stop.position_id in self._covered
            and name != stop.tranche
            and at_ms > self.excused_ms
            and not self._is_small(quantity, rules)
        ]
        if bare and stop.tranche in lifted:
            self.complain("stops", f"{stop.position_id}: {bare} lifted while {stop.tranche} is placed again")

    def on_stop(self, intent: OrderIntent, order: VenueOrder) -> None:
        """Judge the level of a stop the venue has accepted, which covers its tranche again."""
        key = (intent.position_id, intent.tranche)
        self._lifted[intent.position_id].pop(intent.tranche, None)
        before = ZERO if self._is_sold(self._stop_orders.get(key)) else self._stops.get(key, ZERO)
        self._stop_orders[key] = order
        if order.trails:
            # Tracking begins with the next trade, so only the level it is sure to start at counts.
            offset = Decimal(order.trailing_delta) / 10_000
            level = self._world.market.price[order.symbol] * (1 - offset)
            # Nor can the bot know what the market does while the order is on its way.
            met = self.excused_ms == self._world.clock.ms
            least = ZERO if met else before * (1 - offset / 2)
        else:
            level, least = order.stop_price, before
            self._stops[key] = max(level, before)
        self.demand("stops", level >= least, f"{intent.client_id} of {key}: stop {level} under {before}")

    def _is_sold(self, stop: VenueOrder | None) -> bool:
        """Whether a stop has sold its tranche: what takes the name after a new split had a stop of another name."""
        if stop is None:
            return False
        order = self._world.venue.find(stop.symbol, client_id=stop.client_id)
        return order is not None and order.status is OrderStatus.FILLED

    def _protection(self) -> None:
        world = self._world
        now = world.clock.ms
        if self._dirty:
            self._dirty = False
            held = {item for item, units in world.truth.held.items() if units > 0}
            naked = {item for item in held if self._is_naked(item)}
            self._covered |= held - naked
            small = {item for item in naked if self._is_small(self._bare(item), self._rules_of(item))}
            _keep_time(self._bare_since, naked, now)
            _keep_time(self._naked_since, naked - small, now)
        is_refused = now - self._refused_ms <= PATIENCE_MS
        for patience_ms, clock in ((PROTECT_MS, self._naked_since), (JOIN_MS, self._bare_since)):
            for position_id, since in clock.items():
                limit_ms = PATIENCE_MS if is_refused else patience_ms
                late = now - max(since, self.excused_ms) > limit_ms and not self._is_excused(position_id)
                if late and self._once("P6", position_id):
                    self.complain("P6", f"{position_id} is not fully covered since {since - world.began_ms} ms")

    def _is_naked(self, position_id: str) -> bool:
        rules = self._rules_of(position_id)
        status = self.row("SELECT status FROM position_book WHERE position_id = ?", position_id)
        if status is not None and status["status"] == "CLOSED":
            return False
        sellable = rules.quantity_down(self._world.truth.held[position_id])
        bare = self._bare(position_id)
        if bare <= 0 or sellable < rules.min_quantity:
            return False
        # What cannot be sold alone, and has no neighbour to join, cannot have a stop.
        return not self._is_small(bare, rules) or (bare < sellable and bare >= rules.min_quantity)

    def _bare(self, position_id: str) -> Decimal:
        rules = self._rules_of(position_id)
        covered = self._world.truth.covered(position_id, rules.symbol)
        return rules.quantity_down(self._world.truth.held[position_id]) - sum(covered.values(), ZERO)

    def _is_small(self, bare: Decimal, rules: MarketRules) -> bool:
        return bare * self._world.market.price[rules.symbol] * Decimal("0.9") < rules.min_notional

    def _rules_of(self, position_id: str) -> MarketRules:
        return self._world.market.rule[Symbol.from_key(position_id.partition("-")[0])]

    def _is_excused(self, position_id: str) -> bool:
        world = self._world
        now = world.clock.ms
        symbol = Symbol.from_key(position_id.partition("-")[0])
        if (
            not world.is_alive
            or self.is_recovering
            or world.is_banned
            or not world.market.rule[symbol].trading
            or world.feed_age_s(symbol) > 0
            or world.control_state() == "HALTED"
        ):
            return True
        doubts = self.row(
            "SELECT 1 FROM intents WHERE position_id = ? AND state IN ('SENT','UNKNOWN') AND created_ms > ?",
            position_id,
            now - RESOLVE_MS,
        )
        exits = self.row(
            "SELECT 1 FROM intents WHERE position_id = ? AND purpose = 'exit' AND created_ms > ?",
            position_id,
            now - PROTECT_MS,
        )
        return doubts is not None or exits is not None

    def _doubts(self, now: int) -> None:
        doubtful = {
            row["client_id"] for row in self.rows("SELECT client_id FROM intents WHERE state IN ('SENT','UNKNOWN')")
        }
        self._doubt_since = {name: self._doubt_since.get(name, now) for name in sorted(doubtful)}
        for name, since in self._doubt_since.items():
            late = now - max(since, self.excused_ms) > RESOLVE_MS and not self._world.is_banned
            if late and self._once("P7", name):
                self.complain("P7", f"{name} is in doubt since {since - self._world.began_ms} ms")

    def _check_positions(self) -> None:
        for row in self.rows("SELECT position_id, status, json FROM position_book"):
            remaining, dust = self._world.read_position(row["json"])
            held = self._world.truth.held[row["position_id"]]
            if remaining + dust != held:
                self.complain("P3", f"{row['position_id']}: book {remaining} + {dust}, venue {held}")

    def _once(self, invariant: str, what: str) -> bool:
        first = (invariant, what) not in self._told
        self._told.add((invariant, what))
        return first

    def _booked(self, position_id: str) -> Decimal:
        row = self.row(
            "SELECT coalesce(sum(CASE f.side WHEN 'BUY' THEN f.qty - CASE WHEN f.fee_asset = "
            "substr(f.symbol, 1, instr(f.symbol, '/') - 1) THEN f.fee ELSE 0 END ELSE -f.qty END), 0) AS units "
            "FROM fills f JOIN intents i USING (client_id) WHERE i.position_id = ?",
            position_id,
        )
        return amount(row["units"] if row else 0)

    def rows(self, sql: str, *values: str | int) -> list[sqlite3.Row]:
        """Give committed rows."""
        return self._world.reader.execute(sql, values).fetchall()

    def row(self, sql: str, *values: str | int) -> sqlite3.Row | None:
        """Give the first committed row, None when there is none."""
        row: sqlite3.Row | None = self._world.reader.execute(sql, values).fetchone()
        return row

    def number(self, sql: str, *values: str | int) -> int:
        """Give one committed number."""
        return int(self._world.reader.execute(sql, values).fetchone()[0])


def _keep_time(since: dict[str, int], named: set[str], now_ms: int) -> None:
    """Note for each that is named since when it is, and forget those that are not."""
    for name in [item for item in since if item not in named]:
        del since[name]
    for name in sorted(named):
        since.setdefault(name, now_ms)
