"""`bnml-doctor check` finds each fault planted in a healthy installation, names its fix, and hides no other."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import iso
from bn_ml.halting import HaltMarker
from bn_ml.state_store import StateStore
from tests.fakes.examined_desk import IDLE, ExaminedDesk, MailSink, silent_server
from tests.fakes.live_sandbox import restored, started
from tests.fakes.sandbox_process import SandboxThread

CANARY = "canary0fa3cret0that0must0never0be0seen"


@pytest.fixture(scope="module")
def exchange() -> Iterator[SandboxThread]:
    sandbox = started()
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(exchange: SandboxThread) -> SandboxThread:
    return restored(exchange)


@pytest.fixture(scope="module")
def mail() -> Iterator[MailSink]:
    sink = MailSink()
    yield sink
    sink.stop()


@pytest.fixture
def desk(sandbox: SandboxThread, mail: MailSink, tmp_path: Path) -> ExaminedDesk:
    return ExaminedDesk(tmp_path, sandbox, mail=mail).prepared()


def store_of(desk: ExaminedDesk) -> StateStore:
    return StateStore(desk.book)


def test_a_healthy_installation_is_in_order_in_every_respect(desk: ExaminedDesk, mail: MailSink) -> None:
    before = len(mail.messages)
    report = desk.check()
    assert report.troubles() == []
    assert report.code == 0
    assert len(mail.messages) == before + 1
    code, out, _ = desk.doctor("check", "--no-test-alert")
    assert code == 0
    assert len(out.splitlines()) <= 40
    assert len(mail.messages) == before + 1
    assert all(line.startswith("OK   ") or IDLE in line for line in out.splitlines()[:-1])


def test_a_healthy_installation_is_ready_for_real_money(desk: ExaminedDesk) -> None:
    report = desk.check("--live")
    assert [name for status, name in report.troubles() if status == "FAIL"] == []
    assert report.named("key may not withdraw")["status"] == "OK"
    # The sandbox's key may be used from anywhere, and the book at hand is the paper one.
    assert ("WARN", "database") in report.troubles()


def test_no_command_is_the_check(desk: ExaminedDesk) -> None:
    assert desk.doctor("check")[0] == desk.doctor()[0] == 0


def test_an_unknown_key_and_a_percent_are_both_named_with_what_was_meant(desk: ExaminedDesk) -> None:
    desk.configure(risk={"max_drawdwon_pct": 0.1, "fees_pct": 0.1})
    report = desk.check()
    lines = {item["found"]: item["fix"] for item in report.of("FAIL")}
    assert report.code == 1
    assert "did you mean risk.max_drawdown_pct?" in lines["risk.max_drawdwon_pct: unknown key"]
    (percent,) = [fix for found, fix in lines.items() if found.startswith("risk.fees_pct: 0.1 is not allowed")]
    assert "write the fraction 0.001" in percent
    # The rest is looked at all the same.
    assert report.named("database")["status"] == "OK"


def test_no_learning_library_is_loaded(desk: ExaminedDesk) -> None:
    heavy = ("sklearn", "xgboost", "lightgbm", "optuna", "torch", "joblib", "pandas", "ccxt", "scipy")
    code = (
        "import sys\nfrom scripts import doctor\n"
        f"code = doctor.main(['check', '--live', '--config', {str(desk.write())!r}])\n"
        f"found = [name for name in {heavy!r} if name in sys.modules]\nassert not found, found\n"
    )
    done = desk.python(code)
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_no_yaml_is_named_with_its_line(desk: ExaminedDesk) -> None:
    path = desk.write()
    path.write_text("risk:\n  fees_pct: [\n")
    done = desk.python(f"from scripts import doctor; exit(doctor.main(['check', '--json', '--config', {str(path)!r}]))")
    assert done.returncode == 1, done.stderr
    failures = [item for item in json.loads(done.stdout)["data"]["checks"] if item["status"] == "FAIL"]
    assert "not valid YAML" in failures[0]["found"]
    assert "line 3" in failures[0]["found"]


def test_secrets_others_may_read_are_named(desk: ExaminedDesk) -> None:
    (desk.folder / ".env").chmod(0o644)
    paper, live = desk.check().named(".env"), desk.check("--live").named(".env")
    assert (paper["status"], live["status"]) == ("WARN", "FAIL")
    assert "chmod 600" in paper["fix"]


def test_an_env_file_that_cannot_be_read_is_named_without_its_content(desk: ExaminedDesk) -> None:
    (desk.folder / ".env").write_text(f"THIS IS NO LINE {CANARY}\n")
    report = desk.check()
    assert ".env line 1" in report.named("configuration")["found"]
    assert CANARY not in report.out + report.err


def test_a_full_disk_is_named(desk: ExaminedDesk) -> None:
    desk.configure(storage={"sqlite_path": str(desk.book), "min_free_disk_mb": 1e9, "backup": {"base_dir": "backups"}})
    found = desk.check().named("disk")
    assert found["status"] == "FAIL"
    assert "nothing is bought" in found["fix"]


def test_a_disk_that_will_soon_be_full_is_a_warning(desk: ExaminedDesk) -> None:
    free_mb = shutil.disk_usage(desk.folder).free / 1e6
    desk.configure(
        storage={"sqlite_path": str(desk.book), "min_free_disk_mb": free_mb / 1.5, "backup": {"base_dir": "backups"}}
    )
    assert desk.check().named("disk")["status"] == "WARN"


def test_a_log_folder_that_cannot_be_written_is_named(desk: ExaminedDesk) -> None:
    (desk.folder / "logs").write_text("a file in the way")
    found = desk.check().named("folders")
    assert found["status"] == "FAIL"
    assert "logs: " in found["found"]
    assert "monitoring.logs_dir" in found["fix"]


def test_a_damaged_database_is_named_with_how_to_restore_it(desk: ExaminedDesk) -> None:
    content = bytearray(desk.book.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    desk.book.write_bytes(content)
    report = desk.check()
    assert report.named("database")["status"] == "FAIL"
    assert "bnml-doctor backups" in report.named("database")["found"] + report.named("database")["fix"]
    assert "Traceback" not in report.err


def test_a_file_that_is_no_database_is_named(desk: ExaminedDesk) -> None:
    desk.book.write_bytes(b"no database at all" * 400)
    found = desk.check().named("database")
    assert (found["status"], "restore a backup" in found["fix"]) == ("FAIL", True)


def test_the_database_of_another_program_is_named(desk: ExaminedDesk) -> None:
    for path in desk.book.parent.iterdir():
        path.unlink()
    with sqlite3.connect(desk.book) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    found = desk.check().named("database")
    assert found["status"] == "FAIL"
    assert "another program" in found["found"]
    assert "storage.sqlite_path" in found["fix"]


def test_a_book_in_another_quote_asset_is_named(desk: ExaminedDesk) -> None:
    store = store_of(desk)
    store.deposit("EUR", Decimal(100), SystemClock().now(), "starting capital")
    store.close()
    found = desk.check().named("database")
    assert found["status"] == "FAIL"
    assert "it holds EUR" in found["found"]
    assert "base_quote" in found["fix"]


def test_a_halt_is_named_with_the_command_that_ends_it(desk: ExaminedDesk) -> None:
    store = store_of(desk)
    store.set_control(ControlState.HALTED, "breaker_drawdown", "bot", SystemClock().now())
    store.close()
    found = desk.check().named("control state")
    assert found["status"] == "FAIL"
    assert "HALTED" in found["found"]
    assert "breaker_drawdown" in found["found"]
    assert "bnml-kill-switch --resume --reason" in found["fix"]


def test_reduced_trading_is_a_warning(desk: ExaminedDesk) -> None:
    store = store_of(desk)
    store.set_control(ControlState.REDUCE_ONLY, "stale_prices", "bot", SystemClock().now())
    store.close()
    report = desk.check()
    assert (report.named("control state")["status"], report.code) == ("WARN", 0)


def test_the_halt_a_kill_switch_left_beside_the_book_is_named(desk: ExaminedDesk) -> None:
    HaltMarker.beside(desk.book).write("kill_switch: by hand", SystemClock().now())
    found = desk.check().named("control state")
    assert (found["status"], "the next start is HALTED" in found["found"]) == ("FAIL", True)


def test_books_that_differ_from_the_account_are_named(desk: ExaminedDesk) -> None:
    store = store_of(desk)
    now = SystemClock().now()
    verdict = {"result": "unexplained", "at": iso(now), "differences": [{"asset": "BTC", "difference": "0.1"}]}
    store.put("reconciliation", verdict, now)
    store.close()
    found = desk.check().named("reconciliation")
    assert (found["status"], "BTC" in found["found"]) == ("FAIL", True)


def test_a_running_bot_is_seen_with_its_heartbeat(desk: ExaminedDesk) -> None:
    now = SystemClock().now()
    store = store_of(desk)
    store.put("loop_beat", {"pid": os.getpid(), "at": iso(now), "step": "scan", "epoch": 1}, now)
    store.close()
    with ProcessLock(desk.book).acquire(now):
        found = desk.check().named("bot")
    assert found["status"] == "OK"
    assert f"process {os.getpid()}" in found["found"]
    assert "at scan" in found["found"]


def test_a_bot_whose_loop_stands_still_is_named(desk: ExaminedDesk) -> None:
    now = SystemClock().now()
    silent_since = now - timedelta(minutes=10)
    store = store_of(desk)
    store.put("loop_beat", {"pid": os.getpid(), "at": iso(silent_since), "step": "scan", "epoch": 1}, silent_since)
    workers = {"prices": {"alive": False, "restarts": 5, "spent": True}, "alerts": {"alive": True, "restarts": 0}}
    store.put("heartbeat", {"at": iso(now), "workers": workers}, now)
    store.close()
    with ProcessLock(desk.book).acquire(now):
        report = desk.check()
    assert report.named("bot")["status"] == "FAIL"
    assert "has not moved" in report.named("bot")["found"]
    assert "prices" in report.named("workers")["found"]


def test_a_stale_bundle_a_missing_one_and_one_without_skill_are_told_apart(desk: ExaminedDesk) -> None:
    long_ago = SystemClock().now() - timedelta(days=40)
    desk.train("BTC/USDC", trained_at=long_ago, valid_from=long_ago, label_end=long_ago - timedelta(hours=1))
    desk.train("ETH/USDC", tradable={"verdict": False, "reasons": ["no_skill"]})
    desk.configure(universe={"training_symbols": ["BTC/USDC", "ETH/USDC", "BNB/USDC"]})
    told = [item for item in desk.check().findings if item["name"] == "bundles"]
    assert [item["status"] for item in told] == ["WARN"] * 3
    text = " ".join(item["found"] for item in told)
    assert "max_bundle_age_hours 336, HOLD: BTC/USDC (40.0 days)" in text
    assert "no bundle, HOLD: BNB/USDC" in text
    assert "0 of 3 tradable, no proven skill: ETH/USDC (no_skill)" in text
    assert all("bnml-trainer" in item["fix"] for item in told[:2])


def test_an_altered_bundle_is_named_and_its_neighbour_still_told(desk: ExaminedDesk) -> None:
    target = desk.folder / "models" / "BTC_USDC" / "ensemble.bin"
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    report = desk.check()
    (found,) = [item for item in report.of("FAIL") if item["name"] == "bundles"]
    assert "BTC/USDC" in found["found"]
    assert "bnml-trainer --symbol BTC/USDC" in found["fix"]
    assert any("1 of 2 tradable" in item["found"] for item in report.findings)


def test_a_training_that_failed_is_named(desk: ExaminedDesk) -> None:
    folder = desk.folder / "models" / ".training"
    folder.mkdir(exist_ok=True)
    now = iso(SystemClock().now())
    status = {"status": "failed", "started_at": now, "updated_at": now, "last_error": "BTC/USDC: too few rows"}
    (folder / "status.json").write_text(json.dumps(status))
    found = desk.check().named("training")
    assert found["status"] == "WARN"
    assert "too few rows" in found["found"]


def test_a_busy_port_is_named_with_who_holds_it(desk: ExaminedDesk) -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()
        desk.configure(public_api={"port": line.getsockname()[1]})
        found = desk.check().named("API port")
    assert found["status"] == "FAIL"
    assert f"process {os.getpid()}" in found["found"]
    assert "public_api.port" in found["fix"]


def test_an_address_open_to_others_without_a_token_is_named(desk: ExaminedDesk) -> None:
    desk.configure(public_api={"host": "0.0.0.0"})
    assert desk.check().named("API port")["status"] == "FAIL"
    assert desk.check(environ={"BNML_API_TOKEN": "t" * 32}).named("API port")["status"] == "OK"


@pytest.mark.parametrize(("offset_ms", "status"), [(700, "OK"), (2000, "FAIL"), (-2000, "FAIL")])
def test_a_clock_that_is_off_is_named(desk: ExaminedDesk, sandbox: SandboxThread, offset_ms: int, status: str) -> None:
    sandbox.post("clock", jump_ms=offset_ms)
    found = desk.check().named("clock")
    assert found["status"] == status
    assert abs(float(found["found"].split()[0]) * 1000 - offset_ms) < 100
    assert status == "OK" or "NTP" in found["fix"]


def test_an_exchange_that_cannot_be_reached_is_a_warning_in_paper_and_a_failure_for_live(desk: ExaminedDesk) -> None:
    desk.configure(exchange={"base_url": "http://127.0.0.1:9"})
    paper, live = desk.check(), desk.check("--live")
    assert {paper.named(name)["status"] for name in ("exchange", "clock", "exchange filters")} == {"WARN"}
    assert (paper.code, live.code) == (0, 1)
    assert "TCP: " in paper.named("exchange")["found"]
    assert {live.named(name)["status"] for name in ("exchange", "clock", "key rights")} == {"FAIL"}


def test_servers_that_accept_and_say_nothing_cost_no_more_than_their_limits(desk: ExaminedDesk) -> None:
    clock = SystemClock()
    with silent_server() as port:
        desk.configure(exchange={"base_url": f"http://127.0.0.1:{port}"})
        began = clock.monotonic()
        report = desk.check("--live", environ={"EMAIL_SMTP_PORT": str(port)})
        took_s = clock.monotonic() - began
    assert took_s < 6
    for name in ("exchange", "clock", "key rights", "alerts by email"):
        assert report.named(name)["status"] == "FAIL"
    assert report.named("bundles")["status"] == report.named("control state")["status"] == "OK"


def test_an_exchange_in_maintenance_is_named(desk: ExaminedDesk, sandbox: SandboxThread) -> None:
    sandbox.post("faults", script=[{"kind": "unavailable", "path": "/api/v3/time", "times": 9}])
    found = desk.check().named("exchange")
    assert (found["status"], "REST: " in found["found"]) == ("WARN", True)


def test_a_ban_in_force_is_respected(desk: ExaminedDesk, sandbox: SandboxThread) -> None:
    now = SystemClock().now()
    (desk.book.parent / "exchange_ban.txt").write_text(f"{iso(now + timedelta(minutes=5))} {iso(now)}")
    asked = len(sandbox.world.line.plan.records)
    found = desk.check("--live").named("exchange")
    assert "asked to stay away" in found["found"]
    assert len(sandbox.world.line.plan.records) == asked


def test_a_position_under_the_minimum_notional_is_named_with_the_key(desk: ExaminedDesk) -> None:
    desk.configure(risk={"max_position_size_usdt": 5.05, "max_symbol_exposure_pct": 0.5})
    (found,) = desk.check().of("FAIL")
    assert found["name"].startswith("exchange filters: ")
    assert "BTC/USDC needs 5.08" in found["found"]
    assert "risk.max_position_size_usdt" in found["fix"]


def test_a_symbol_the_exchange_does_not_know_is_named(desk: ExaminedDesk) -> None:
    desk.configure(universe={"training_symbols": ["BTC/USDC", "ETH/USDC", "NOPE/USDC"]})
    found = desk.check().named("exchange filters: symbols TRADING")
    assert (found["status"], "NOPE/USDC" in found["found"]) == ("WARN", True)


@pytest.mark.parametrize(
    ("keys", "name"), [({"may_withdraw": True}, "key may not withdraw"), ({"may_trade": False}, "key may trade")]
)
def test_a_key_with_the_wrong_rights_is_named(
    desk: ExaminedDesk, sandbox: SandboxThread, keys: dict[str, bool], name: str
) -> None:
    sandbox.post("account", keys=keys)
    found = desk.check("--live").named(name)
    assert found["status"] == "FAIL"
    assert found["fix"]


def test_a_key_that_is_refused_is_named_and_no_secret_is_shown(desk: ExaminedDesk) -> None:
    report = desk.check("--live", environ={"BINANCE_API_SECRET": CANARY})
    assert report.named("key rights")["status"] == "FAIL"
    assert "BINANCE_API_SECRET" in report.named("key rights")["fix"]
    for secret in (CANARY, desk.sandbox.api_key):
        assert secret not in report.out + report.err


def test_absent_keys_are_named_for_live_alone(desk: ExaminedDesk) -> None:
    none = {"BINANCE_API_KEY": "", "BINANCE_API_SECRET": ""}
    assert desk.check(environ=none).code == 0
    assert desk.check("--live", environ=none).named("API keys")["status"] == "FAIL"


def test_no_channel_of_alerts_is_a_warning(desk: ExaminedDesk) -> None:
    desk.configure(monitoring={"alerting": {}})
    found = desk.check().named("alerts")
    assert (found["status"], "in the log only" in found["found"]) == ("WARN", True)


def test_a_channel_that_lacks_its_address_is_named(desk: ExaminedDesk) -> None:
    desk.configure(monitoring={"alerting": {"webhook": {"enabled": True}}})
    found = desk.check().named("alerts by webhook")
    assert found["status"] == "FAIL"
    assert "BNML_ALERT_WEBHOOK_URL" in found["found"] + found["fix"]


def test_an_old_backup_of_a_book_that_has_changed_is_named(desk: ExaminedDesk) -> None:
    shutil.rmtree(desk.folder / "backups")
    desk.back_up(age=timedelta(days=3))
    found = desk.check().named("backups")
    assert found["status"] == "WARN"
    assert "72.0 h old" in found["found"]
    assert "bnml-doctor backups create" in found["fix"]


def test_a_damaged_backup_is_named(desk: ExaminedDesk) -> None:
    (folder,) = [path for path in (desk.folder / "backups").iterdir() if path.is_dir()]
    copied = next(path for path in folder.rglob("bn_ml.db"))
    copied.chmod(0o600)
    copied.write_bytes(copied.read_bytes()[:-4096])
    found = desk.check().named("backups")
    assert (found["status"], folder.name in found["found"]) == ("FAIL", True)


def test_several_faults_at_once_are_all_named(desk: ExaminedDesk) -> None:
    desk.book.write_bytes(b"no database at all" * 400)
    (desk.folder / "logs").write_text("a file in the way")
    desk.configure(exchange={"base_url": "http://127.0.0.1:9"}, risk={"max_drawdwon_pct": 0.1})
    code, out, _ = desk.doctor("check")
    assert code == 1
    assert len(out.splitlines()) <= 40
    told, again = out.split("to mend:")
    for name in ("configuration", "database", "folders"):
        assert f"FAIL {name}: " in told
        assert f"FAIL {name}: " in again
    assert "WARN exchange: " in told
