"""What the chat reads about a book: each figure as the book has it, and what is odd said to be unknown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.account import ControlState
from bn_ml.domain.events import EntryApproved, RiskRefused
from bn_ml.domain.market import iso, to_ms
from bn_ml.halting import HaltMarker
from bn_ml.journal import Journal
from bn_ml.prediction_log import PredictionRecord, log_beside
from bn_ml.state_store import StateStore
from bn_ml.telemetry_file import TelemetryFile
from monitoring.telegram_answers import MOST_LINES, Answers
from tests.fakes.book_builders import AT, BTC, LATER, a_story

ACCOUNT = {
    "equity": 1012.345,
    "exchange_quote_asset": "USDC",
    "daily_pnl_pct": -0.0012,
    "weekly_pnl_pct": 0.034,
    "drawdown_pct": 0.011,
    "exposure_pct": 0.25,
    "daily_realized_usdt": -1.25,
    "weekly_realized_usdt": 34.0,
    "unrealized_usdt": 2.5,
    "closed_trades": 12,
    "win_rate": 0.5,
    "profit_factor": None,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    made = StateStore(tmp_path / "bn_ml.db")
    made.start_epoch(AT, "start")
    yield made
    made.close()


@pytest.fixture
def answers(store: StateStore) -> Answers:
    return Answers(store.path, SimulatedClock(LATER))


def test_the_status_names_mode_state_figures_and_a_marker(store: StateStore, answers: Answers) -> None:
    a_story(store)
    store.put("account_state", ACCOUNT, AT)
    store.set_control(ControlState.REDUCE_ONLY, "paused", "anna", AT)
    HaltMarker.beside(store.path).write("kill_switch: anna", AT)
    said = answers.answer("status")
    for part in (
        "PAPER REDUCE_ONLY since 2023-06-10 12:00 UTC",
        "reason: paused (by anna)",
        "equity 1012.35 USDC, day -0.12%, week +3.40%",
        "drawdown 1.10%, exposure 25.00%",
        "open positions 1, unfinished orders 0",
        "last cycle 1.0 h ago",
        "starts HALTED next time: kill_switch: anna",
    ):
        assert part in said


def test_a_new_book_says_that_it_is_new(answers: Answers) -> None:
    assert "no cycle yet" in answers.answer("status")
    assert answers.answer("positions") == "nothing held"
    assert answers.answer("profit") == "no cycle yet"
    assert answers.answer("why") == "no cycle yet"
    assert answers.answer("models") == "no bundle adopted yet"
    assert "loop seen at an unknown time" in answers.answer("health")


def test_positions_show_the_price_of_the_last_scan(store: StateStore, answers: Answers) -> None:
    a_story(store)
    store.put("latest_scan", {"rows": [{"symbol": "BTC/USDC", "price": 26260.0}]}, AT)
    assert "at 26000, now 26260 (+1.00%), stop 25000" in answers.answer("positions")


def test_profit_shows_unknown_figures_as_unknown(store: StateStore, answers: Answers) -> None:
    store.put("account_state", ACCOUNT, AT)
    said = answers.answer("profit")
    assert "today -1.25 USDC realized, -0.12% in all" in said
    assert "closed trades 12, won 50.00%, profit factor unknown" in said


def test_why_lists_what_stopped_the_last_cycle(store: StateStore, answers: Answers) -> None:
    data = {"funnel": {"margin_too_small": 7, "no_bundle": 2}, "breakers": ["daily_loss"]}
    store.add_cycle(at=AT, opportunities=1, opened_positions=0, data=data)
    assert answers.answer("why").splitlines() == [
        "cycle 1.0 h ago: 1 opportunities, 0 opened, state NORMAL",
        "breakers: daily_loss",
        "stopped by",
        "margin_too_small: 7 symbols",
        "no_bundle: 2 symbols",
    ]


def test_why_of_a_symbol_shows_the_failed_gates_and_the_last_word_of_risk(store: StateStore, answers: Answers) -> None:
    keep(store.path, '[["margin_too_small",0.03,0.07,false],["skill",1,0,true]]', version=4)
    journal = Journal(store)
    journal.emit(EntryApproved(AT, BTC, 100, "max_position", 0.6, 7.0))  # type: ignore[arg-type]
    journal.emit(RiskRefused(AT, BTC, "max_exposure", 0.52, 0.5))
    store.put("account_state", ACCOUNT, AT)
    for symbol in ("BTC", "btc/usdc"):
        assert answers.answer("why", symbol).splitlines() == [
            "BTC/USDC at 2023-06-10 12:00 UTC: HOLD, margin_too_small",
            "SELL 20.0% HOLD 45.0% BUY 35.0%, bundle 4",
            "failed margin_too_small: 0.03 against 0.07",
            "risk refused 2023-06-10 12:00 UTC: max_exposure, 0.52 against 0.5",
        ]


def test_why_of_a_symbol_without_a_bundle_or_a_prediction(store: StateStore, answers: Answers) -> None:
    keep(store.path, "[]", version=None)
    assert "no bundle answered" in answers.answer("why", "BTC/USDC")
    assert answers.answer("why", "ETH/USDC") == "ETH/USDC: no prediction kept"
    assert "a symbol looks like BTC/USDC" in answers.answer("why", "BTC")


def test_odd_gates_are_said_to_be_unreadable(store: StateStore, answers: Answers) -> None:
    keep(store.path, "not json", version=4)
    assert "/why: not known now" in answers.answer("why", "BTC/USDC")


def test_models_show_the_newest_bundle_of_each_symbol(store: StateStore, answers: Answers) -> None:
    trained = iso(LATER - timedelta(days=3))
    for version in (1, 2):
        tradable = {"verdict": "no", "reasons": ["no_skill"]}
        store.add_model_metrics(
            AT, {"symbol": "BTC/USDC", "version": version, "trained_at": trained, "tradable": tradable}
        )
    store.add_model_metrics(AT, {"symbol": "BTC/USDC", "version": 3, "event": "kept_champion"})
    assert answers.answer("models") == "BTC/USDC version 2, no (no_skill), trained 3.0 d ago"


def test_health_shows_the_loop_and_every_worker(store: StateStore, answers: Answers) -> None:
    store.put("loop_beat", {"at": iso(LATER - timedelta(seconds=3)), "step": "wait"}, AT)
    workers = {
        "alerts": {"alive": True, "restarts": 0},
        "prices": {"alive": False, "restarts": 5, "spent": True, "last_error": "OSError: x"},
        "odd": 7,
    }
    store.put("heartbeat", {"workers": workers, "troubles": 2, "last_trouble": "alerts: ValueError"}, AT)
    assert answers.answer("health").splitlines() == [
        "loop seen 3 s ago, step wait",
        "troubles 2, last: alerts: ValueError",
        "alerts: alive, restarts 0",
        "odd: DOWN, restarts unknown",
        "prices: DOWN, restarts 5, restarts spent, last error OSError: x",
    ]


def test_a_long_answer_is_cut(store: StateStore, answers: Answers) -> None:
    for number in range(40):
        store.add_model_metrics(AT, {"symbol": f"S{number:02d}/USDC", "version": 1})
    lines = answers.answer("models").splitlines()
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == "... and 15 more"


def keep(book: Path, gates: str, *, version: int | None) -> None:
    said = PredictionRecord(
        BTC, to_ms(AT), version, 0.2, 0.45, 0.35, 0.01, 0.01, "HOLD", "margin_too_small", gates, "t"
    )
    row = (str(said.symbol), said.close_ms, said.version, said.sell, said.hold, said.buy)
    rest = (said.width_frac, said.volatility_frac, said.action, said.reason, said.gates_json, said.data_source)
    file = TelemetryFile(log_beside(book))
    assert file.write((("INSERT INTO predictions VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", [(*row, *rest)]),))
    file.close()
