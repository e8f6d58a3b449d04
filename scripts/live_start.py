"""The way into live trading: recover, measure everything the preflight asks for, and refuse or announce the start."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bn_ml.config import LoadedSettings
from bn_ml.domain.account import ControlState
from bn_ml.domain.events import LiveStarted
from bn_ml.domain.market import ZERO, iso
from bn_ml.env import ENV_FILE, loose_permissions
from bn_ml.errors import StateError
from bn_ml.settings import Settings
from scripts.accounts import LiveAccount, is_sandbox, measure_time
from scripts.bot_banner import verdict_of
from scripts.key_rights import account_rights
from scripts.wiring import TradingBot
from trader.book_verdict import RECONCILIATION, UNEXPLAINED
from trader.entries import free_disk_mb
from trader.live_capital import note_started, planned_capital
from trader.preflight import MAX_CLOCK_OFFSET_S, Finding, PreflightFacts, judged

if TYPE_CHECKING:
    from monitoring.alert_channels import ChannelTest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LiveStart:
    """One start in live mode; `tested` sends a test message by every alert channel and tells what became of each."""

    bot: TradingBot
    account: LiveAccount
    loaded: LoadedSettings
    folder: Path
    tested: Callable[[], Sequence[ChannelTest]] = tuple

    def findings(self) -> tuple[Finding, ...]:
        """Measure and judge every check; call it after the bot has recovered."""
        return judged(self._facts(), self.bot.settings)

    def announce(self) -> None:
        """Say, loudly and in the journal, that real money is traded from here on."""
        bot, settings = self.bot, self.bot.settings
        capital = bot.store.ledger_balances().get(settings.base_quote, ZERO)
        now = bot.world.clock.now()
        where = "SANDBOX, no real money" if is_sandbox(settings) else self.account.name.upper()
        log.critical(
            "LIVE TRADING starts account=%s capital=%s %s at=%s: real orders are sent",
            where,
            f"{capital:.2f}",
            settings.base_quote,
            iso(now),
        )
        with bot.store.transaction():
            note_started(bot.store, now)
            bot.desk.journal.emit(LiveStarted(now, self.account.name, capital, self.loaded.hash))

    def _facts(self) -> PreflightFacts:
        bot, settings = self.bot, self.bot.settings
        rights, balances = account_rights(self.account.exchange)
        free = balances[settings.base_quote].free if settings.base_quote in balances else ZERO
        now = bot.world.clock.now()
        listed = bot.world.source.markets()
        verdicts = {symbol: verdict_of(bot, symbol, now) for symbol in bot.symbols if symbol in listed}
        difference, waiting = _difference(bot)
        control = bot.store.control()
        tests = self.tested()
        return PreflightFacts(
            rights=rights,
            offset_s=_offset_s(self.account, settings),
            quote_free=free,
            capital=planned_capital(bot.store, settings, free),
            positions=len(bot.store.open_positions()),
            symbols=bot.symbols,
            rules=listed,
            unproven={symbol: why for symbol, (why, proven) in verdicts.items() if not proven},
            book_problem=_unwritable(bot),
            backup_problem=_backup_problem(settings),
            env_problem=loose_permissions(self.folder / ENV_FILE) or "",
            disk_free_mb=free_disk_mb(bot.store.path),
            alert_channels=tuple(test.channel for test in tests if test.ok),
            alert_problem="; ".join(f"{test.channel}: {test.problem}" for test in tests if not test.ok),
            reconciliation=difference,
            waiting=waiting,
            halt="" if control.state is ControlState.NORMAL else f"{control.state.value}: {control.reason}",
            config_hash=self.loaded.hash[:12],
        )


def _offset_s(account: LiveAccount, settings: Settings) -> float | None:
    """Give the exchange's clock minus ours; one that forbids the start is measured once more before it does.

    Raises `Transient` when the exchange does not tell its time any more.
    """
    offset_s = account.clock_offset_s()
    if offset_s is None or abs(offset_s) >= MAX_CLOCK_OFFSET_S:
        account.clock.distrust()
        measure_time(account.exchange, account.clock, settings)
        offset_s = account.clock_offset_s()
    return offset_s


def _unwritable(bot: TradingBot) -> str:
    now = bot.world.clock.now()
    try:
        bot.store.put("preflight_at", iso(now), now)
    except StateError as error:
        return str(error)
    return ""


def _backup_problem(settings: Settings) -> str:
    folder = Path(settings.storage.backup.base_dir)
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.write_bytes(b"")
    except OSError as error:
        return f"{folder}: cannot be written ({error.strerror})"
    with suppress(OSError):
        probe.unlink()
    return ""


def _difference(bot: TradingBot) -> tuple[str, str]:
    """Give what the reconciliation just found unexplained, in one line, and what it could not compare yet."""
    kept = bot.store.get(RECONCILIATION)
    verdict = kept if isinstance(kept, Mapping) else {}
    waiting = ", ".join(map(str, _rows(verdict, "waiting")))
    if verdict.get("result") != UNEXPLAINED:
        return "", waiting
    orphans = [f"order {client_id} is ours but in no book" for client_id in _rows(verdict, "orphan_orders")]
    table = [_line(row) for row in _rows(verdict, "differences") if isinstance(row, Mapping)]
    return "; ".join([*orphans, *table]), waiting


def _rows(verdict: Mapping[str, object], name: str) -> list[object]:
    rows = verdict.get(name)
    return rows if isinstance(rows, list) else []


def _line(row: Mapping[str, object]) -> str:
    told = (
        f"{row.get('asset')}: ours {row.get('ledger')}, declared foreign {row.get('foreign')}, "
        f"expected {row.get('expected')}, on the exchange {row.get('exchange')}, difference {row.get('difference')}"
    )
    trades = _rows(row, "unknown_trades")
    return f"{told} (trades of others: {', '.join(map(str, trades))})" if trades else told
