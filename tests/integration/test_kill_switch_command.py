"""`bnml-kill-switch`: its flags, what it shows, how trading goes on after a halt, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.account import ControlState
from bn_ml.halting import HaltMarker, commit_halt
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BookWatch
from scripts.kill_switch import main
from scripts.kill_switch_parts import BookClock, KnownMarket
from tests.fakes.book_builders import AT, LATER
from tests.fakes.money_world import AAA, BBB, MoneyWorld
from trader.acceptance import is_accepted

CLOCK = SystemClock()
Command = Callable[..., tuple[int, Any]]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bot.yaml"
    path.write_text(
        f"base_quote: USDC\nstorage: {{sqlite_path: {tmp_path}/bn_ml.db}}\nmonitoring: {{logs_dir: {tmp_path}/logs}}\n"
    )
    return path


@pytest.fixture
def halted(config: Path) -> Path:
    store = StateStore(config.with_name("bn_ml.db"))
    now = CLOCK.now()
    store.bind_book("paper", "paper", now)
    store.start_epoch(now, "start")
    store.set_control(ControlState.HALTED, "breaker_drawdown", "engine", now)
    store.close()
    return config


@pytest.fixture
def holding(config: Path) -> MoneyWorld:
    """A paper book with two positions whose bot is dead."""
    world = MoneyWorld(config.parent)
    world.start()
    world.buy(AAA, BBB)
    world.look()
    world.close()
    return world


@pytest.fixture
def command(config: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main(["--config", str(config), "--json", *arguments])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else {}

    return run


def control(config: Path) -> Any:
    return BookWatch(config.with_name("bn_ml.db")).look().control


def test_status_tells_state_and_cause(halted: Path, command: Command) -> None:
    code, shown = command("--status")
    assert (code, shown["state"], shown["reason"], shown["positions"]) == (0, "HALTED", "breaker_drawdown", [])
    assert (shown["bot"]["state"], shown["mode"], shown["halt_marker"]) == ("dead", "paper", None)


def test_status_tells_what_is_held_in_words(
    holding: MoneyWorld, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    HaltMarker.beside(holding.path).write("kill_switch: me", AT)
    assert main(["--config", str(config), "--status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "bot: dead"
    assert lines[2] == "held: AAA/USDC 0.997002, 3 stops resting"
    assert "orders: 10 unfinished" in lines
    assert lines[-1] == "starts HALTED: kill_switch: me at 2023-06-10T12:00:00.000Z"


def test_resume_needs_a_reason(halted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(halted), "--resume"]) == 2
    assert "--reason" in capsys.readouterr().err


def test_resume_commits_normal_under_a_new_epoch(halted: Path, command: Command) -> None:
    HaltMarker.beside(halted.with_name("bn_ml.db")).write("kill_switch: me", AT)
    assert command("--resume", "--reason", "looked at it")[0] == 0
    now = control(halted)
    assert (now.state, now.reason, now.epoch) == (ControlState.NORMAL, "resumed: looked at it", 3)
    assert HaltMarker.beside(halted.with_name("bn_ml.db")).reason() is None
    kinds = [
        event.payload["state"] for event in StateReader(halted.with_name("bn_ml.db")).events(kind="ControlChanged")
    ]
    assert kinds == ["NORMAL"]


def test_resuming_what_is_not_halted_changes_nothing(halted: Path, command: Command) -> None:
    command("--resume", "--reason", "looked at it")
    assert command("--resume", "--reason", "again")[1]["reason"] == "resumed: looked at it"
    assert control(halted).epoch == 3


@pytest.mark.parametrize(("cause", "expected"), [("unexplained_balance: AAA +1", True), ("orphan_order: x", True)])
def test_resuming_after_differences_accepts_them(halted: Path, command: Command, cause: str, expected: bool) -> None:
    store = StateStore(halted.with_name("bn_ml.db"))
    store.set_control(ControlState.HALTED, cause, "reconciliation", CLOCK.now())
    store.close()
    assert command("--resume", "--reason", "deposited by hand")[0] == 0
    store = StateStore(halted.with_name("bn_ml.db"))
    assert is_accepted(store) is expected
    store.close()


def test_resume_is_refused_while_a_position_is_half_flattened(
    holding: MoneyWorld, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit_halt(holding.path, "me", LATER)
    assert main(["--config", str(config), "--resume", "--reason", "changed my mind"]) == 0
    commit_halt(holding.path, "me", LATER)
    world = MoneyWorld(config.parent)
    world.bot.orders.own(world.bot.store.start_epoch(world.clock.now(), "tests"))
    for record in world.bot.orders.open_of(world.held().position_id):
        world.bot.orders.cancel(record)
    world.close()
    assert main(["--config", str(config), "--resume", "--reason", "changed my mind"]) == 1
    assert "AAA/USDC: partly flattened" in capsys.readouterr().err
    assert control(config).state is ControlState.HALTED


def test_a_missing_book_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "--status"]) == 1
    assert "bn_ml.db" in capsys.readouterr().err
    assert not config.with_name("bn_ml.db").exists()


def test_a_paper_book_of_a_dead_bot_is_closed_at_the_last_known_prices(holding: MoneyWorld, command: Command) -> None:
    code, told = command("--paper")
    assert (code, told["state"], told["done_by"]) == (3, "HALTED", "the kill switch")
    assert [(item["symbol"], item["sold"]) for item in told["symbols"]] == [
        ("AAA/USDC", "0.997"),
        ("BBB/USDC", "0.907"),
    ]
    sales = StateReader(holding.path).trades(limit=2)
    assert [(row.side, row.price, row.extra["reason"]) for row in sales] == [("SELL", 99.99, "kill_switch")] * 2
    assert command()[0] == 3


def test_a_book_of_the_past_stays_in_the_past() -> None:
    replayed = BookClock(AT, in_the_past=True)
    assert AT <= replayed.now() < LATER
    replayed.sleep_until(replayed.now())
    wall = CLOCK.now()
    assert BookClock(AT, in_the_past=False).now() >= wall
    assert BookClock(None, in_the_past=True).now() >= wall


def test_what_is_not_known_of_the_market_is_not_made_up() -> None:
    market = KnownMarket(CLOCK, {})
    for question in (market.quote, market.atr_frac, market.rules):
        with pytest.raises(Exception, match="AAA/USDC"):
            question(AAA)
    assert market.path(AAA, AT, LATER) == ()


def test_a_dry_run_shows_everything_and_changes_nothing(holding: MoneyWorld, command: Command) -> None:
    before = holding.path.read_bytes()
    code, told = command("--dry-run", "--symbol", "aaa/usdc")
    assert (code, told["done_by"]) == (4, "")
    assert [(item["symbol"], item["left"], item["why"]) for item in told["symbols"]] == [
        ("AAA/USDC", "0.997002", "5 orders to cancel")
    ]
    assert holding.path.read_bytes() == before
    assert not (holding.path.parent / "logs").exists()


def test_a_paper_book_that_cannot_be_read_holds_nothing_elsewhere(config: Path, command: Command) -> None:
    config.with_name("bn_ml.db").write_bytes(b"\x13garbage" * 5000)
    for flags in (("--yes",), ("--dry-run",)):
        code, told = command(*flags)
        assert code == 4
        assert "is no SQLite file" in told["notes"][0]
    assert command("--status")[0] == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--symbol", "nonsense"), "--symbol: symbol must look like"),
        (("--status", "--resume"), "exclude each other"),
        (("--live",), "is the paper book"),
        (("--live", "--dry-run"), "is the paper book"),
    ],
)
def test_wrong_usage_is_named_and_ends_with_two(
    holding: MoneyWorld, config: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert main(["--config", str(config), *flags]) == 2
    assert said in capsys.readouterr().err
    assert control(config).state is ControlState.NORMAL


@pytest.mark.parametrize(
    "flags", [("--paper", "--live"), ("--timeout", "0"), ("--timeout", "3601"), ("--timeout", "x")]
)
def test_impossible_flags_are_refused_by_the_parser(config: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), *flags])
    assert ended.value.code == 2


def test_a_configuration_with_mistakes_elsewhere_does_not_stop_the_kill_switch(
    holding: MoneyWorld, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + "risk: {max_position_size_usdt: lots}\n")
    assert main(["--config", str(config)]) == 3
    told = capsys.readouterr()
    assert "risk.max_position_size_usdt" in told.err
    assert "AAA/USDC  cancelled 5  sold 0.997  left 0.000002" in told.out


@pytest.mark.parametrize(
    "content",
    ["risk: {max_position_size_usdt: lots}\n", "storage: {sqlite_path: 7, nonsense: 1}\n", "storage: [\n"],
)
def test_a_configuration_that_does_not_tell_the_book_ends_with_two(
    config: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    config.write_text(content)
    assert main(["--config", str(config)]) == 2
    assert capsys.readouterr().err
