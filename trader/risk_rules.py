"""Risk rules about the bot, the symbol and the signal, one function per rule; each gives value, limit and verdict."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.decisions import RuleVerdict
from bn_ml.domain.signals import Action
from bn_ml.settings import Settings
from trader.breakers import MAX_ORDERS_PER_MIN, market_block
from trader.entry_request import EntryRequest
from trader.sizing import EntryTerms, Size

NOT_REAL_SOURCES = ("synthetic", "replay", "fallback")


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule judges: the request, its prices and its size.

    `probe_quote` is the size, or the smallest tradable one when the size came out smaller, so that the limit that left
    no room is the one that refuses. `atr_known` is False when ATR levels are asked for and there is no ATR.
    """

    request: EntryRequest
    settings: Settings
    terms: EntryTerms
    size: Size
    probe_quote: Decimal
    atr_known: bool = True


def control_state(case: Case) -> RuleVerdict:
    """Entries need NORMAL."""
    state = case.request.control.state
    rank = list(ControlState).index(state)
    return RuleVerdict("control_state", float(rank), 0.0, state is ControlState.NORMAL)


def synthetic_data(case: Case) -> RuleVerdict:
    """Real money trades on real data only."""
    request = case.request
    sources = (request.data_source, request.quote.source, request.opportunity.signal.data_source)
    unreal = any(source.startswith(NOT_REAL_SOURCES) for source in sources)
    return RuleVerdict("synthetic_data", float(unreal), 0.0, not (request.real_money and unreal))


def disk_low(case: Case) -> RuleVerdict:
    """What cannot be journaled is not sent."""
    floor = float(case.settings.storage.min_free_disk_mb)
    return RuleVerdict("disk_low", case.request.disk_free_mb, floor, case.request.disk_free_mb >= floor)


def order_rate(case: Case) -> RuleVerdict:
    """One more order must fit into the minute."""
    limit = min(case.settings.exchange.orders.max_orders_per_min, MAX_ORDERS_PER_MIN)
    value = case.request.orders_last_minute + 1
    return RuleVerdict("order_rate", float(value), float(limit), value <= limit)


def symbol_frozen(case: Case) -> RuleVerdict:
    """A symbol with an unresolved order takes no further one."""
    frozen = case.request.symbol in case.request.frozen
    return RuleVerdict("symbol_frozen", float(frozen), 0.0, not frozen)


def symbol_quarantined(case: Case) -> RuleVerdict:
    """A symbol with bad data is not traded."""
    quarantined = case.request.symbol in case.request.quarantined
    return RuleVerdict("symbol_quarantined", float(quarantined), 0.0, not quarantined)


def symbol_not_trading(case: Case) -> RuleVerdict:
    """The venue must be trading the symbol."""
    trading = case.request.rules.trading
    return RuleVerdict("symbol_not_trading", float(not trading), 0.0, trading)


def quote_stale(case: Case) -> RuleVerdict:
    """The quote must be of this symbol, fresh, and not from the future."""
    quote, limit = case.request.quote, case.settings.data.max_quote_age_entry_sec
    age = quote.age_s(case.request.now)
    fresh = -limit <= age <= limit and quote.symbol == case.request.symbol
    return RuleVerdict("quote_stale", age, float(limit), fresh)


def long_only(case: Case) -> RuleVerdict:
    """Nothing is sold that is not held."""
    sells = case.request.opportunity.signal.action is Action.SELL
    return RuleVerdict("long_only", float(sells), 0.0, not sells)


def signal_not_buy(case: Case) -> RuleVerdict:
    """Only BUY opens a position."""
    buys = case.request.opportunity.signal.action is Action.BUY
    return RuleVerdict("signal_not_buy", float(not buys), 0.0, buys)


def min_score(case: Case) -> RuleVerdict:
    """The composite score must reach its floor."""
    value, limit = case.request.opportunity.score, case.settings.scanner.min_score
    return RuleVerdict("min_score", value, limit, value >= limit)


def min_confidence(case: Case) -> RuleVerdict:
    """The calibrated BUY probability must reach its floor."""
    value, limit = case.request.opportunity.signal.probabilities.buy, case.settings.scanner.min_confidence
    return RuleVerdict("min_confidence", value, limit, value >= limit)


def market_regime(case: Case) -> RuleVerdict:
    """The market's mood must not forbid entries."""
    value, limit, blocks = market_block(case.request.scan.mood, case.settings)
    filters = case.settings.santrade_intelligence.filter_entries
    return RuleVerdict("market_regime", value, limit, not (blocks and filters))
