"""The few parts the kill switch works with: a clock, rules and last known prices, and the exchange of the book."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from bn_ml.account_calls import AccountCalls
from bn_ml.ban_file import BanFile, TranslatedBans
from bn_ml.client_ids import PREFIX, instance_of, is_client_id
from bn_ml.clock import SystemClock
from bn_ml.domain.identity import BookIdentity
from bn_ml.domain.market import Bar, MarketRules, Quote, Symbol, exact
from bn_ml.env import Secrets
from bn_ml.errors import BnMlError, ConfigError, ExchangeError, MarketDataError, Transient
from bn_ml.exchange_info import parse_exchange_info
from bn_ml.http_answers import NoAnswer, Transport
from bn_ml.live_exchange import LiveExchange
from bn_ml.order_history import OrderHistory
from bn_ml.paper_exchange import PaperExchange
from bn_ml.plain_transport import PlainTransport, plain_transport
from bn_ml.ports import Clock, Exchange
from bn_ml.settings import ExchangeSettings, Settings
from bn_ml.state_store import StateStore
from bn_ml.venue.account import FeeRates
from bn_ml.venue.liquidity import Book, Liquidity
from bn_ml.venue.venue import Venue
from bn_ml.venue_clock import VenueClock
from bn_ml.venue_names import venue_name
from bn_ml.venue_store import VenueStore
from bn_ml.weight import WeightMeter
from trader.entry_plan import load_plan

MOST_WEIGHT = 0.95
LIVE_PRICES, REPLAY = "binance", "replay"
BANS = "exchange_ban.txt"
SPEED_VARIABLE = "BNML_SANDBOX_SPEED"
LONGEST_ANSWER_MS = 5000


class BookClock:
    """Wall time that never shows less than where the book stands; a book of the past goes on from there."""

    def __init__(self, reached: datetime | None, *, in_the_past: bool) -> None:
        """Begin now; a replayed book lives in its own past."""
        self._wall = SystemClock()
        now = self._wall.now()
        start = reached or now
        self._start = start if in_the_past else max(start, now)
        self._began = self._wall.monotonic()

    def now(self) -> datetime:
        """Give the book's present instant."""
        return self._start + timedelta(seconds=self.monotonic() - self._began)

    def sleep_until(self, instant: datetime) -> None:
        """Return when the book's time reaches `instant`."""
        self._wall.sleep_until(self._wall.now() + max(instant - self.now(), timedelta(0)))

    def monotonic(self) -> float:
        """Give seconds that never run backwards."""
        return self._wall.monotonic()


@dataclass
class KnownMarket:
    """The `MarketView` of somebody who must not wait for market data: rules, and at most the last known prices."""

    clock: Clock
    rules_by_symbol: Mapping[Symbol, MarketRules]
    books: Mapping[Symbol, Book] = field(default_factory=dict)
    prices: Mapping[Symbol, Quote] = field(default_factory=dict)

    def quote(self, symbol: Symbol) -> Quote:
        """Give the price fetched now, else the last one the book knows, as if it were of this instant."""
        if symbol in self.prices:
            return self.prices[symbol]
        book = self.books.get(symbol)
        if book is None:
            raise MarketDataError(f"{symbol}: no price is known")
        now = self.clock.now()
        return Quote(symbol, book.bid, book.ask, book.last, now, "last known", book.depth_quote, book.volume_24h_quote)

    def path(self, symbol: Symbol, since: datetime, until: datetime) -> Sequence[Bar]:
        """Give no bars."""
        del symbol, since, until
        return ()

    def atr_frac(self, symbol: Symbol) -> float:
        """Know no volatility."""
        raise MarketDataError(f"{symbol}: no bars")

    def rules(self, symbol: Symbol) -> MarketRules:
        """Give the rules of a symbol."""
        if symbol not in self.rules_by_symbol:
            raise MarketDataError(f"{symbol}: no rules")
        return self.rules_by_symbol[symbol]


@dataclass(frozen=True, slots=True)
class ExchangeLine:
    """A line to the real exchange: its orders, its memory of ours, its rules."""

    exchange: LiveExchange
    history: OrderHistory
    transport: PlainTransport
    clock: VenueClock

    def rules(self, symbols: Iterable[Symbol]) -> Mapping[Symbol, MarketRules]:
        """Give the present rules of some symbols; raises `Transient` or `MarketDataError`."""
        return fetched_rules(self.transport, tuple(symbols))


def resting(line: ExchangeLine, identity: BookIdentity, covers: Callable[[Symbol], bool]) -> tuple[str, ...]:
    """Give the ids of a book's own orders that are open at the exchange; raises `Transient`."""
    ours = f"{PREFIX}-{instance_of(identity.text)}-"
    found = line.exchange.open_orders()
    return tuple(order.client_id for order in found if covers(order.symbol) and order.client_id.startswith(ours))


