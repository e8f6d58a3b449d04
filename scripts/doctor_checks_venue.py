"""Whether the exchange can be reached, keeps the time we keep, and would take orders of the configured sizes."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bn_ml.account_calls import USED_WEIGHT
from bn_ml.ban_file import BanFile
from bn_ml.domain.market import MarketRules, Symbol, exact, from_ms, iso
from bn_ml.errors import ConfigError, ExchangeError, MarketDataError, Transient
from bn_ml.exchange_info import read_exchange_info
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.order_answers import STAY_AWAY
from bn_ml.plain_transport import PlainTransport, plain_transport, trusted_roots
from bn_ml.public_answers import public_object
from bn_ml.settings import ExchangeSettings, Settings
from bn_ml.weight import VENUE_WEIGHT_PER_MINUTE
from scripts.doctor_findings import Check, Diagnosis, Status, bad, doubtful, good
from scripts.doctor_situation import Situation
from scripts.key_rights import asked_rights
from scripts.kill_switch_parts import BANS, SPEED_VARIABLE, fetched_rules, open_line
from trader.preflight import (
    Finding,
    PreflightFacts,
    Severity,
    clock_finding,
    missing_keys,
    rejected_key,
    rights_findings,
    symbol_findings,
)

PATIENCE_MS = 2000
"""How long one answer is waited for: less than a check may take."""
ASKED_SINGLY = 8
LOW_WEIGHT = 0.2
STORED_RULES = "exchange_info.json"
_NETWORK = "check network, firewall, the exchange's status page and exchange.base_url"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the exchange gave. `problem` is empty when it answered.

    `offset_s` is the exchange's clock minus ours; `used_weight` is its own count for this address in this minute.
    """

    url: str
    problem: str = ""
    answer_ms: float = 0.0
    encryption: str = ""
    offset_s: float = 0.0
    used_weight: int | None = None


@dataclass
class VenueLook:
    """Looks at the exchange once, for all checks that need it."""

    situation: Situation
    _seen: Seen | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> Seen:
        """Give what was seen."""
        with self._lock:
            if self._seen is None:
                self._seen = _look(self.situation)
            return self._seen


def checks(situation: Situation) -> list[Check]:
    """Give what is asked of the exchange; the account only where real money is meant."""
    look = VenueLook(situation)
    found = [
        Check("exchange", partial(exchange, situation, look)),
        Check("clock", partial(clock, situation, look)),
        Check("request weight", partial(request_weight, situation, look)),
        Check("exchange filters", partial(filters, situation, look)),
    ]
    return [*found, Check("key rights", partial(key_rights, situation, look))] if situation.is_live else found


def exchange(situation: Situation, look: VenueLook) -> Iterator[Diagnosis]:
    """Tell whether its name is known, it lets us connect, proves who it is, and answers."""
    seen = look()
    if seen.problem:
        yield Diagnosis("exchange", situation.in_live, f"{seen.url}: {seen.problem}", _NETWORK)
    else:
        yield good("exchange", f"{seen.url} answers in {seen.answer_ms:.0f} ms, {seen.encryption}")


def clock(situation: Situation, look: VenueLook) -> Iterator[Diagnosis]:
    """Tell how far the machine's clock is off the exchange's."""
    seen = look()
    if seen.problem:
        yield Diagnosis("clock", situation.in_live, "not compared, the exchange does not answer", _NETWORK)
    elif situation.environ.get(SPEED_VARIABLE, "").strip() not in ("", "1"):
        yield good("clock", f"not compared, {SPEED_VARIABLE} makes the exchange's time run faster on purpose")
    else:
        yield diagnosis(clock_finding(PreflightFacts(offset_s=seen.offset_s)))


