"""What must hold before real money is traded: every check named, with its fix. No switch skips or weakens one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import ZERO, MarketRules, Symbol, exact
from bn_ml.errors import ExchangeError
from bn_ml.settings import Settings

MAX_CLOCK_OFFSET_S = 1.0


class Severity(Enum):
    """How a check ended: passed, passed with a warning, or the bot must not start."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, how it ended, what was seen and what to do about it."""

    name: str
    severity: Severity
    seen: str
    fix: str = ""

    def line(self) -> str:
        """Give the finding as one line for people."""
        fix = f" -> {self.fix}" if self.fix and self.severity is not Severity.OK else ""
        return f"{self.severity.value:<4} {self.name}: {self.seen}{fix}"


@dataclass(frozen=True, slots=True)
class KeyRights:
    """What the API key is allowed to do; None where the exchange does not say."""

    may_trade: bool
    may_withdraw: bool | None
    ip_restricted: bool | None


@dataclass(frozen=True, slots=True)
class PreflightFacts:
    """What was measured before the start. A problem text is empty where there is none.

    `offset_s` is the exchange's clock minus ours. `capital` is what the book may trade with, `positions` how many are
    open. `unproven` holds the reason for each symbol that its models do not let trade. `reconciliation` is the
    difference of book and exchange, `waiting` names assets that moved too recently to be compared. `halt` is why the
    book's control state is not NORMAL.
    """

    unreachable: str = ""
    rights: KeyRights | None = None
    offset_s: float | None = None
    quote_free: Decimal = ZERO
    capital: Decimal = ZERO
    positions: int = 0
    symbols: tuple[Symbol, ...] = ()
    rules: Mapping[Symbol, MarketRules] = field(default_factory=dict)
    unproven: Mapping[Symbol, str] = field(default_factory=dict)
    book_problem: str = ""
    backup_problem: str = ""
    env_problem: str = ""
    disk_free_mb: float = 0.0
    alert_channels: tuple[str, ...] = ()
    alert_problem: str = ""
    reconciliation: str = ""
    waiting: str = ""
    halt: str = ""
    config_hash: str = ""


def judged(facts: PreflightFacts, settings: Settings) -> tuple[Finding, ...]:
    """Judge every check; all of them are told, also after a failure."""
    return (
        _exchange(facts, settings),
        clock_finding(facts),
        *rights_findings(facts.rights),
        _capital(facts, settings),
        *symbol_findings(facts, settings),
        _models(facts),
        _problem("configuration", "", f"hash {facts.config_hash}"),
        _problem("database", facts.book_problem, "writable, intact, the book of this account"),
        _problem("backups", facts.backup_problem, "folder writable", "correct storage.backup.base_dir"),
        _problem(".env permissions", facts.env_problem, "not readable by others", "chmod 600 .env"),
        _disk(facts, settings),
        _alerts(facts),
        _reconciliation(facts),
        _control(facts),
    )


def missing_keys(key: str, secret: str) -> tuple[Finding, ...]:
    """Give the finding for absent credentials; empty when both are there."""
    absent = [name for name, value in (("BINANCE_API_KEY", key), ("BINANCE_API_SECRET", secret)) if not value]
    if not absent:
        return ()
    fix = f"set {' and '.join(absent)} in the environment or in .env (or {absent[0]}_FILE)"
    return (Finding("API keys", Severity.FAIL, f"API keys not configured: {', '.join(absent)}", fix),)


def rejected_key(error: ExchangeError) -> tuple[Finding, ...]:
    """Give the finding for a key the exchange does not accept."""
    fix = "check BINANCE_API_KEY and BINANCE_API_SECRET, the key's IP list, and exchange.testnet"
    return (Finding("key rights", Severity.FAIL, f"the exchange refuses the key: {error}", fix),)


def failed(findings: tuple[Finding, ...]) -> bool:
    """Whether any check forbids the start."""
    return any(finding.severity is Severity.FAIL for finding in findings)


_RECONCILE_FIX = (
    "find out why; then undo it, or accept it as not ours with bnml-kill-switch --resume --reason TEXT and start again"
)


def _exchange(facts: PreflightFacts, settings: Settings) -> Finding:
    host = settings.exchange.base_url or ("testnet" if settings.exchange.testnet else "binance")
    if facts.unreachable:
        return Finding("exchange", Severity.FAIL, facts.unreachable, "check network, status page and exchange.base_url")
    return Finding("exchange", Severity.OK, f"{host} answers")


def clock_finding(facts: PreflightFacts) -> Finding:
    """Judge how far the machine's clock is off the exchange's."""
    if facts.offset_s is None:
        return Finding(
            "clock", Severity.FAIL, "offset to the exchange unknown", "start again once the exchange answers"
        )
    seen = f"{facts.offset_s:+.3f} s against the exchange, limit {MAX_CLOCK_OFFSET_S:g} s"
    if abs(facts.offset_s) >= MAX_CLOCK_OFFSET_S:
        return Finding("clock", Severity.FAIL, seen, "synchronise this machine's clock (NTP)")
    return Finding("clock", Severity.OK, seen)