def open_line(settings: Settings, environ: Mapping[str, str], symbols: Iterable[Symbol] = ()) -> ExchangeLine:
    """Open a line to the exchange of the configuration; nothing is sent. Raises `ConfigError` without keys."""
    secrets = Secrets.from_environ(environ)
    if not (secrets.binance_api_key and secrets.binance_api_secret):
        raise ConfigError(["API keys not configured: set BINANCE_API_KEY and BINANCE_API_SECRET"])
    machine = SystemClock()
    clock = VenueClock(machine, speed=_speed(environ))
    venue = hasty(settings.exchange)
    transport = plain_transport(venue, secrets.binance_api_key, secrets.binance_api_secret, clock)
    weight = WeightMeter(clock, MOST_WEIGHT)
    file = BanFile(Path(settings.storage.sqlite_path).with_name(BANS))
    bans = TranslatedBans(file, machine, clock, speed=clock.speed)
    exchange = LiveExchange(transport, clock, venue, symbols=symbols, weight=weight, bans=bans)
    calls = AccountCalls(transport, clock, venue, weight=weight, bans=bans)
    history = OrderHistory(calls.read, lambda text: is_client_id(text, PREFIX))
    return ExchangeLine(exchange, history, transport, clock)


def hasty(settings: ExchangeSettings) -> ExchangeSettings:
    """Give the settings of somebody who would rather ask again than wait long."""
    quick = {
        "timeout_ms": min(settings.timeout_ms, LONGEST_ANSWER_MS),
        "retry_attempts": min(settings.retry_attempts, 1),
    }
    return settings.model_copy(update=quick)


def fetched_rules(transport: Transport, symbols: Sequence[Symbol]) -> dict[Symbol, MarketRules]:
    """Ask the venue for the rules of some symbols, once; raises `Transient` or `MarketDataError`."""
    if not symbols:
        return {}
    names = json.dumps([venue_name(symbol) for symbol in symbols], separators=(",", ":"))
    content = _public(transport, "/api/v3/exchangeInfo", {"symbols": names})
    return dict(parse_exchange_info(content).rules)


def fetched_prices(transport: Transport, symbols: Sequence[Symbol], clock: Clock) -> dict[Symbol, Quote]:
    """Ask the venue for best bid and ask of some symbols; those that cannot be had are left out."""
    found: dict[Symbol, Quote] = {}
    for symbol in symbols:
        try:
            content = _public(transport, "/api/v3/ticker/bookTicker", {"symbol": venue_name(symbol)})
            bid, ask = Decimal(str(content["bidPrice"])), Decimal(str(content["askPrice"]))
            found[symbol] = Quote(symbol, bid, ask, bid, clock.now(), LIVE_PRICES)
        except (BnMlError, KeyError, ValueError, InvalidOperation):
            break
    return found


def open_paper(settings: Settings, store: StateStore, clock: Clock, market: KnownMarket) -> Exchange:
    """Give the paper exchange of a book on nothing but what the book knows."""
    fee, share = exact(settings.risk.fees_pct), exact(settings.backtest.max_participation_pct)
    venue = Venue(VenueStore(store), fees=FeeRates(maker=fee, taker=fee), liquidity=Liquidity(participation=share))
    market.books = venue.state.books
    return PaperExchange(venue, market, clock)


def planned_rules(store: StateStore) -> dict[Symbol, MarketRules]:
    """Give the rules kept with the plans of what is held or ordered."""
    ids = {item.position_id for item in store.open_positions()}
    ids.update(record.intent.position_id for record in store.open_intents())
    rules = (load_plan(store, position_id).rules for position_id in sorted(ids))
    return {item.symbol: item for item in rules}


def _public(transport: Transport, path: str, params: Mapping[str, str]) -> Mapping[str, object]:
    try:
        answer = transport.request("GET", path, params, signed=False)
        content = json.loads(answer.body)
    except (NoAnswer, ValueError) as error:
        raise Transient(f"GET {path}: {error}") from error
    if answer.status != 200 or not isinstance(content, Mapping):
        raise ExchangeError(f"GET {path}: status {answer.status}: {answer.body[:120]!r}")
    return content


def _speed(environ: Mapping[str, str]) -> float:
    """Give how fast the exchange's time runs: as ours, but for a sandbox that was started faster."""
    try:
        speed = float(environ.get(SPEED_VARIABLE, "").strip() or 1.0)
    except ValueError:
        return 1.0
    return speed if 0 < speed <= 10_000 else 1.0
