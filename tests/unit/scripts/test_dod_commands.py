"""The commands of the daily check and the report: files, exit codes, and a checklist that is really measured."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from bn_ml.backup import Sources, make_backup
from bn_ml.backup_manifest import BOOK
from bn_ml.backup_store import BackupStore
from bn_ml.clock import SystemClock
from monitoring.dod_findings import Violation
from scripts import check_dod_daily, generate_dod_report
from scripts.dod_checklist import DOCUMENTS
from tests.fakes.alert_receivers import WebReceiver
from tests.fakes.finished_books import Story, write_book

DAY = "2023-06-01"
INTERVAL_S = 900


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a configuration whose book lies there too."""
    monkeypatch.chdir(tmp_path)
    for name in ("BNML_CONFIG_PATH", "BNML_ALERT_WEBHOOK_URL", "BNML_HEARTBEAT_URL"):
        monkeypatch.delenv(name, raising=False)
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, **monitoring: object) -> None:
    """Write the configuration file of the folder."""
    settings = {
        "base_quote": "USDC",
        "scanner": {"scan_interval_sec": INTERVAL_S},
        "storage": {"sqlite_path": str(folder / "bn_ml.db"), "backup": {"base_dir": str(folder / "backups")}},
        "monitoring": {"logs_dir": str(folder / "logs"), **monitoring},
    }
    (folder / "bot.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def check(folder: Path, *flags: str) -> int:
    return check_dod_daily.main(["--config", str(folder / "bot.yaml"), "--out-dir", str(folder / "daily"), *flags])


def report(folder: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    places = [
        "--daily-dir",
        str(folder / "daily"),
        "--out-md",
        str(folder / "s.md"),
        "--out-json",
        str(folder / "s.json"),
    ]
    code = generate_dod_report.main(["--config", str(folder / "bot.yaml"), *places, *flags])
    return code, json.loads((folder / "s.json").read_text(encoding="utf-8"))


def test_a_full_day_is_written_as_json_and_markdown_and_passes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_book(here / "bn_ml.db", Story(cycles=96))

    assert check(here, "--date", DAY, "--fail-on-violation") == 0

    day = json.loads((here / "daily" / f"{DAY}.json").read_text(encoding="utf-8"))
    assert set(day) >= {"date_utc", "window", "status", "violations_count", "violations", "metrics", "checks"}
    assert (day["date_utc"], day["status"], day["violations"]) == (DAY, "PASS", [])
    assert day["window"] == {"start": "2023-06-01T00:00:00.000Z", "end": "2023-06-02T00:00:00.000Z"}
    assert day["metrics"] == {
        "cycles": 96,
        "expected_cycles": 96,
        "coverage_pct": 1.0,
        "trades": 0,
        "buys": 0,
        "sells": 0,
        "winning_sells": 0,
        "realized_pnl_usdt": 0.0,
        "sell_win_rate": None,
        "max_open_positions_seen": 0,
    }
    assert [item["id"] for item in day["checks"]] == [rule.value for rule in Violation]
    assert (here / "daily" / f"{DAY}.md").read_text(encoding="utf-8").startswith(f"# Daily check {DAY}: PASS\n")
    assert not list((here / "daily").glob(".*"))
    assert f"{DAY} PASS: 0 violations" in capsys.readouterr().out


@pytest.mark.parametrize(("cycles", "status"), [(92, "PASS"), (91, "INCOMPLETE")])
def test_the_limit_of_coverage_is_95_percent(here: Path, cycles: int, status: str) -> None:
    write_book(here / "bn_ml.db", Story(cycles=cycles))

    assert check(here, "--date", DAY) == 0
    assert check(here, "--date", DAY, "--fail-on-violation") == int(status != "PASS")

    assert json.loads((here / "daily" / f"{DAY}.json").read_text(encoding="utf-8"))["status"] == status


def test_a_violation_fails_only_when_asked_to(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_book(here / "bn_ml.db", Story(data_source="synthetic"))

    assert check(here, "--date", DAY) == 0
    assert check(here, "--date", DAY, "--fail-on-violation", "--json") == 1

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["status"] == "FAIL"
    assert {item["id"] for item in told["violations"]} == {"synthetic_data_used"}


def test_without_a_book_today_is_incomplete_and_says_what_to_do(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(here) == 0
    assert check(here, "--fail-on-violation") == 1

    out = capsys.readouterr().out
    assert "INCOMPLETE" in out
    assert "start the bot (bnml-bot)" in out
    (written,) = (here / "daily").glob("*.json")
    assert written.stem == SystemClock().now().date().isoformat()


def test_another_book_and_a_wrong_date(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = write_book(tmp_path_factory.mktemp("other") / "other.db", Story())

    assert check(here, "--db-path", str(other), "--date", DAY, "--fail-on-violation") == 0
    with pytest.raises(SystemExit) as ended:
        check(here, "--date", "yesterday")
    assert ended.value.code == 2


def test_a_file_that_is_no_book_fails_with_a_message(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bn_ml.db").write_text("no database at all, whatever its name says about it", encoding="utf-8")

    assert check(here, "--date", DAY) == 1
    assert "bn_ml.db" in capsys.readouterr().err


def test_a_report_without_anything_shows_nothing_as_done(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, summary = report(here)

    assert code == 0
    assert set(summary["checklist"].values()) == {False}
    assert all(summary["checklist_details"].values())
    assert (summary["run_days_observed"], summary["reports_count"], summary["days_target"]) == (0, 0, 30)
    assert capsys.readouterr().out.startswith("# Paper run: not done")
    assert (here / "s.md").read_text(encoding="utf-8").startswith("# Paper run: not done")


def test_a_report_takes_daily_files_and_checks_what_only_the_book_knows(here: Path) -> None:
    write_book(here / "bn_ml.db", Story(cycles=3 * 96))
    check(here, "--date", "2023-06-02")
    partial = here / "daily" / "2023-06-03.json"
    told = json.loads((here / "daily" / "2023-06-02.json").read_text(encoding="utf-8"))
    partial.write_text(json.dumps({**told, "date_utc": "2023-06-03", "status": "INCOMPLETE"}), encoding="utf-8")
    (here / "daily" / "2023-05-31.json").write_text("{", encoding="utf-8")

    _, summary = report(here, "--days", "3")

    assert (summary["window_start"], summary["window_end"]) == ("2023-06-01T00:00:00.000Z", "2023-06-04T00:00:00.000Z")
    assert (summary["run_days_observed"], summary["reports_count"], summary["gaps"]) == (3, 3, [])
    assert [day["status"] for day in summary["days"]] == ["PASS"] * 3
    assert summary["checklist"]["paper_run_duration_met"]
    assert summary["checklist"]["zero_risk_violations"]


def test_a_book_that_cannot_be_read_leaves_the_reports_and_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_book(here / "bn_ml.db", Story(cycles=96))
    check(here, "--date", DAY)
    (here / "bn_ml.db").write_text("no database at all, whatever its name says about it", encoding="utf-8")

    code, summary = report(here, "--days", "1")

    assert (code, summary["reports_count"], summary["run_days_observed"]) == (0, 1, 1)
    assert "bn_ml.db" in capsys.readouterr().err


def test_a_day_missing_between_two_others_is_a_gap(here: Path) -> None:
    write_book(here / "bn_ml.db", Story(cycles=3 * 96))
    with closing(sqlite3.connect(here / "bn_ml.db")) as connection, connection:
        connection.execute("DELETE FROM cycles WHERE ts LIKE '2023-06-02%'")

    _, summary = report(here, "--days", "3")

    assert [gap["date_utc"] for gap in summary["gaps"]] == ["2023-06-02"]
    assert (summary["run_days_observed"], summary["gaps_count"]) == (2, 1)
    assert not summary["checklist"]["paper_run_duration_met"]


def test_every_item_of_the_checklist_is_shown_when_it_is_there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_book(here / "bn_ml.db", Story(cycles=96))
    keep_a_backup(here)
    backtest = here / "artifacts" / "backtests" / "20230101_20230301"
    backtest.mkdir(parents=True)
    (backtest / "report.json").write_text('{"verdict": {"sentence": "No better than random."}}', encoding="utf-8")
    for name in DOCUMENTS:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("there", encoding="utf-8")

    with WebReceiver() as receiver, a_dashboard() as port:
        monkeypatch.setenv("BNML_ALERT_WEBHOOK_URL", receiver.url)
        configure(here, dashboard={"port": port}, alerting={"webhook": {"enabled": True}})
        _, summary = report(here, "--days", "1")

    assert summary["checklist_details"]["dashboard_and_alerting_operational"].endswith("delivered by webhook")
    assert set(summary["checklist"].values()) == {True}, summary["checklist_details"]
    assert summary["done"]
    assert "test" in receiver.posts[0].text
    assert "books equal" in summary["checklist_details"]["restore_verified"]


def test_a_dashboard_without_alerts_and_alerts_without_a_dashboard_are_not_enough(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_dashboard() as port:
        configure(here, dashboard={"port": port})
        _, summary = report(here)
    assert not summary["checklist"]["dashboard_and_alerting_operational"]
    assert "no channel is enabled" in summary["checklist_details"]["dashboard_and_alerting_operational"]

    with WebReceiver() as receiver:
        monkeypatch.setenv("BNML_ALERT_WEBHOOK_URL", receiver.url)
        configure(here, dashboard={"port": port}, alerting={"webhook": {"enabled": True}})
        _, summary = report(here)
    assert not summary["checklist"]["dashboard_and_alerting_operational"]
    assert "does not answer" in summary["checklist_details"]["dashboard_and_alerting_operational"]


def test_a_damaged_backup_restores_nothing(here: Path) -> None:
    write_book(here / "bn_ml.db", Story(cycles=96))
    copied = keep_a_backup(here)
    content = bytearray(copied.read_bytes())
    content[len(content) // 2] ^= 1
    copied.write_bytes(content)

    _, summary = report(here)

    assert not summary["checklist"]["restore_verified"]


def keep_a_backup(folder: Path) -> Path:
    """Make a backup of the book as the bot does; gives the copied book."""
    store = BackupStore(folder / "backups")
    kept = make_backup(Sources(folder / "bn_ml.db"), store, datetime(2023, 6, 2, 1, tzinfo=timezone.utc))
    return kept.folder / BOOK


class a_dashboard:  # noqa: N801  reads as a word in a with statement
    """A server that answers the dashboard's page of health."""

    def __enter__(self) -> int:
        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/_stcore/health" else 404)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: object) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Page)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return int(self._server.server_address[1])

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
