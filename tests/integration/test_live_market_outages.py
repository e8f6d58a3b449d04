"""The bot as wired on live prices, when the venue or one symbol of it fails: what it holds, refuses and recovers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Timeframe, from_iso, to_ms
from tests.fakes.live_bot import BTC, ETH, SOL, XRP, LiveBot, TurnableClock, live_bot
from tests.fakes.live_market import Answer, Fault, LiveMarket, names, stale_by
from tests.fakes.loopback_exchange import Failure

QUARTER = Timeframe.M15
CONFIGURED = 7
BEGIN = from_iso("2026-06-10T10:03:20Z")
HOURS_AWAY_S = 3 * 3600
WALL_LIMIT_S = 10.0


@pytest.fixture(scope="module")
def served() -> Iterator[LiveMarket]:
    with LiveMarket(clock=TurnableClock(BEGIN)) as running:
        yield running


@pytest.fixture
def live(served: LiveMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveBot]:
    """A bot of its own on the shared market, always from the same instant on."""
    _begin(served)
    with live_bot(served, tmp_path, monkeypatch) as bot:
        yield bot


def _begin(served: LiveMarket) -> None:
    served.faults = []
    assert isinstance(served.clock, TurnableClock)
    served.clock.turn(BEGIN)


def failing(text: str, status: int = 200) -> Answer:
    return lambda _: Failure(status, text)


def book(bid: str, ask: str) -> Answer:
    return lambda _: {"lastUpdateId": 1, "bids": [[bid, "5"]], "asks": [[ask, "5"]]}


BROKEN = {
    "an error": failing("", 500),
    "truncated JSON": failing('[[1790000000000,"1.0","1.'),
    "a web page": failing("<html><body>502 Bad Gateway</body></html>"),
    "rows that are too short": lambda _: [[1, "2"]],
    "words": lambda _: [["a"] * 12],
}


def test_a_first_cycle_costs_little_weight_and_the_next_one_less(live: LiveBot) -> None:
    before = len(live.market.requests)
    live.cycle()
    assert live.market.counted(before) == {"klines": 6 * CONFIGURED, "depth": 1, "ticker/24hr": 1}
    assert live.market.weight(before) < 100
    before = len(live.market.requests)
    live.cycle(after_s=300)
    assert live.market.counted(before) == {"depth": 1, "ticker/24hr": 1}
    before = len(live.market.requests)
    live.cycle(after_s=QUARTER.length.total_seconds())
    assert CONFIGURED <= live.market.counted(before)["klines"] <= 4 * CONFIGURED


def test_a_bar_that_is_forming_is_never_used(live: LiveBot) -> None:
    live.cycle()
    bars = live.bot.market.bars(BTC, QUARTER, 10)
    assert bars.close_time[-1] <= to_ms(live.clock.now()) < bars.close_time[-1] + QUARTER.ms


def test_three_positions_cost_a_tenth_of_the_venues_weight(live: LiveBot) -> None:
    live.want(BTC, ETH, SOL)
    live.cycle()
    assert len(live.held()) == 3
    before, started = len(live.market.requests), live.clock.now()
    live.run(2)
    minutes = (live.clock.now() - started).total_seconds() / 60
    assert live.market.weight(before) / minutes < 600


def test_a_venue_that_dies_stops_entries_and_nothing_else(live: LiveBot) -> None:
    live.want(BTC, ETH)
    live.cycle()
    held, resting = live.held(), live.resting()
    assert (len(held), resting > 0) == (2, True)
    live.want(BTC, ETH, SOL)
    live.market.stop()
    try:
        wall, started = live.clock.now(), SystemClock().monotonic()
        assert live.cycle(after_s=5).opened == 0
        assert live.state()[0] == "NORMAL"
        live.cycle(after_s=30)
        assert live.state() == ("REDUCE_ONLY", "stale_prices")
        live.cycle(after_s=QUARTER.length.total_seconds())
        assert live.funnel() == {"data_unavailable": CONFIGURED}
        assert (live.clock.now() - wall).total_seconds() < 35 + QUARTER.length.total_seconds() + 30
        live.cycle(after_s=HOURS_AWAY_S)
        assert SystemClock().monotonic() - started < WALL_LIMIT_S
        assert not any("Failed" in error or "Transient" in error for report in live.reports for error in report.errors)
        assert [item.position_id for item in live.held()] == [item.position_id for item in held]
        assert live.resting() == resting
    finally:
        live.market.start()
    live.cycle(after_s=6)
    assert live.state() == ("NORMAL", "cleared: stale_prices")
    assert "data_unavailable" not in live.funnel()
    assert SOL in {item.symbol for item in live.held()}


def test_a_symbol_whose_bars_are_broken_is_left_alone_and_the_others_go_on(live: LiveBot) -> None:
    for wrong in BROKEN.values():
        live.market.faults = [Fault("klines", names([SOL]), wrong)]
        live.cycle(after_s=QUARTER.length.total_seconds())
        assert live.funnel() == {"signal_not_buy": CONFIGURED - 1, "data_unavailable": 1}
        assert set(live.bot.market.quarantined()) == {SOL}
        before = len(live.market.requests)
        live.cycle(after_s=10)
        assert "klines" not in live.market.counted(before)
        live.market.faults = []
        live.cycle(after_s=60)
        assert live.funnel() == {"signal_not_buy": CONFIGURED}
    assert live.state()[0] == "NORMAL"


def test_without_most_of_the_market_nothing_is_judged(live: LiveBot) -> None:
    live.market.faults = [Fault("klines", names([SOL, XRP]), BROKEN["an error"])]
    live.want(BTC)
    live.cycle()
    assert live.funnel() == {"data_stale": CONFIGURED - 2, "data_unavailable": 2}
    assert live.held() == ()


def test_bars_that_stopped_coming_are_stale(live: LiveBot) -> None:
    live.market.faults = [Fault("klines", names([SOL]), stale_by(3))]
    live.want(SOL)
    live.cycle()
    assert live.funnel()["data_stale"] == 1
    assert live.held() == ()


def test_a_held_symbol_without_a_sound_quote_keeps_its_stops_and_others_are_managed(live: LiveBot) -> None:
    live.want(BTC, ETH)
    live.cycle()
    resting = live.resting()
    empty = {"lastUpdateId": 1, "bids": [], "asks": []}
    unsound = (book("100", "90"), book("0", "90"), failing("", 500), failing("<html>"), lambda _: empty)
    live.want(BTC, SOL)
    for wrong in unsound:
        live.market.faults = [Fault("depth", names([BTC]), wrong)]
        live.cycle(after_s=40)
        assert live.state()[0] == "NORMAL"
    assert {item.symbol for item in live.held()} == {BTC, ETH, SOL}
    assert live.resting() > resting
    assert all(not report.errors for report in live.reports)


def test_an_answer_for_another_symbol_is_no_quote(live: LiveBot) -> None:
    live.market.faults = [
        Fault("24hr", names([SOL]), lambda told: {**told, "symbol": "XRPUSDC"} if isinstance(told, dict) else told)
    ]
    live.want(SOL)
    live.cycle()
    assert live.funnel()["data_unavailable"] == 1


@pytest.mark.slow
def test_a_venue_that_stalls_holds_nobody_for_long(
    served: LiveMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _begin(served)
    exchange = {"base_url": served.url, "timeout_ms": 1000, "retry_attempts": 1, "rate_limit_ms": 10}
    with live_bot(served, tmp_path, monkeypatch, exchange=exchange) as live:
        live.want(BTC)
        live.cycle()
        served.faults = [Fault("", delay_s=3.0)]
        try:
            started = SystemClock().monotonic()
            live.cycle(after_s=QUARTER.length.total_seconds())
            live.cycle(after_s=60)
            assert SystemClock().monotonic() - started < 30
        finally:
            served.faults = []
        assert live.funnel() == {"data_unavailable": CONFIGURED}
        assert len(live.held()) == 1
