"""Live trading starts only when every check of the preflight passes; the command itself, against a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.market import iso
from bn_ml.state_store import StateStore
from tests.fakes.alert_receivers import WebReceiver
from tests.fakes.live_command import START, LiveDesk
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


@pytest.fixture
def desk(sandbox: SandboxThread, tmp_path: Path) -> LiveDesk:
    return LiveDesk(tmp_path, sandbox)


def requests(sandbox: SandboxThread) -> int:
    return len(sandbox.world.line.plan.records)


def test_a_good_start_is_announced_and_runs_without_a_question(desk: LiveDesk) -> None:
    done = desk.process("--once", "--json")
    assert done.code == 0, done.err
    assert "mode LIVE on sandbox:" in done.err
    assert "REAL ORDERS are sent; at most 100 USDC" in done.err
    line, alert = [line for line in done.err.splitlines() if "CRITICAL" in line]
    assert "live trading starts" in alert
    assert "LIVE TRADING starts account=SANDBOX, no real money capital=100.00 USDC" in line
    (event,) = desk.events("LiveStarted")
    assert event["account"].startswith("sandbox:")
    assert Decimal(event["capital"]) == 100
    written = [path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()]
    for secret in desk.environ.values():
        assert secret not in done.all
        assert not any(secret.encode() in content for content in written)
    assert desk.amounts() == (
        {"USDC": Decimal(100)},
        {"USDC": Decimal(900), "BTC": Decimal("0.5"), "BNB": Decimal(1)},
    )


def test_without_keys_nothing_is_created_and_the_variables_are_named(desk: LiveDesk) -> None:
    none = {"BINANCE_API_KEY": "", "BINANCE_API_SECRET": ""}
    done = desk.process(environ=none)
    assert done.code == 3
    assert "API keys not configured: BINANCE_API_KEY, BINANCE_API_SECRET" in done.err
    assert not desk.book.parent.exists()
    one = desk.bot(environ={"BINANCE_API_SECRET": ""})
    assert (one.code, "API keys not configured: BINANCE_API_SECRET ->" in one.err) == (3, True)
    assert not desk.book.parent.exists()


def test_a_wrong_secret_is_refused_and_never_shown(desk: LiveDesk) -> None:
    done = desk.process("--once", "--log-level", "DEBUG", environ={"BINANCE_API_SECRET": CANARY})
    assert done.code == 3
    assert "FAIL key rights: the exchange refuses the key" in done.err
    assert "BINANCE_API_SECRET" in done.err
    logs = "".join(path.read_text() for path in (desk.folder / "logs").iterdir())
    for secret in (CANARY, desk.sandbox.api_key):
        assert secret not in done.all + logs
    assert "Traceback" not in done.err


def test_a_revoked_key_is_named(desk: LiveDesk, sandbox: SandboxThread) -> None:
    sandbox.post("account", keys={"revoked": True})
    done = desk.bot()
    assert done.code == 3
    assert "-2015" in done.err
    assert "BINANCE_API_KEY" in done.err
    assert not desk.book.exists()


def test_an_exchange_that_does_not_answer_is_unreachable(desk: LiveDesk) -> None:
    nowhere = {"base_url": "http://127.0.0.1:9", "timeout_ms": 1000, "retry_attempts": 1, "retry_backoff_sec": 0.05}
    desk.configure(exchange=nowhere)
    done = desk.process()
    assert done.code == 4
    assert "sandbox: does not tell its time" in done.err
    assert not desk.book.exists()


def test_an_exchange_in_maintenance_is_unreachable(desk: LiveDesk, sandbox: SandboxThread) -> None:
    desk.configure(exchange={"retry_attempts": 0})
    sandbox.post("faults", script=[{"kind": "unavailable", "path": "/api/v3/account", "times": 9}])
    assert desk.bot().code == 4


def test_one_lost_answer_does_not_keep_the_bot_from_starting(desk: LiveDesk, sandbox: SandboxThread) -> None:
    desk.configure(exchange={"retry_backoff_sec": 0.05})
    sandbox.post("faults", script=[{"kind": "drop_before", "path": "/api/v3/time"}])
    assert desk.bot().code == 0


READS = (
    "/api/v3/time",
    "/api/v3/account",
    "/api/v3/account/commission",
    "/api/v3/exchangeInfo",
    "/api/v3/openOrders",
    "/sapi/v1/account/apiRestrictions",
)
PASSING = (
    "drop_before",
    "drop_after",
    "unavailable",
    "overloaded",
    "unknown_before",
    "timeout_before",
    "empty",
    "cut",
    "forbidden",
    "bad_gateway_before",
)


@pytest.mark.parametrize("path", READS)
def test_no_passing_failure_of_any_read_keeps_the_bot_from_starting(
    desk: LiveDesk, sandbox: SandboxThread, path: str
) -> None:
    desk.configure(exchange={"retry_backoff_sec": 0.05})
    for kinds in (PASSING[:5], PASSING[5:]):
        sandbox.post("faults", script=[{"kind": kind, "path": path} for kind in kinds])
        done = desk.bot()
        assert (done.code, done.failures()) == (0, []), done.err
        assert sandbox.get("faults")["counts"].keys() >= set(kinds)


@pytest.mark.parametrize("kind", ["overloaded", "empty"])
@pytest.mark.parametrize("path", [path for path in READS if path != "/api/v3/openOrders"])
def test_a_failure_that_lasts_is_an_exchange_that_cannot_be_reached(
    desk: LiveDesk, sandbox: SandboxThread, path: str, kind: str
) -> None:
    desk.configure(exchange={"retry_attempts": 1, "retry_backoff_sec": 0.05, "timeout_ms": 1000})
    sandbox.post("faults", script=[{"kind": kind, "path": path, "times": 9999}])
    done = desk.bot()
    assert (done.code, done.failures()) == (4, []), done.err
    assert "LIVE TRADING" not in done.err


@pytest.mark.parametrize("path", ["/api/v3/time", "/api/v3/openOrders", "/api/v3/exchangeInfo"])
def test_a_short_ban_is_waited_for_within_the_start(desk: LiveDesk, sandbox: SandboxThread, path: str) -> None:
    sandbox.post("faults", script=[{"kind": "burst_429", "amount": 900, "path": path}])
    done = desk.bot()
    assert (done.code, done.failures()) == (0, []), done.err
    assert done.err.count("asks to stay away status=429 wait_s=1") == 1


def test_a_clock_that_moves_back_within_the_start_is_measured_again(desk: LiveDesk, sandbox: SandboxThread) -> None:
    sandbox.world.line.offset_ms = 2000
    jump = {"kind": "clock_jump", "amount": 1, "path": "/sapi/v1/account/apiRestrictions"}
    lost = {"kind": "unavailable", "path": "/api/v3/time", "skip": 3, "times": 2}
    sandbox.post("faults", script=[jump, lost])
    done = desk.bot()
    assert (done.code, done.failures()) == (0, []), done.err


@pytest.mark.parametrize(
    ("keys", "check"),
    [({"may_withdraw": True}, "key may not withdraw"), ({"may_trade": False}, "key may trade")],
)
def test_a_key_with_the_wrong_rights_is_refused(
    desk: LiveDesk, sandbox: SandboxThread, keys: dict[str, bool], check: str
) -> None:
    sandbox.post("account", keys=keys)
    done = desk.bot()
    assert (done.code, done.failures()) == (3, [check])
    assert "LIVE TRADING" not in done.err
    assert desk.events("LiveStarted") == []


@pytest.mark.parametrize(("offset_ms", "code"), [(700, 0), (-700, 0), (1300, 3), (-1300, 3)])
def test_a_clock_a_second_off_is_refused(desk: LiveDesk, sandbox: SandboxThread, offset_ms: int, code: int) -> None:
    sandbox.post("clock", jump_ms=offset_ms)
    done = desk.bot()
    assert (done.code, done.failures()) == (code, ["clock"] if code else [])


@pytest.mark.parametrize(("free", "code"), [("49.99", 3), ("50", 0)])
def test_too_little_balance_is_refused_and_opens_no_book(
    desk: LiveDesk, sandbox: SandboxThread, free: str, code: int
) -> None:
    sandbox.post("reset", balances={"USDC": free, "BTC": "3"})
    done = desk.bot()
    assert (done.code, done.failures()) == (code, ["capital"] if code else [])
    assert desk.amounts()[0] == ({} if code else {"USDC": Decimal(free)})
    sandbox.post("account", deposit={"USDC": "30"})
    assert desk.bot().code == (0 if code else 3)


def test_symbols_that_do_not_trade_are_told_and_all_of_them_forbid_the_start(
    desk: LiveDesk, sandbox: SandboxThread
) -> None:
    sandbox.post("symbols", symbol="ETH/USDC", status="BREAK")
    some = desk.bot()
    assert some.code == 0, some.err
    assert "WARN symbols TRADING: not ETH/USDC" in some.err
    sandbox.post("symbols", symbol="BTC/USDC", status="BREAK")
    every = desk.bot()
    assert (every.code, every.failures()) == (3, ["symbols TRADING"])


def test_an_env_file_others_may_read_is_refused(desk: LiveDesk) -> None:
    env_file = desk.folder / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in desk.environ.items()))
    desk.environ.clear()
    env_file.chmod(0o644)
    done = desk.bot()
    assert (done.code, done.failures()) == (3, [".env permissions"])
    assert f"chmod 600 {env_file}" in done.err
    env_file.chmod(0o600)
    assert desk.bot().code == 0


def test_a_backup_folder_that_cannot_be_written_is_refused(desk: LiveDesk) -> None:
    (desk.folder / "occupied").write_text("a file")
    desk.configure(storage={"sqlite_path": str(desk.book), "backup": {"base_dir": f"{desk.folder}/occupied/backups"}})
    done = desk.bot()
    assert (done.code, done.failures()) == (3, ["backups"])


def test_a_full_disk_is_refused(desk: LiveDesk) -> None:
    desk.configure(storage={"sqlite_path": str(desk.book), "min_free_disk_mb": 10**9})
    done = desk.bot()
    assert (done.code, done.failures()) == (3, ["disk"])


def with_webhook(desk: LiveDesk) -> None:
    desk.configure(
        monitoring={
            "logs_dir": str(desk.folder / "logs"),
            "metrics_dir": str(desk.folder / "metrics"),
            "alerting": {"webhook": {"enabled": True}, "timeout_sec": 1},
        }
    )


def test_a_channel_that_takes_the_test_message_is_told(desk: LiveDesk) -> None:
    with_webhook(desk)
    with WebReceiver() as receiver:
        done = desk.bot(environ={"BNML_ALERT_WEBHOOK_URL": receiver.url})
        assert done.code == 0, done.err
        assert any("test message" in post.text for post in receiver.posts)
        assert any("CRITICAL live trading starts" in post.text for post in receiver.posts)
    assert "OK   alerts: test sent by webhook" in done.err


def test_a_channel_that_does_not_take_the_test_message_is_told_and_refuses_nothing(desk: LiveDesk) -> None:
    with_webhook(desk)
    done = desk.bot(environ={"BNML_ALERT_WEBHOOK_URL": "http://127.0.0.1:9/x"})
    assert done.code == 0, done.err
    assert "WARN alerts: webhook: " in done.err


def test_an_answer_that_is_no_answer_about_the_rights_is_no_permission(desk: LiveDesk, sandbox: SandboxThread) -> None:
    desk.configure(exchange={"retry_attempts": 1, "timeout_ms": 1000})
    sandbox.post("faults", script=[{"kind": "forbidden", "path": "/sapi/v1/account/apiRestrictions", "times": 999}])
    done = desk.bot()
    assert done.code == 4, done.err
    assert "LIVE TRADING" not in done.err


def test_every_failed_check_is_told_at_once(desk: LiveDesk, sandbox: SandboxThread) -> None:
    sandbox.post("account", keys={"may_withdraw": True, "may_trade": False})
    sandbox.post("clock", jump_ms=5000)
    sandbox.post("reset", balances={"USDC": "1"})
    done = desk.bot()
    assert done.code == 3
    assert done.failures()[:4] == ["clock", "key may trade", "key may not withdraw", "capital"]
    assert all("->" in line for line in done.err.splitlines() if line.startswith("FAIL"))


def test_the_paper_book_is_archived_and_never_mixed(desk: LiveDesk) -> None:
    store = StateStore(desk.book)
    store.bind_book("paper", "paper", SystemClock().now())
    store.deposit("USDC", Decimal(7777), SystemClock().now(), "starting capital")
    store.close()
    done = desk.bot()
    assert done.code == 0, done.err
    assert "was archived to" in done.err
    assert len(list((desk.book.parent / "archive").glob("paper-*.db"))) == 1
    assert desk.amounts()[0] == {"USDC": Decimal(100)}


def test_a_second_bot_on_the_same_book_is_refused(desk: LiveDesk) -> None:
    desk.book.parent.mkdir()
    with ProcessLock(desk.book).acquire(SystemClock().now()):
        done = desk.bot()
    assert done.code == 75
    assert "LIVE TRADING" not in done.err


@pytest.mark.parametrize(
    ("section", "flags", "environ", "word"),
    [
        ({"exchange": {"testnet": True}}, (), {"BINANCE_TESTNET": "false"}, "exchange.testnet"),
        ({"exchange": {"testnet": False}}, (), {"BINANCE_TESTNET": "true"}, "exchange.testnet"),
        ({"exchange": {"enableRateLimit": False}}, (), {}, "exchange.enableRateLimit"),
        ({"model": {"ensemble": {"skill_gate": False}}}, (), {}, "model.ensemble.skill_gate"),
        ({"data": {"allow_synthetic_fallback": True}}, (), {}, "data.allow_synthetic_fallback"),
        ({}, ("--market-data", "synthetic"), {}, "--market-data synthetic"),
        ({}, ("--market-data", "replay"), {}, "--market-data replay"),
        ({}, ("--market-data", "auto"), {}, "--market-data auto"),
        ({}, ("--symbol", "NOPE/USDC"), {}, "NOPE/USDC"),
    ],
)
def test_a_configuration_that_contradicts_live_trading_is_refused(
    desk: LiveDesk, section: dict[str, object], flags: tuple[str, ...], environ: dict[str, str], word: str
) -> None:
    desk.configure(**section)
    done = desk.bot("--once", *flags, environ=environ)
    assert (done.code, word in done.err) == (2, True), done.err


def test_live_in_the_configuration_passes_the_same_checks(desk: LiveDesk, sandbox: SandboxThread) -> None:
    desk.configure(environment="live")
    sandbox.post("account", keys={"may_withdraw": True})
    done = desk.run("scripts.run_bot", *START[1:], "--once")
    assert (done.code, done.failures()) == (3, ["key may not withdraw"])


@pytest.mark.parametrize(
    ("risk", "free", "ours"),
    [
        ({"capital_total": 1000, "max_live_capital_usdt": 250}, "1000", "250"),
        ({"capital_total": 220, "max_live_capital_usdt": 250}, "1000", "220"),
        ({"capital_total": "auto", "max_live_capital_usdt": 250}, "1000", "250"),
        ({"capital_total": "auto", "max_live_capital_usdt": 250}, "80", "80"),
        ({"capital_total": 220, "max_live_capital_usdt": 250}, "80", "80"),
    ],
)
def test_the_book_gets_the_least_of_setting_ceiling_and_balance(
    desk: LiveDesk, sandbox: SandboxThread, risk: dict[str, object], free: str, ours: str
) -> None:
    sandbox.post("reset", balances={"USDC": free, "ETH": "2"})
    desk.configure(risk=risk)
    assert desk.bot().code == 0
    rest = {"USDC": Decimal(free) - Decimal(ours), "ETH": Decimal(2)}
    assert desk.amounts() == ({"USDC": Decimal(ours)}, {asset: amount for asset, amount in rest.items() if amount})


def test_a_changed_ceiling_is_followed_at_the_next_start(desk: LiveDesk) -> None:
    for ceiling, ours in ((250, 250), (60, 60), (2000, 1000)):
        desk.configure(risk={"max_live_capital_usdt": ceiling})
        done = desk.bot()
        assert done.code == 0, done.err
        own, foreign = desk.amounts()
        assert (own["USDC"], foreign.get("USDC", Decimal(0))) == (ours, 1000 - ours)
        assert StateStore(desk.book).control().state.value == "NORMAL"


def test_what_a_refused_first_start_wrote_follows_the_account_until_one_is_let_through(
    desk: LiveDesk, sandbox: SandboxThread
) -> None:
    sandbox.post("account", keys={"may_withdraw": True})
    assert desk.bot().code == 3
    sandbox.post("account", keys={"may_withdraw": False}, deposit={"USDC": "500", "ETH": "1"})
    desk.configure(risk={"max_live_capital_usdt": 120})
    done = desk.bot()
    assert done.code == 0, done.err
    own, foreign = desk.amounts()
    assert (own, foreign["USDC"], foreign["ETH"]) == ({"USDC": Decimal(120)}, 1380, 1)


def test_a_ban_is_remembered_and_nothing_is_sent_before_its_end(desk: LiveDesk, tmp_path: Path) -> None:
    own = started(symbols=("BTC/USDC",))
    desk.sandbox = own
    own.post("faults", script=[{"kind": "burst_429", "amount": 120_000, "path": "/api/v3/account"}])
    recorded = tmp_path / "recorded.json"
    recorded.write_text('{"rates": {"delay": 1.0}, "sizes": {"delay": [0, 0]}}')
    own.post("faults", profile=str(recorded))
    try:
        first = desk.bot()
        assert first.code == 4, first.err
        asked = requests(own)
        assert asked > 0
        again = desk.process()
        assert (again.code, requests(own)) == (4, asked)
        end, _ = (desk.book.parent / "exchange_ban.txt").read_text().split()
        assert f"asked to stay away until {end}" in again.err
    finally:
        own.stop()


def test_a_ban_that_is_over_or_nearly_so_does_not_keep_the_bot_from_starting(desk: LiveDesk) -> None:
    desk.book.parent.mkdir()
    kept = desk.book.parent / "exchange_ban.txt"
    clock = SystemClock()
    kept.write_text(f"{iso(clock.now())} {iso(clock.now())}")
    assert desk.bot().code == 0
    began = clock.monotonic()
    kept.write_text(f"{iso(clock.now() + timedelta(seconds=1.5))} {iso(clock.now())}")
    assert desk.bot().code == 0
    assert clock.monotonic() - began >= 1.4
