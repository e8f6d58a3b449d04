"""What the chat is told of the bot: short texts from the committed state, which is only read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.domain.positions import Position
from bn_ml.errors import BnMlError
from bn_ml.halting import HaltMarker
from bn_ml.ports import Clock
from bn_ml.prediction_log import PredictionLog, PredictionRecord, log_beside
from bn_ml.state_reader import EventRow, StateReader
from bn_ml.state_watch import BEAT, BookWatch
from monitoring.plain_values import age_s, mapping, number, sequence

HELP = """/status state, equity, positions
/positions what is held, with stops
/profit today, this week, all closed trades
/why why nothing was bought; /why BTC/USDC for one symbol
/models bundles in service
/health loop and workers
/pause no more entries (asks first)
/kill cancel all orders and sell (asks first)
Going on again is not possible from here: bnml-kill-switch --resume on the machine of the bot."""

HEALTH = "heartbeat"
MOST_LINES = 25
_DAY_MS = 86_400_000
_LOOKED_BACK_DAYS = (1, 30)
_EVENTS = 2_000


class Answers:
    """Answers questions about one book. Reads committed state over connections of its own; never raises."""

    def __init__(self, book: Path, clock: Clock) -> None:
        """Name the database; it is opened by each question."""
        self._book = book
        self._reader = StateReader(book)
        self._watch = BookWatch(book)
        self._clock = clock
        self._known: Mapping[str, Callable[[str], list[str]]] = {
            "status": lambda _: self._status(),
            "positions": lambda _: self._positions(),
            "profit": lambda _: self._profit(),
            "why": self._why,
            "models": lambda _: self._models(),
            "health": lambda _: self._health(),
        }

    def knows(self, question: str) -> bool:
        """Tell whether a question can be answered."""
        return question in self._known

    def answer(self, question: str, argument: str = "") -> str:
        """Give the text for a question; what cannot be read is said so. Raises `KeyError` for an unknown question."""
        asked = self._known[question]
        try:
            lines = asked(argument)
        except (BnMlError, ValueError, TypeError, KeyError) as error:
            return f"/{question}: not known now: {error}"
        left_out = len(lines) - MOST_LINES
        return "\n".join([*lines[:MOST_LINES], *([f"... and {left_out} more"] if left_out > 0 else [])])

    def left(self) -> tuple[int, int]:
        """Give how many positions are open and how many orders unfinished; raises `StateError`."""
        view = self._watch.look()
        return len(view.positions), len(view.orders)

    def _status(self) -> list[str]:
        summary, now = self._reader.summary(), self._clock.now()
        account, cycle = mapping(summary.account), summary.last_cycle
        mode = summary.identity.mode.upper() if summary.identity else "UNBOUND"
        control = summary.control
        day, week = _share(account, "daily_pnl_pct"), _share(account, "weekly_pnl_pct")
        marker = HaltMarker.beside(self._book).reason()
        last = f"last cycle {_ago(age_s(cycle.at, now))}, prices {cycle.data.get('data_source')}" if cycle else ""
        lines = [
            f"{mode} {control.state.value} since {_stamp(control.since)}",
            f"reason: {control.reason} (by {control.set_by or 'nobody'})",
            f"equity {_money(account)}, day {day}, week {week}",
            f"drawdown {_share(account, 'drawdown_pct', sign='')}, exposure {_share(account, 'exposure_pct', sign='')}",
            f"open positions {summary.open_positions}, unfinished orders {summary.unresolved_orders}",
            last or "no cycle yet",
        ]
        return lines + ([f"starts HALTED next time: {marker}"] if marker else [])

    def _positions(self) -> list[str]:
        view, prices = self._watch.look(), self._prices()
        return [_position(item, prices.get(str(item.symbol), math.nan)) for item in view.positions] or ["nothing held"]

    def _profit(self) -> list[str]:
        account = mapping(self._reader.summary().account)
        if not account:
            return ["no cycle yet"]
        quote = str(account.get("exchange_quote_asset", ""))
        day, week = _share(account, "daily_pnl_pct"), _share(account, "weekly_pnl_pct")
        return [
            f"today {_amount(account, 'daily_realized_usdt')} {quote} realized, {day} in all",
            f"week {_amount(account, 'weekly_realized_usdt')} {quote} realized, {week} in all",
            f"open {_amount(account, 'unrealized_usdt')} {quote} not realized",
            f"closed trades {_count(account, 'closed_trades')}, won {_share(account, 'win_rate', sign='')}, "
            f"profit factor {_amount(account, 'profit_factor', sign='')}",
        ]

    def _why(self, argument: str) -> list[str]:
        return self._why_symbol(self._symbol(argument)) if argument else self._why_no_trade()

    def _why_no_trade(self) -> list[str]:
        summary = self._reader.summary()
        cycle = summary.last_cycle
        if cycle is None:
            return ["no cycle yet"]
        stopped = [f"{reason}: {count} symbols" for reason, count in mapping(cycle.data.get("funnel")).items()]
        breakers = ", ".join(map(str, sequence(cycle.data.get("breakers"))))
        return [
            f"cycle {_ago(age_s(cycle.at, self._clock.now()))}: {cycle.opportunities} opportunities, "
            f"{cycle.opened_positions} opened, state {summary.control.state.value}",
            *([f"breakers: {breakers}"] if breakers else []),
            *(["stopped by", *stopped] if stopped else ["nothing was stopped"]),
        ]

    def _why_symbol(self, symbol: Symbol) -> list[str]:
        said = self._prediction(symbol)
        lines = [f"{symbol}: no prediction kept"] if said is None else _prediction_lines(said)
        return [*lines, *self._last_attempt(symbol)]

    def _prediction(self, symbol: Symbol) -> PredictionRecord | None:
        log, end_ms = PredictionLog(log_beside(self._book)), to_ms(self._clock.now()) + _DAY_MS
        for days in _LOOKED_BACK_DAYS:
            found = log.read(symbol, end_ms - (days + 1) * _DAY_MS, end_ms)
            if found:
                return found[-1]
        return None

    def _last_attempt(self, symbol: Symbol) -> list[str]:
        kinds = ("RiskRefused", "EntryApproved")
        events = [event for kind in kinds for event in self._reader.events(limit=_EVENTS, kind=kind)]
        own = [event for event in events if event.payload.get("symbol") == str(symbol)]
        return [_attempt(max(own, key=lambda event: event.id))] if own else []

    def _models(self) -> list[str]:
        newest: dict[str, Mapping[str, object]] = {}
        for row in self._reader.latest_metrics(limit=1_000):
            symbol = row.metrics.get("symbol")
            if isinstance(symbol, str) and "event" not in row.metrics:
                newest.setdefault(symbol, row.metrics)
        now = self._clock.now()
        return [_model(symbol, newest[symbol], now) for symbol in sorted(newest)] or ["no bundle adopted yet"]

    def _health(self) -> list[str]:
        now, beat, health = self._clock.now(), mapping(self._reader.kv(BEAT)), mapping(self._reader.kv(HEALTH))
        seen = [f"loop seen {_ago(age_s(beat.get('at'), now))}, step {beat.get('step', 'unknown')}"]
        troubles = number(health.get("troubles"))
        if troubles > 0:
            seen.append(f"troubles {troubles:.0f}, last: {health.get('last_trouble')}")
        workers = mapping(health.get("workers"))
        return [*seen, *(_worker(name, mapping(workers[name])) for name in sorted(workers))]

    def _prices(self) -> dict[str, float]:
        rows = map(mapping, sequence(mapping(self._reader.kv("latest_scan")).get("rows")))
        return {str(row.get("symbol")): number(row.get("price")) for row in rows}

    def _symbol(self, text: str) -> Symbol:
        """Read a symbol; one without its quote asset is of the account's. Raises `ValueError` that repeats no text."""
        quote = mapping(self._reader.kv("account_state")).get("exchange_quote_asset")
        try:
            return Symbol(text if "/" in text or not quote else f"{text}/{quote}")
        except ValueError:
            raise ValueError("a symbol looks like BTC/USDC") from None


