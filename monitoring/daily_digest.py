"""The one message of a day that is sent whether or not anything happened: what was earned, traded and refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from bn_ml.domain import events as facts
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.events import Event
from bn_ml.domain.market import Symbol, from_iso, iso
from monitoring.alert_words import signed

MOST_GATES = 4


class DayTally:
    """Counts facts since the last digest. Amounts are in the quote asset; fees in a third asset are not valued."""

    def __init__(self, quote_asset: str) -> None:
        """Begin with nothing counted."""
        self._quote = quote_asset
        self.equity: Decimal | None = None
        self.equity_before: Decimal | None = None
        self.opened = self.closed = self.cycles = 0
        self.net = self.costs = Decimal(0)
        self.refusals: Counter[str] = Counter()

    def note(self, event: Event) -> None:
        """Take one fact into account."""
        match event:
            case facts.CycleFinished():
                self.cycles += 1
                self.equity = event.equity
                self.equity_before = self.equity_before or event.equity
            case facts.PositionOpened():
                self.opened += 1
            case facts.PositionClosed():
                self.closed += 1
                self.net += event.pnl_quote
            case facts.OrderFilled():
                self.costs += self._fee(event)
            case facts.ScanFinished():
                self.refusals.update(event.funnel)
            case facts.RiskRefused():
                self.refusals[event.rule] += 1

    def next_day(self) -> DayTally:
        """Give the tally that the next day begins with."""
        fresh = DayTally(self._quote)
        fresh.equity = fresh.equity_before = self.equity
        return fresh

    def text(self) -> str:
        """Write what was counted, to be read after a crash."""
        amounts = {"equity": self.equity, "equity_before": self.equity_before, "net": self.net, "costs": self.costs}
        counts = {"opened": self.opened, "closed": self.closed, "cycles": self.cycles}
        plain = {name: None if value is None else str(value) for name, value in amounts.items()}
        return json.dumps({**plain, **counts, "refusals": dict(self.refusals)})

    def _fee(self, event: facts.OrderFilled) -> Decimal:
        symbol: Symbol = event.symbol
        if event.fee_asset == symbol.base:
            return event.fee * event.price
        return event.fee if event.fee_asset == self._quote else Decimal(0)


def read_tally(text: str, quote_asset: str) -> DayTally:
    """Give what an earlier life counted, an empty tally when that cannot be read."""
    tally = DayTally(quote_asset)
    try:
        kept = json.loads(text or "{}")
        amounts = {name: kept.get(name) for name in ("equity", "equity_before", "net", "costs")}
        tally.equity = None if amounts["equity"] is None else Decimal(amounts["equity"])
        tally.equity_before = None if amounts["equity_before"] is None else Decimal(amounts["equity_before"])
        tally.net, tally.costs = Decimal(amounts["net"] or 0), Decimal(amounts["costs"] or 0)
        tally.opened, tally.closed = int(kept.get("opened", 0)), int(kept.get("closed", 0))
        tally.cycles = int(kept.get("cycles", 0))
        tally.refusals = Counter({str(code): int(count) for code, count in kept.get("refusals", {}).items()})
    except (ValueError, TypeError, AttributeError, InvalidOperation):
        return DayTally(quote_asset)
    return tally


def digest_alert(now: datetime, tally: DayTally, notes: Sequence[str]) -> Alert:
    """Write the digest; a quiet day is a message too."""
    parts = [f"daily {now:%Y-%m-%d}"]
    if tally.equity is not None:
        change = _change(tally)
        parts.append(f"equity {tally.equity:.2f}" + ("" if change is None else f" ({change:+.1%})"))
    traded = f"{tally.opened} opened, {tally.closed} closed, net {signed(tally.net)}, costs {tally.costs:.2f}"
    parts.append(traded if tally.opened or tally.closed else f"no trades in {tally.cycles} cycles")
    why = " | ".join([*([_refused(tally.refusals)] if tally.refusals else []), *notes])
    return Alert(now, AlertLevel.INFO, f"digest:{now:%Y-%m-%d}", " | ".join(parts), why)


class DailyDigest:
    """Counts the facts of a day and gives the digest when it is due."""

    def __init__(self, at: str, quote_asset: str, now: datetime) -> None:
        """`at` is the UTC time HH:MM."""
        self._at = at
        self._quote = quote_asset
        self._began = now
        self._clock = DigestClock(at, "", now)
        self._tally = DayTally(quote_asset)

    def note(self, event: Event) -> None:
        """Take one fact into account."""
        self._tally.note(event)

    def is_due(self, now: datetime) -> bool:
        """Tell whether the time of day has passed since the last digest."""
        return self._clock.is_due(now)

    def alert(self, now: datetime, notes: Sequence[str]) -> Alert:
        """Give the digest and begin the next day."""
        told, self._tally = digest_alert(now, self._tally, notes), self._tally.next_day()
        self._clock.note(now)
        return told

    def text(self) -> str:
        """Write what a next life needs to go on."""
        return f"{self._clock.stamp} {self._tally.text()}"

    def resume(self, text: str) -> None:
        """Take up what an earlier life wrote; begins anew where that cannot be read."""
        last, _, tally = text.partition(" ")
        self._clock = DigestClock(self._at, last, self._began)
        self._tally = read_tally(tally, self._quote)


class DigestClock:
    """Says when the digest is due: once a day at a UTC time, late when the bot did not run then, never twice."""

    def __init__(self, at: str, last: str, now: datetime) -> None:
        """`at` is HH:MM; `last` what `stamp` gave in an earlier life, empty for the first, which waits for its time."""
        hour, minute = (int(part) for part in at.split(":")[:2])
        self._at = timedelta(hours=hour, minutes=minute)
        self._last = self._read(last) or now

    def is_due(self, now: datetime) -> bool:
        """Tell whether the time of day has passed since the last digest."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight + self._at
        moment = moment if moment <= now else moment - timedelta(days=1)
        return self._last < moment

    def note(self, now: datetime) -> None:
        """Remember that it was given."""
        self._last = now

    @property
    def stamp(self) -> str:
        """When it was last given, as a text to keep."""
        return iso(self._last)

    def _read(self, text: str) -> datetime | None:
        try:
            return from_iso(text)
        except ValueError:
            return None


def _change(tally: DayTally) -> float | None:
    if not tally.equity_before or tally.equity is None:
        return None
    return float(tally.equity / tally.equity_before - 1)


def _refused(refusals: Mapping[str, int]) -> str:
    total = sum(refusals.values())
    first = sorted(refusals.items(), key=lambda item: (-item[1], item[0]))[:MOST_GATES]
    shares = ", ".join(f"{code} {count / total:.0%}" for code, count in first)
    return f"{total:,} refusals: {shares}"
