"""The panels opportunities, trades, models and metrics, drawn by Streamlit's own test runner over real books."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from bn_ml.domain.market import iso, to_ms
from bn_ml.prediction_log import log_beside
from data_manager.history import HistoryStore
from tests.fakes.bar_builders import some_bars
from tests.fakes.panel_books import NOW, a_scan, write_book, write_bundle, write_predictions

PANELS = ("opportunities", "trades", "models", "metrics")
ALERT = {"id": "a1b2", "level": "WARNING", "title": "backup failed", "at": iso(NOW), "count": 2, "why": "disk full"}
KEPT: Mapping[str, object] = {
    "latest_scan": a_scan(),
    "heartbeat": {
        "at": iso(NOW),
        "cycle": 10,
        "mode": "paper",
        "health_at": iso(NOW - timedelta(seconds=5)),
        "workers": {
            "alerts": {"alive": True, "beat_age_s": 1.0, "restarts": 0, "restarts_left": 5, "needed": True},
            "backups": {"alive": False, "beat_age_s": 99.0, "restarts": 2, "restarts_left": 3, "needed": False},
        },
    },
    "backup_status": {
        "enabled": True,
        "last_backup_at": iso(NOW - timedelta(minutes=40)),
        "count": 12,
        "size_bytes": 1_200_000,
        "last_restore": {"at": iso(NOW - timedelta(days=2)), "backup_id": "20260228T000000Z"},
    },
    "recent_alerts": [ALERT],
    "training_status": {
        "status": "running",
        "phase": "calibrate",
        "current_symbol": "ETH/USDC",
        "symbols_requested": 7,
        "symbols_completed": 3,
        "progress_pct": 42.9,
        "trigger": "missing_models",
        "updated_at": iso(NOW - timedelta(seconds=9)),
    },
    "retraining_waiting": {"ADA/USDC": "cooldown until 12:00"},
    "drift_status": {"enabled": True, "symbols": {"BTC/USDC": {"detected": True, "kind": "return", "score": 9.9}}},
}
LOG = "2026-03-02T10:15:02Z INFO trader.engine funnel scanned=3\n2026-03-02T10:15:03Z WARNING bn_ml.backup disk full\n"


@dataclass(frozen=True)
class Place:
    """Folders as a bot uses them."""

    root: Path

    @property
    def book(self) -> Path:
        return self.root / "bn_ml.db"

    def draw(self, panel: str, *, period: str = "4h", symbols: Sequence[str] = (), run: bool = True) -> AppTest:
        """Draw one panel as the frame does, without its boundary."""
        told = {"folder": str(self.root), "panel": panel, "period": period, "symbols": list(symbols)}
        app = AppTest.from_function(_page, kwargs={**told, "now": iso(NOW)}, default_timeout=30)
        return app.run() if run else app


def _page(folder: str, panel: str, period: str, symbols: list[str], now: str) -> None:
    from datetime import timezone
    from pathlib import Path

    from bn_ml.domain.market import from_iso
    from bn_ml.settings import Settings
    from monitoring.dashboard_state import BookQueries
    from monitoring.desk import Desk, Filters, Look
    from monitoring.panels.panel_list import drawing_of

    root = Path(folder)
    settings = Settings.model_validate(
        {
            "model": {"models_dir": root / "models"},
            "data": {"history_dir": root / "history"},
            "monitoring": {"logs_dir": root / "logs"},
        }
    )
    at = from_iso(now)
    look = Look(zone=timezone.utc, timeframe=period, watchlist=6)
    desk = Desk(BookQueries(root / "bn_ml.db"), settings, at, at, Filters(symbols=tuple(symbols)), look)
    drawing_of(panel)(desk)


def words(app: AppTest) -> str:
    """What the page says, without markup; fails on any error."""
    assert not app.exception, [error.value for error in app.exception]
    bodies = [getattr(item.proto, "body", "") for item in app.get("html")]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", " ".join(bodies))))


def charts(app: AppTest) -> int:
    return len(app.get("bidi_component"))


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    """A book on which ten cycles refused everything."""
    write_book(tmp_path / "bn_ml.db")
    return Place(tmp_path)


@pytest.fixture
def busy(tmp_path: Path) -> Place:
    """A bot in full swing."""
    write_book(tmp_path / "bn_ml.db", trades=12, kept=KEPT)
    write_predictions(tmp_path / "bn_ml.db")
    write_bundle(tmp_path / "models", "BTC/USDC", feature_importances={"rsi_14": 2.0, "ret_1": 1.0})
    write_bundle(tmp_path / "models", "ETH/USDC", tradable={"verdict": False, "reasons": ["no_skill"]})
    HistoryStore(tmp_path / "history").write(some_bars(96, start_ms=to_ms(NOW) // 900_000 * 900_000 - 96 * 900_000))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "bnml.log").write_text(LOG)
    return Place(tmp_path)


def test_an_empty_book_says_on_each_panel_what_to_do_next(empty: Place) -> None:
    assert "No scan yet. The first one ends within a minute" in words(empty.draw("opportunities"))
    trades = words(empty.draw("trades"))
    assert "No trades yet. 10 cycles, 30 refusals; most frequent: proba_below_min 67 %." in trades
    assert "bnml-doctor explain" in trades
    assert "0/7 tradable: no bundle yet." in words(empty.draw("models"))
    metrics = words(empty.draw("metrics"))
    assert "No worker has been told of yet." in metrics
    assert "No alert yet." in metrics
    assert "no log yet" in metrics


def test_opportunities_shows_the_book_the_gates_and_what_was_said(busy: Place) -> None:
    app = busy.draw("opportunities")
    text = words(app)
    assert charts(app) == 4
    assert "20 s ago" in text
    assert "BTC/USDC BUY" in text
    assert "proba_below_min 0.440 0.420 pass" in text
    assert "bundle_stale 50 h old 100 h old pass" in text
    assert "12 fills of ours (triangles)" in text
    assert "limit 0.420" in text


def test_another_symbol_is_looked_into_by_choice_or_by_filter(busy: Place) -> None:
    app = busy.draw("opportunities")
    app.selectbox(key="drill").select("ADA/USDC").run()
    text = words(app)
    assert "ADA/USDC HOLD, no_bundle" in text
    assert "No probabilities in this period." in text
    assert "bnml-data download --symbol ADA/USDC --days 30" in text
    filtered = busy.draw("opportunities", symbols=("ETH/USDC",))
    assert filtered.selectbox(key="drill").value == "ETH/USDC"
    assert "Watchlist 1 symbols" in words(filtered)


def test_a_filter_that_leaves_nothing_says_so(busy: Place) -> None:
    assert "None of the 3 symbols passes the filters." in words(busy.draw("opportunities", symbols=("XRP/USDC",)))
    assert "None of the 12 trades passes the filters." in words(busy.draw("trades", symbols=("XRP/USDC",)))


def test_a_prediction_log_that_is_damaged_or_absent_leaves_the_rest(busy: Place) -> None:
    log = log_beside(busy.book)
    for leftover in log.parent.glob(f"{log.name}*"):
        leftover.write_bytes(b"no database at all, and long enough to be read as one" * 40)
    text = words(busy.draw("opportunities"))
    assert "No bundle has answered in this period." in text
    assert "No gate was measured in this period." in text
    for leftover in log.parent.glob(f"{log.name}*"):
        leftover.unlink()
    assert "Ranked book" in words(busy.draw("opportunities", period="all"))
    assert not log.exists()


def test_trades_shows_totals_costs_reasons_and_offers_the_csv(busy: Place) -> None:
    app = busy.draw("trades")
    text = words(app)
    assert charts(app) == 3
    assert "12 fills, amounts in USDC" in text
    assert "6 closed positions:" in text
    assert "tp1" in text
    assert app.get("download_button")[0].proto.label == "Download 12 trades as CSV"
    app.multiselect(key="reason").select("tp1").run()
    assert "6 fills, amounts in USDC" in words(app)


def test_ten_thousand_trades_are_paged_and_drawn_in_time(tmp_path: Path) -> None:
    write_book(tmp_path / "bn_ml.db", trades=10_000)
    app = Place(tmp_path).draw("trades")
    assert "10,000 fills" in words(app)
    page = app.selectbox(key="trades-blotter-page")
    assert len(page.options) == 50
    page.select_index(49).run()
    assert "2026-03-01 17:36:30 UTC" in words(app)


def test_models_shows_verdicts_with_base_rates_inputs_and_training(busy: Place) -> None:
    app = busy.draw("models")
    text = words(app)
    assert charts(app) == 2
    assert "1/7 tradable: 1 no_skill, 5 no_bundle" in text
    assert "running: ETH/USDC, calibrate" in text
    assert "43 % of 7 symbols" in text
    assert "cooldown until 12:00" in text
    assert "BTC/USDC TRADABLE none +4.00 % +2.00 % to +6.00 % 55.0 % 50.0 % 40.0 % 20.0 %" in text
    assert "DRIFT return 9.9000" in text
    assert "2.1 d ago 2026-02-28 08:15:30 UTC" in text
    assert "http://127.0.0.1:8000/api/v1/models/download?model_key=BTC_USDC" in text
    app.selectbox(key="bundle").select("ETH/USDC").run()
    assert "This bundle keeps no weights of its 3 inputs." in words(app)


def test_metadata_that_cannot_be_read_is_named_and_the_others_shown(busy: Place) -> None:
    (busy.root / "models" / "ETH_USDC" / "metadata.json").write_text("{broken")
    text = words(busy.draw("models"))
    assert "metadata.json is not JSON: train the symbol again" in text
    assert "BTC/USDC TRADABLE" in text
    assert str(busy.root) not in text


def test_nothing_of_a_bundle_is_unpickled(busy: Place) -> None:
    folder = write_bundle(busy.root / "models", "SOL/USDC")
    (folder / "rf.joblib").write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % str(busy.root / "ran").encode())
    words(busy.draw("models", symbols=("SOL/USDC",)))
    assert not (busy.root / "ran").exists()


def test_metrics_shows_cycles_workers_backups_alerts_log_and_values(busy: Place) -> None:
    app = busy.draw("metrics")
    text = words(app)
    assert charts(app) == 1
    assert "whole cycle 10 64.0 ms 64.0 ms 64.0 ms" in text
    assert "backups DEAD" in text
    assert "1 of 2" in text
    assert "40 min ago" in text
    assert "2.0 d ago" in text
    assert "WARNING backup failed open 0 s ago, 2026-03-02 10:15:30 UTC 2" in text
    assert "funnel scanned=3" in text
    assert "bnml_scan_age_seconds - 20 s Seconds since the newest scan" in text


def test_levels_narrow_the_log_and_the_alerts(busy: Place) -> None:
    app = busy.draw("metrics")
    app.selectbox(key="log").select("WARNING").run()
    text = words(app)
    assert "funnel scanned=3" not in text
    assert "1 of all records" in text
    app.selectbox(key="alerts").select("CRITICAL").run()
    assert "None of 1 alerts is CRITICAL or above." in words(app)


@pytest.mark.parametrize("panel", PANELS)
def test_odd_values_of_another_version_never_break_a_panel(tmp_path: Path, panel: str) -> None:
    odd = {key: value for key in KEPT for value in ([{"rows": 1}, None, 3],)}
    odd["latest_scan"] = {"at": "soon", "rows": [{"symbol": "BTC/USDC", "score": "high", "probas": 3}]}  # type: ignore[assignment]
    write_book(tmp_path / "bn_ml.db", kept=odd)
    write_bundle(tmp_path / "models", tradable="maybe", validation_metrics=[], data_span=3, drift_reference=None)
    assert words(Place(tmp_path).draw(panel))


@pytest.mark.parametrize("panel", PANELS)
def test_texts_from_outside_are_shown_as_text(tmp_path: Path, panel: str) -> None:
    hostile = "<script>alert(1)</script>"
    scan = a_scan()
    kept = {**KEPT, "latest_scan": {**scan, "data_source": hostile}, "recent_alerts": [{**ALERT, "title": hostile}]}
    write_book(tmp_path / "bn_ml.db", trades=2, kept=kept)
    write_bundle(tmp_path / "models", tradable={"verdict": False, "reasons": [hostile]})
    app = Place(tmp_path).draw(panel)
    assert not app.exception
    assert not any("<script>" in getattr(item.proto, "body", "") for item in app.get("html"))


@pytest.mark.parametrize("panel", PANELS)
def test_looking_writes_nothing_into_the_book(busy: Place, panel: str) -> None:
    before = busy.book.read_bytes()
    words(busy.draw(panel, period="all"))
    assert busy.book.read_bytes() == before