def _prediction_lines(said: PredictionRecord) -> list[str]:
    head = f"{said.symbol} at {_stamp(from_ms(said.close_ms))}: {said.action}" + (
        f", {said.reason}" if said.reason else ""
    )
    if said.version is None:
        return [head, "no bundle answered"]
    gates = [
        f"{name}: {value} against {limit}" for name, value, limit, passed in json.loads(said.gates_json) if not passed
    ]
    shares = f"SELL {said.sell:.1%} HOLD {said.hold:.1%} BUY {said.buy:.1%}, bundle {said.version}"
    return [head, shares, *(f"failed {gate}" for gate in gates)]


def _attempt(event: EventRow) -> str:
    said = event.payload
    if event.kind == "RiskRefused":
        return f"risk refused {_stamp(event.at)}: {said.get('rule')}, {said.get('value')} against {said.get('limit')}"
    return f"risk approved {_stamp(event.at)}: size {said.get('size_quote')}, limited by {said.get('binding')}"


def _position(item: Position, price: float) -> str:
    gain = f", now {price:g} ({price / float(item.entry_price) - 1:+.2%})" if math.isfinite(price) and price > 0 else ""
    return (
        f"{item.symbol} {item.remaining_quantity.normalize():f} at {item.entry_price.normalize():f}{gain}, "
        f"stop {item.stop.normalize():f}, targets {item.target_1.normalize():f} {item.target_2.normalize():f}"
    )


