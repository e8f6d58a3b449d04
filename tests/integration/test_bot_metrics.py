"""The figures of a trading bot agree with its book, and measuring it changes nothing it does."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bn_ml.database import reading
from bn_ml.domain.alerts import Alert
from bn_ml.domain.events import ScanFinished
from bn_ml.domain.market import from_iso, from_ms
from bn_ml.journal import export_journal
from bn_ml.settings import Settings
from bn_ml.state_reader import StateReader
from monitoring.measured_exchange import MeasuredExchange
from monitoring.metric_names import CATALOGUE
from monitoring.metrics import metrics_text
from scripts.accounts import PaperAccount
from scripts.bot_metrics import BotMetrics
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import open_world
from tests.fakes.feature_market import MONDAY_MS, STEP_MS
from tests.fakes.live_bot import BTC, TurnableClock, live_bot
from tests.fakes.live_market import LiveMarket
from tests.fakes.prometheus_text import read_text
from tests.fakes.trading_world import WARM, fitted_on, market_bars, run_replay, store_market, trading_settings

BARS = 40


class Told:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def offer(self, alert: Alert) -> None:
        self.alerts.append(alert)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    bars = market_bars()
    store_market(folder, bars, fitted_on(bars[1]))
    return folder


@pytest.fixture(scope="module")
def measured(market: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, BotMetrics, Told]:
    """A bot that has traded some bars with its figures kept, its file written and its worker ended."""
    settings = trading_settings(market, tmp_path_factory.mktemp("measured") / "bn_ml.db")
    told = Told()
    world = open_world(settings, "replay", threading.Event())
    figures = BotMetrics(settings, world, PaperAccount(), told)
    bot = open_bot(settings, world, Extras(observers=(figures,), watchers=(figures.watch,)), figures.account)
    figures.attach(bot)
    assert isinstance(bot.desk.exchange, MeasuredExchange)
    figures.worker.start()
    _run(bot)
    figures.worker.stop(10)
    figures.worker.write()
    bot.close()
    return settings, figures, told


def _run(bot: TradingBot) -> None:
    ends_at = from_ms(MONDAY_MS + (WARM + BARS) * STEP_MS)
    bot.store.session.execute("PRAGMA synchronous = OFF")
    bot.engine.run(lambda: bot.world.clock.now() >= ends_at)


def samples(settings: Settings, name: str) -> dict[tuple[str, ...], float]:
    reader = StateReader(settings.storage.sqlite_path)
    cycle = reader.summary().last_cycle
    assert cycle is not None
    family = read_text(metrics_text(reader, cycle.at + timedelta(seconds=1)))[name]
    return {tuple(value for _, value in labels): value for (_, labels), value in family.samples.items()}


def test_orders_by_side_and_end_are_those_of_the_book(measured: tuple[Settings, BotMetrics, Told]) -> None:
    settings, _, _ = measured
    with reading(settings.storage.sqlite_path) as connection:
        rows = connection.execute("SELECT side, state FROM intent_records").fetchall()
    ended = Counter((row["side"], row["state"].lower()) for row in rows if row["state"] not in ("SENT", "OPEN"))
    assert sum(ended.values()) > 5
    assert samples(settings, "bnml_orders_total") == dict(ended)


def test_rejections_are_the_funnels_of_all_cycles(measured: tuple[Settings, BotMetrics, Told]) -> None:
    settings, _, _ = measured
    total: Counter[str] = Counter()
    for row in StateReader(settings.storage.sqlite_path).cycles():
        funnel = row.data["funnel"]
        assert isinstance(funnel, dict)
        total.update(funnel)
    assert samples(settings, "bnml_gate_rejections_total") == {(reason,): count for reason, count in total.items()}


def test_account_trades_and_cycles_are_those_of_the_book(measured: tuple[Settings, BotMetrics, Told]) -> None:
    settings, _, _ = measured
    summary = StateReader(settings.storage.sqlite_path).summary()
    assert samples(settings, "bnml_total_trades") == {(): summary.trades}
    assert samples(settings, "bnml_total_cycles") == {(): summary.cycles}
    assert samples(settings, "bnml_open_positions") == {(): summary.open_positions}
    assert isinstance(summary.account, dict)
    assert samples(settings, "bnml_account_equity") == {(): summary.account["equity"]}
    assert samples(settings, "bnml_bot_up") == {(): 1}


def test_requests_about_orders_were_timed(measured: tuple[Settings, BotMetrics, Told]) -> None:
    settings, _, _ = measured
    count = read_text(metrics_text(StateReader(settings.storage.sqlite_path), from_ms(MONDAY_MS)))
    latency = count["bnml_order_latency_seconds"].samples
    with reading(settings.storage.sqlite_path) as connection:
        (sent,) = connection.execute("SELECT count(*) FROM intents").fetchone()
    # The clock of a replay stands still while it works: only their number can be told.
    assert latency["bnml_order_latency_seconds_count", ()] >= sent / 2 > 2


def test_the_file_holds_every_metric(measured: tuple[Settings, BotMetrics, Told]) -> None:
    settings, figures, _ = measured
    assert figures.worker.path == Path(settings.monitoring.metrics_dir) / "bnml.prom"
    assert set(read_text(figures.worker.path.read_text())) == {family.name for family in CATALOGUE}


def test_an_ordinary_run_raises_no_alarm(measured: tuple[Settings, BotMetrics, Told]) -> None:
    assert measured[2].alerts == []


def test_the_journal_is_the_same_byte_for_byte_without_figures(
    market: Path, measured: tuple[Settings, BotMetrics, Told], tmp_path: Path
) -> None:
    plain = trading_settings(market, tmp_path / "bn_ml.db")
    run_replay(plain, until_ms=MONDAY_MS + (WARM + BARS) * STEP_MS)
    books = (measured[0].storage.sqlite_path, plain.storage.sqlite_path)
    assert len({export_journal(book, tmp_path / f"{place}.jsonl") for place, book in enumerate(books)}) == 1


def test_a_bot_on_live_prices_tells_weight_clock_and_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LiveMarket(clock=TurnableClock(from_iso("2026-06-10T10:03:20Z"))) as market:
        with live_bot(market, tmp_path, monkeypatch) as live:
            bot = live.bot
            figures = BotMetrics(bot.settings, bot.world, PaperAccount(), Told(), lambda: {("INFO", "log", "sent"): 4})
            figures.attach(bot)
            live.want(BTC)
            report = live.cycle()
            figures.emit(ScanFinished(report.at, report.cycle, 7, 1, {}))
            figures.watch(report)
            told = _gauges(bot.settings, report.at + timedelta(seconds=2))
    assert 0 < told["bnml_exchange_weight_used_ratio"] <= 1
    assert abs(told["bnml_clock_offset_ms"]) < 1_000
    assert 2 <= told["bnml_quote_age_seconds"] < 60
    assert told["bnml_alerts_total"] == 4


def _gauges(settings: Settings, now: datetime) -> dict[str, float]:
    """Give one sample of each family that has any."""
    read = read_text(metrics_text(StateReader(settings.storage.sqlite_path), now))
    return {name: next(iter(family.samples.values())) for name, family in read.items() if family.samples}
