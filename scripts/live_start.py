"""The way into live trading: recover, measure everything the preflight asks for, and refuse or announce the start."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bn_ml.config import LoadedSettings
from bn_ml.domain.account import Balance, ControlState
from bn_ml.domain.events import LiveStarted
from bn_ml.domain.market import ZERO, iso
from bn_ml.env import ENV_FILE, loose_permissions
from bn_ml.errors import ExchangeError, StateError, Transient
from bn_ml.settings import Settings
from scripts.accounts import LiveAccount, is_sandbox, measure_time
from scripts.bot_banner import verdict_of
from scripts.wiring import TradingBot
from trader.book_verdict import RECONCILIATION, UNEXPLAINED
from trader.entries import free_disk_mb
from trader.live_capital import note_started, planned_capital
from trader.preflight import MAX_CLOCK_OFFSET_S, Finding, KeyRights, PreflightFacts, judged

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LiveStart:
    """One start in live mode."""

    bot: TradingBot
    account: LiveAccount
    loaded: LoadedSettings
    folder: Path

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
        rights, balances = _account(self.account)
        free = balances[settings.base_quote].free if settings.base_quote in balances else ZERO
        now = bot.world.clock.now()
        listed = bot.world.source.markets()
        verdicts = {symbol: verdict_of(bot, symbol, now) for symbol in bot.symbols if symbol in listed}
        difference, waiting = _difference(bot)
        control = bot.store.control()
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
            alert_problem=_alert_problem(settings),
            reconciliation=difference,
            waiting=waiting,
            halt="" if control.state is ControlState.NORMAL else f"{control.state.value}: {control.reason}",
            config_hash=self.loaded.hash[:12],
        )


def _account(account: LiveAccount) -> tuple[KeyRights | None, Mapping[str, Balance]]:
    """Ask what the key may do and what is held; nothing where the exchange refuses to say. Raises `Transient`."""
    try:
        (flags, balances), permissions = account.exchange.account(), account.exchange.api_permissions()
    except Transient:
        raise
    except ExchangeError as error:
        log.error("the key's rights cannot be read error=%s", error)
        return None, {}
    if permissions is None:
        return KeyRights(flags.can_trade, None, None), balances
    may_trade = flags.can_trade and permissions.may_trade_spot
    return KeyRights(may_trade, permissions.may_withdraw, permissions.is_ip_restricted), balances


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


def _alert_problem(settings: Settings) -> str:
    alerting = settings.monitoring.alerting
    channels: Mapping[str, bool] = {
        "webhook": alerting.webhook.enabled,
        "telegram": alerting.telegram.enabled,
        "email": alerting.email.enabled,
    }
    wanted = [name for name, enabled in channels.items() if enabled]
    return f"{', '.join(wanted)} enabled, but this version writes alerts to the log only" if wanted else ""


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