def _model(symbol: str, metrics: Mapping[str, object], now: datetime) -> str:
    tradable = mapping(metrics.get("tradable"))
    reasons = ", ".join(map(str, sequence(tradable.get("reasons"))))
    verdict = str(tradable.get("verdict", "unknown")) + (f" ({reasons})" if reasons else "")
    return (
        f"{symbol} version {metrics.get('version')}, {verdict}, trained {_ago(age_s(metrics.get('trained_at'), now))}"
    )


def _worker(name: str, told: Mapping[str, object]) -> str:
    state = "alive" if told.get("alive") is True else "DOWN"
    spent = ", restarts spent" if told.get("spent") is True else ""
    error = f", last error {told.get('last_error')}" if told.get("last_error") else ""
    return f"{name}: {state}, restarts {_count(told, 'restarts')}{spent}{error}"


def _money(account: Mapping[str, object]) -> str:
    return f"{_amount(account, 'equity', sign='')} {account.get('exchange_quote_asset', '')}".strip()


def _amount(values: Mapping[str, object], name: str, *, sign: str = "+") -> str:
    value = number(values.get(name))
    return f"{value:{sign}.2f}" if math.isfinite(value) else "unknown"


def _share(values: Mapping[str, object], name: str, *, sign: str = "+") -> str:
    value = number(values.get(name))
    return f"{value:{sign}.2%}" if math.isfinite(value) else "unknown"


def _count(values: Mapping[str, object], name: str) -> str:
    value = number(values.get(name))
    return f"{value:.0f}" if math.isfinite(value) else "unknown"


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _ago(seconds: float) -> str:
    """Give an age in the unit people think in.

    >>> _ago(42.0), _ago(7200.0), _ago(float("nan"))
    ('42 s ago', '2.0 h ago', 'at an unknown time')
    """
    if not math.isfinite(seconds):
        return "at an unknown time"
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length or (unit == "h" and seconds >= length):
            return f"{seconds / length:.1f} {unit} ago"
    return f"{seconds:.0f} s ago"
