"""Protection at its edges: prices below one, symbols without stops, and one refused sale at a time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from bn_ml.domain.orders import Purpose
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import Refused
from tests.checker.book_rows import read_book
from tests.checker.check_positions import check_positions
from tests.checker.findings import Complaints
from tests.fakes.money_world import AAA, MoneyWorld, NewWorld, money_settings
from tests.fakes.venue_troubles import cancel_by_hand, heal, refuse

D = Decimal
TOO_MANY = Refused("Too many new orders; current limit is 100 orders per 10 SECOND.", -1015)


def exits(world: MoneyWorld) -> int:
    return sum(item.intent.purpose is Purpose.EXIT for item in world.bot.store.recent_intents(200))


def test_a_stop_of_a_cheap_coin_comes_back_at_its_level_without_a_price(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(tmp_path, money_settings(), price="0.60")
    world.market.rule_changes = {"tick": D("0.0001")}
    world.scanner.want(AAA)
    world.start()
    world.market.depth[AAA] = D(2_000_000)
    world.bot.desk.market.rules(AAA)
    world.buy(AAA)
    before = world.stops()
    assert all(level < 1 for level in before.values())
    cancel_by_hand(world)
    world.bot.orders.refresh()
    world.market.down.add(AAA)
    world.look(5)
    assert world.stops() == before


def test_a_symbol_that_takes_no_stops_has_no_place_for_one(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(tmp_path, money_settings())
    world.start()
    rules = world.market.rules(AAA)
    assert world.bot.protection.takes_a_stop(rules)
    assert not world.bot.protection.takes_a_stop(replace(rules, stops_allowed=False))


def test_while_sales_are_refused_each_look_tries_one_at_most(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(tmp_path, money_settings())
    world.start()
    world.buy(AAA)
    cancel_by_hand(world)
    world.bot.orders.refresh()
    refuse(world, TOO_MANY, sales=True)
    sent = [0]
    for _ in range(12):
        world.look(5)
        sent.append(exits(world))
    assert max(sent) > 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(sent))
    heal(world)
    for _ in range(6):
        world.look(5)
    assert world.bot.positions.open_positions() == () or world.covered()


def test_what_is_too_small_for_a_stop_but_not_for_a_sale_is_sold_whole(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(tmp_path, money_settings())
    world.start()
    world.buy(AAA)
    cancel_by_hand(world)
    world.market.rule_changes = {"min_notional": D(99)}
    world.look(5)
    sold = world.last_closed()
    assert (sold.close_reason, sold.dust_quantity < D("0.001")) == (ExitReason.BELOW_MIN_SIZE, True)
    complain = Complaints()
    check_positions(read_book(world.path), complain)
    assert complain.result() == ()