def request_weight(situation: Situation, look: VenueLook) -> Iterator[Diagnosis]:
    """Tell how much of the request weight of this minute is left to this process."""
    seen, share = look(), situation.settings.exchange.weight_budget_pct
    if seen.problem:
        yield Diagnosis("request weight", situation.in_live, "not known, the exchange does not answer", _NETWORK)
        return
    budget = int(share * VENUE_WEIGHT_PER_MINUTE)
    left = budget - (seen.used_weight or 0)
    told = f"{max(left, 0)} of {budget} left in this minute ({share:g} of {VENUE_WEIGHT_PER_MINUTE})"
    if left < LOW_WEIGHT * budget:
        fix = "stop other programs at this address, raise scanner.scan_interval_sec or lower scanner.max_pairs"
        yield doubtful("request weight", told, fix)
    else:
        yield good("request weight", told)


def filters(situation: Situation, look: VenueLook) -> Iterator[Diagnosis]:
    """Tell which symbols are not traded, and which the largest configured position is too small for."""
    settings = situation.settings
    symbols = tuple(Symbol(name) for name in settings.universe.training_symbols)
    rules, origin = _rules(situation, look(), symbols)
    if symbols and not rules:
        fix = "connect, or import the rules with bnml-data import"
        yield Diagnosis("exchange filters", situation.in_live, f"sizes not compared: {origin}", fix)
        return
    facts = PreflightFacts(capital=_capital(settings, live=situation.is_live), symbols=symbols, rules=rules)
    for finding in symbol_findings(facts, settings):
        yield diagnosis(finding, name=f"exchange filters: {finding.name}", after=f" ({origin})" if symbols else "")


def key_rights(situation: Situation, look: VenueLook) -> Iterator[Diagnosis]:
    """Tell what the API key may do; nothing is ordered."""
    secrets = situation.secrets
    absent = missing_keys(secrets.binance_api_key, secrets.binance_api_secret)
    if absent:
        yield from map(diagnosis, absent)
        return
    if look().problem:
        yield bad("key rights", "not asked, the exchange does not answer", _NETWORK)
        return
    hasty = situation.settings.model_copy(update={"exchange": _hasty(situation.settings.exchange)})
    try:
        line = open_line(hasty, situation.environ)
    except ConfigError as error:
        yield bad("key rights", str(error), "copy BINANCE_API_SECRET again, whole and unchanged")
        return
    try:
        line.exchange.keep_time()
        rights, _ = asked_rights(line.exchange)
    except Transient as error:
        yield bad("key rights", f"the account cannot be read: {error}", "look again once the exchange answers")
    except ExchangeError as error:
        yield from map(diagnosis, rejected_key(error))
    else:
        yield from map(diagnosis, rights_findings(rights))
    finally:
        line.transport.close()


def diagnosis(finding: Finding, *, name: str = "", after: str = "") -> Diagnosis:
    """Give a finding of the preflight as one of the doctor's."""
    status = {Severity.OK: Status.OK, Severity.WARN: Status.WARN, Severity.FAIL: Status.FAIL}[finding.severity]
    fix = "" if status is Status.OK else finding.fix
    return Diagnosis(name or finding.name, status, f"{finding.seen}{after}", fix)


def _look(situation: Situation) -> Seen:
    settings = _hasty(situation.settings.exchange)
    transport = plain_transport(settings, "", "", situation.clock)
    ban = BanFile(situation.database.with_name(BANS)).recall()
    if ban is not None and situation.clock.now() < ban.until:
        return Seen(transport.url, f"asked to stay away until {iso(ban.until)}, nothing is sent before")
    try:
        encryption = _connect(transport.url)
        return _ask(situation, transport, encryption)
    except (OSError, UnicodeError, NoAnswer, ExchangeError) as error:
        return Seen(transport.url, _reason(error))
    finally:
        transport.close()


def _connect(url: str) -> str:
    """Resolve the name, connect and, where it is so, have the exchange prove who it is; gives how it is encrypted."""
    address = urlsplit(url)
    host, is_secure = address.hostname or "", address.scheme == "https"
    with socket.create_connection((host, address.port or (443 if is_secure else 80)), PATIENCE_MS / 1000) as line:
        if not is_secure:
            return "not encrypted"
        with trusted_roots().wrap_socket(line, server_hostname=host) as safe:
            return safe.version() or "encrypted"