def rights_findings(rights: KeyRights | None) -> Iterator[Finding]:
    """Judge what the API key may do; None is an account that cannot be read."""
    if rights is None:
        yield Finding(
            "key rights", Severity.FAIL, "the account cannot be read with this key", "check key, secret, IP list"
        )
        return
    if rights.may_trade:
        yield Finding("key may trade", Severity.OK, "spot trading allowed")
    else:
        yield Finding("key may trade", Severity.FAIL, "not allowed", "enable spot trading for the key")
    if rights.may_withdraw is None:
        yield Finding("key may not withdraw", Severity.WARN, "the exchange does not say", "make sure it cannot")
    elif rights.may_withdraw:
        yield Finding(
            "key may not withdraw", Severity.FAIL, "withdrawals are enabled", "disable withdrawals for the key"
        )
    else:
        yield Finding("key may not withdraw", Severity.OK, "withdrawals disabled")
    if rights.ip_restricted:
        yield Finding("key restricted to IPs", Severity.OK, "restricted")
    else:
        yield Finding("key restricted to IPs", Severity.WARN, "usable from any address", "restrict the key to your IP")


def _capital(facts: PreflightFacts, settings: Settings) -> Finding:
    floor = exact(settings.risk.min_capital_usdt)
    quote = settings.base_quote
    seen = f"{facts.capital:.2f} {quote} to trade with, {facts.quote_free:.2f} free on the account, minimum {floor:f}"
    if facts.capital < floor and facts.positions:
        fix = "what is held is managed; deposit and raise the capital in the settings for new entries"
        return Finding("capital", Severity.WARN, seen, fix)
    if facts.capital < floor:
        fix = "deposit, or set risk.capital_total and risk.max_live_capital_usdt to at least risk.min_capital_usdt"
        return Finding("capital", Severity.FAIL, seen, fix)
    return Finding("capital", Severity.OK, seen)


def symbol_findings(facts: PreflightFacts, settings: Settings) -> Iterator[Finding]:
    """Judge whether the symbols are traded and whether the largest position allowed is large enough for each."""
    if not facts.symbols and settings.universe.discovery.enabled:
        yield Finding("universe", Severity.OK, "symbols come from universe.discovery")
        return
    if not facts.symbols:
        yield Finding("universe", Severity.FAIL, "no symbol to trade", "name some in universe.training_symbols")
        return
    closed = [str(item) for item in facts.symbols if item not in facts.rules or not facts.rules[item].trading]
    largest = _largest_position(facts, settings)
    small = [
        f"{item} needs {needed:.2f}"
        for item in facts.symbols
        if item in facts.rules and (needed := _smallest_position(facts.rules[item], settings)) > largest
    ]
    yield _share("symbols TRADING", closed, len(facts.symbols), "correct universe.training_symbols")
    fix = "raise risk.max_position_size_usdt, risk.max_position_pct_active or the capital"
    yield _share(f"filters allow positions of {largest:.2f}", small, len(facts.symbols), fix)


def _share(name: str, bad: list[str], count: int, fix: str) -> Finding:
    """Some symbols out is a warning, all of them a failure."""
    if not bad:
        return Finding(name, Severity.OK, f"all {count}")
    severity = Severity.FAIL if len(bad) == count else Severity.WARN
    return Finding(name, severity, f"not {', '.join(bad)}", fix)


def _largest_position(facts: PreflightFacts, settings: Settings) -> Decimal:
    risk = settings.risk
    active = facts.capital * exact(risk.capital_active_ratio)
    return min(
        exact(risk.max_position_size_usdt),
        active * exact(risk.max_position_pct_active),
        facts.capital * exact(risk.max_symbol_exposure_pct),
    )


def _smallest_position(rules: MarketRules, settings: Settings) -> Decimal:
    """Give the smallest entry whose stop still passes the minimum notional after the base fee."""
    kept = (1 - exact(settings.risk.fees_pct)) * (1 - exact(settings.risk.stop_loss_pct))
    return rules.min_notional / kept


def _models(facts: PreflightFacts) -> Finding:
    if not facts.unproven:
        return Finding("models", Severity.OK, "every symbol has a tradable bundle")
    held = ", ".join(f"{symbol} ({reason})" for symbol, reason in sorted(facts.unproven.items()))
    return Finding("models", Severity.WARN, f"HOLD for {held}", "train with bnml-trainer, or wait for it")


def _disk(facts: PreflightFacts, settings: Settings) -> Finding:
    floor = settings.storage.min_free_disk_mb
    seen = f"{facts.disk_free_mb:.0f} MB free, minimum {floor} MB"
    if facts.disk_free_mb < floor:
        return Finding("disk", Severity.FAIL, seen, "free disk space")
    return Finding("disk", Severity.OK, seen)


def _alerts(facts: PreflightFacts) -> Finding:
    if facts.alert_problem:
        return Finding("alerts", Severity.WARN, facts.alert_problem, "correct monitoring.alerting and its variables")
    if not facts.alert_channels:
        fix = "enable a channel in monitoring.alerting; the log is the only one for now"
        return Finding("alerts", Severity.WARN, "no alert channel configured", fix)
    return Finding("alerts", Severity.OK, f"test sent by {', '.join(facts.alert_channels)}")


def _reconciliation(facts: PreflightFacts) -> Finding:
    if facts.reconciliation:
        return Finding("reconciliation", Severity.FAIL, facts.reconciliation, _RECONCILE_FIX)
    if facts.waiting:
        seen = f"{facts.waiting} moved just now"
        return Finding("reconciliation", Severity.WARN, seen, "nothing to do; they are compared again in ten seconds")
    return Finding("reconciliation", Severity.OK, "book and exchange agree")


def _control(facts: PreflightFacts) -> Finding:
    if facts.halt:
        fix = "when the cause is gone: bnml-kill-switch --resume --reason TEXT"
        return Finding("control state", Severity.WARN, f"no entries, {facts.halt}", fix)
    return Finding("control state", Severity.OK, "NORMAL")


def _problem(name: str, problem: str, good: str, fix: str = "") -> Finding:
    return Finding(name, Severity.FAIL, problem, fix) if problem else Finding(name, Severity.OK, good)