def _ask(situation: Situation, transport: PlainTransport, encryption: str) -> Seen:
    """Ask for the exchange's time, twice: the first answer pays for the connection, the second is measured."""
    watch = situation.clock
    _time(_answered(transport))
    began, told_at = watch.monotonic(), watch.now()
    answer = _answered(transport)
    took_s = watch.monotonic() - began
    offset_s = (_time(answer) - told_at.timestamp()) - took_s / 2
    used = answer.headers.get(USED_WEIGHT, "")
    weight = int(used) if used.isdigit() else None
    return Seen(transport.url, "", took_s * 1000, encryption, offset_s, weight)


def _answered(transport: PlainTransport) -> HttpAnswer:
    """Give the answer to one question for the time; raises `NoAnswer` or `ExchangeError`."""
    answer = transport.request("GET", "/api/v3/time", {}, signed=False)
    if answer.status in STAY_AWAY:
        raise ExchangeError(f"asks to stay away (status {answer.status})")
    return answer


def _time(answer: HttpAnswer) -> float:
    """Give the exchange's time, seconds since 1970."""
    told = public_object(answer).get("serverTime")
    if type(told) is not int or told <= 0:
        raise ExchangeError(f"tells no time: {answer.body[:80]!r}")
    return from_ms(told).timestamp()


def _reason(error: BaseException) -> str:
    """Say at which step the exchange was lost."""
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return f"DNS: the name is not known here ({error})"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    if isinstance(error, TimeoutError):
        return f"TCP: no connection within {PATIENCE_MS / 1000:g} s"
    if isinstance(error, OSError):
        return f"TCP: {error.strerror or error}"
    return f"REST: {error}"


def _rules(situation: Situation, seen: Seen, symbols: Sequence[Symbol]) -> tuple[Mapping[Symbol, MarketRules], str]:
    """Give the rules of the exchange, else those stored beside the history, and where they are from."""
    if not seen.problem:
        try:
            return _fetched(situation, symbols), "rules of the exchange"
        except (ExchangeError, MarketDataError) as error:
            return {}, f"the exchange does not tell its rules: {error}"
    path = Path(situation.settings.data.history_dir) / STORED_RULES
    if not path.is_file():
        return {}, "the exchange does not answer and no rules are stored"
    try:
        stored = read_exchange_info(path).rules
    except MarketDataError as error:
        return {}, str(error)
    return {symbol: stored[symbol] for symbol in symbols if symbol in stored}, f"rules stored in {path}"


def _fetched(situation: Situation, symbols: Sequence[Symbol]) -> Mapping[Symbol, MarketRules]:
    """Ask for all symbols at once, and singly when the exchange refuses because it does not know one of them."""
    transport = plain_transport(_hasty(situation.settings.exchange), "", "", situation.clock)
    try:
        return fetched_rules(transport, symbols)
    except Transient:
        raise
    except ExchangeError:
        if len(symbols) > ASKED_SINGLY:
            raise
        found: dict[Symbol, MarketRules] = {}
        for symbol in symbols:
            found |= _single(transport, symbol)
        return found
    finally:
        transport.close()


def _single(transport: PlainTransport, symbol: Symbol) -> Mapping[Symbol, MarketRules]:
    try:
        return fetched_rules(transport, (symbol,))
    except Transient:
        raise
    except ExchangeError:
        return {}


def _capital(settings: Settings, *, live: bool) -> Decimal:
    """Give the capital the configuration allows at most."""
    risk = settings.risk
    most = risk.max_live_capital_usdt if live or risk.capital_total == "auto" else risk.capital_total
    wanted = most if risk.capital_total == "auto" else min(risk.capital_total, most)
    return exact(wanted)


def _hasty(settings: ExchangeSettings) -> ExchangeSettings:
    """Give the settings of somebody who asks once and does not wait long."""
    quick = {"timeout_ms": min(settings.timeout_ms, PATIENCE_MS), "retry_attempts": 0}
    return settings.model_copy(update=quick)
