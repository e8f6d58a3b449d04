"""The one arithmetic of exits: stop, targets, break-even, trailing and time stop, for live positions and for labels.

Every function works on `Decimal` (the trader) and on `float` (the labeler) alike; all arguments of a call share one of
the two types. Fractions are of the entry price, shares of the bought quantity.

A trade is followed over bars by the conventions of the simulated exchange. A bar is walked open, low, high, close. A
stop is touched when the low reaches it and fills at the open when the bar opens through it. A resting target fills at
its own price, and only when the bar trades strictly above it. What the bot does between bars (hard drawdown,
break-even, trailing) happens at the open of the next bar, seeing that open and the targets it filled, so a stop raised
by bar k acts from bar k+1, and one raised by a gap through the first target from the bar that opened with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Generic, TypeVar

from bn_ml.domain.positions import ExitReason

Number = TypeVar("Number", float, Decimal)


@dataclass(frozen=True, slots=True)
class ExitRules(Generic[Number]):
    """How a position is left.

    With `by_atr` stop and targets are multiples of ATR over price, the stop clamped to `stop_min_frac..stop_max_frac`
    and the targets scaled along with it. Trailing begins after the first target (`trailing_after_tp1`) or once the
    highest price has gained `trailing_activation_frac`. `fee_frac` is paid per side.
    """

    stop_frac: Number
    target_1_frac: Number
    target_2_frac: Number
    target_1_share: Number
    target_2_share: Number
    hard_drawdown_frac: Number
    fee_frac: Number
    trailing_activation_frac: Number
    trailing_frac: Number
    trailing_atr: Number
    stop_atr: Number
    target_1_atr: Number
    target_2_atr: Number
    stop_min_frac: Number
    stop_max_frac: Number
    max_holding: timedelta = timedelta(hours=24)
    by_atr: bool = False
    trailing_enabled: bool = True
    trailing_after_tp1: bool = True
    break_even_after_tp1: bool = True

    def __post_init__(self) -> None:
        """Refuse rules whose levels could not be ordered stop < entry < target 1 < target 2."""
        if not 0 < self.stop_frac < 1 or not 0 < self.target_1_frac < self.target_2_frac:
            raise ValueError(f"levels out of order: {self.stop_frac}, {self.target_1_frac}, {self.target_2_frac}")
        if not self.stop_atr > 0 or not 0 < self.target_1_atr < self.target_2_atr:
            raise ValueError(f"ATR multiples out of order: {self.stop_atr}, {self.target_1_atr}, {self.target_2_atr}")
        if not 0 < self.stop_min_frac <= self.stop_max_frac < 1:
            raise ValueError(f"stop clamp out of order: {self.stop_min_frac}..{self.stop_max_frac}")
        if not (
            self.target_1_share > 0 and self.target_2_share >= 0 and self.target_1_share + self.target_2_share <= 1
        ):
            raise ValueError(f"target shares exceed the position: {self.target_1_share}, {self.target_2_share}")

    def holding_bars(self, bar: timedelta) -> int:
        """Give how many whole bars the longest holding lasts, at least one."""
        return max(1, self.max_holding // bar)


@dataclass(frozen=True, slots=True)
class Levels(Generic[Number]):
    """Where a position is left: `stop < entry < target_1 < target_2`."""

    stop: Number
    target_1: Number
    target_2: Number


def initial_levels(entry: Number, atr_frac: Number, rules: ExitRules[Number]) -> Levels[Number]:
    """Give the levels of a position entered at `entry`.

    `atr_frac` is ATR(14) over the close, read in ATR mode only, where anything but a positive value is a `ValueError`.
    """
    if not rules.by_atr:
        return Levels(
            stop=entry * (1 - rules.stop_frac),
            target_1=entry * (1 + rules.target_1_frac),
            target_2=entry * (1 + rules.target_2_frac),
        )
    if not atr_frac > 0:
        raise ValueError(f"ATR levels need a positive ATR, got {atr_frac}")
    unit = _clamped_atr(atr_frac, rules)
    return Levels(
        stop=entry * (1 - unit * rules.stop_atr),
        target_1=entry * (1 + unit * rules.target_1_atr),
        target_2=entry * (1 + unit * rules.target_2_atr),
    )


def break_even(entry: Number, fee_frac: Number) -> Number:
    """Give the price that pays back an entry and the fees of both sides: `entry (1 + fee) / (1 - fee)`."""
    return entry * (1 + fee_frac) / (1 - fee_frac)


def trailing_is_active(entry: Number, highest: Number, rules: ExitRules[Number], *, tp1_hit: bool) -> bool:
    """Tell whether the stop follows the highest price."""
    if not rules.trailing_enabled:
        return False
    if rules.trailing_after_tp1:
        return tp1_hit
    return highest >= entry * (1 + rules.trailing_activation_frac)


def trailing_distance(atr_frac: Number, rules: ExitRules[Number]) -> Number:
    """Give the distance of a trailing stop as a fraction of the highest price."""
    if rules.by_atr and atr_frac > 0:
        return _clamped_atr(atr_frac, rules) * rules.trailing_atr
    return rules.trailing_frac


def raised_stop(
    entry: Number, stop: Number, highest: Number, rules: ExitRules[Number], *, tp1_hit: bool, atr_frac: Number
) -> Number:
    """Give the stop that break-even and trailing ask for; never below the present one."""
    raised = stop
    if tp1_hit and rules.break_even_after_tp1:
        raised = max(raised, break_even(entry, rules.fee_frac))
    if trailing_is_active(entry, highest, rules, tp1_hit=tp1_hit):
        raised = max(raised, highest * (1 - trailing_distance(atr_frac, rules)))
    return raised


def hard_drawdown_level(entry: Number, rules: ExitRules[Number]) -> Number:
    """Give the price at which a position is left whatever its stop says."""
    return entry * (1 - rules.hard_drawdown_frac)


@dataclass(frozen=True, slots=True)
class BarPath(Generic[Number]):
    """Finite prices of consecutive bars, four sequences of one length."""

    open: Sequence[Number]
    high: Sequence[Number]
    low: Sequence[Number]
    close: Sequence[Number]

    def __post_init__(self) -> None:
        """Refuse sequences of unequal length."""
        if not len(self.open) == len(self.high) == len(self.low) == len(self.close):
            raise ValueError("open, high, low and close must have one length")


@dataclass(frozen=True, slots=True)
class TradeLeg(Generic[Number]):
    """One partial exit: the share of the bought quantity, its price, the index of its bar and the reason."""

    share: Number
    price: Number
    index: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class TradeOutcome(Generic[Number]):
    """What a trade brought before costs, as a fraction of what was paid.

    `exit_index` is the bar of the last leg and `exit_reason` its reason. A trade still open when the bars end has
    `exit_index` -1, no reason, and counts the legs taken so far only.
    """

    gross_return_frac: Number
    exit_index: int
    exit_reason: ExitReason | None
    legs: tuple[TradeLeg[Number], ...]

    @property
    def is_complete(self) -> bool:
        """Whether everything was sold within the bars."""
        return self.exit_reason is not None


def walk_trade(
    entry: Number, path: BarPath[Number], rules: ExitRules[Number], *, atr_frac: Number, max_bars: int, first: int = 0
) -> TradeOutcome[Number]:
    """Follow a position bought at `entry` at the open of bar `first`.

    It is closed at the latest at the close of bar `first + max_bars - 1`. Indices in the outcome are those of `path`.
    """
    walk = _Walk(entry, rules, atr_frac)
    time_stop = first + max_bars - 1
    end = min(time_stop + 1, len(path.open))
    index = walk.skip_quiet(path, first, min(time_stop, end))
    while index < end:
        if walk.step(index, path.open[index], path.high[index], path.low[index]):
            return walk.outcome()
        if index == time_stop:
            walk.close(index, path.close[index], ExitReason.TIME_STOP)
            return walk.outcome()
        index += 1
    return walk.outcome()


def walk_trades(
    path: BarPath[float], entries: Sequence[int], rules: ExitRules[float], *, atr_frac: Sequence[float], max_bars: int
) -> list[TradeOutcome[float]]:
    """Follow one trade per element of `entries`, the indices of the bars at whose open is bought.

    `atr_frac` is aligned with `entries`. Equal to `walk_trade` at each entry, for whole histories.
    """
    if len(entries) != len(atr_frac):
        raise ValueError(f"{len(entries)} entries but {len(atr_frac)} ATR values")
    plain = BarPath(*([float(price) for price in column] for column in (path.open, path.high, path.low, path.close)))
    return [
        walk_trade(plain.open[first], plain, rules, atr_frac=float(atr), max_bars=max_bars, first=first)
        for first, atr in zip((int(entry) for entry in entries), atr_frac, strict=True)
    ]


class _Walk(Generic[Number]):
    """The moving state of one followed trade."""

    entry: Number
    rules: ExitRules[Number]
    atr_frac: Number
    levels: Levels[Number]
    hard: Number
    stop: Number
    highest: Number
    remaining: Number

    __slots__ = ("atr_frac", "entry", "hard", "highest", "legs", "levels", "remaining", "rules", "stop", "trailing")

    def __init__(self, entry: Number, rules: ExitRules[Number], atr_frac: Number) -> None:
        self.entry = entry
        self.rules = rules
        self.atr_frac = atr_frac
        self.levels = initial_levels(entry, atr_frac, rules)
        self.hard = hard_drawdown_level(entry, rules)
        self.stop = self.levels.stop
        self.highest = entry
        self.remaining = entry / entry
        self.trailing = False
        self.legs: list[TradeLeg[Number]] = []

    def skip_quiet(self, path: BarPath[Number], start: int, end: int) -> int:
        """Give the first bar in `start..end` at which anything could happen; `end` when there is none."""
        floor, ceiling = max(self.stop, self.hard), self.levels.target_1
        if self.rules.trailing_enabled and not self.rules.trailing_after_tp1:
            ceiling = min(ceiling, self.entry * (1 + self.rules.trailing_activation_frac))
        index = start
        for low, high in zip(path.low[start:end], path.high[start:end], strict=True):
            if low <= floor or high >= ceiling:
                break
            index += 1
        self.highest = max(self.highest, max(path.high[start:index], default=self.highest))
        return index

    def step(self, index: int, opening: Number, high: Number, low: Number) -> bool:
        """Walk one bar; True when nothing remains."""
        if self._left_at_open(index, opening):
            return True
        if self.remaining > 0 and low <= self.stop:
            self.close(index, self.stop, self._stop_reason())
        self._take_targets(index, high)
        self.highest = max(self.highest, high)
        return not self.remaining > 0

    def close(self, index: int, price: Number, reason: ExitReason) -> None:
        """Sell what remains."""
        self.legs.append(TradeLeg(self.remaining, price, index, reason))
        self.remaining -= self.remaining

    def outcome(self) -> TradeOutcome[Number]:
        """Sum up the legs."""
        gross = self.entry - self.entry
        for leg in self.legs:
            gross += leg.share * (leg.price / self.entry - 1)
        if self.remaining > 0:
            return TradeOutcome(gross, -1, None, tuple(self.legs))
        return TradeOutcome(gross, self.legs[-1].index, self.legs[-1].reason, tuple(self.legs))

    def _left_at_open(self, index: int, opening: Number) -> bool:
        if opening <= self.stop:
            self.close(index, opening, self._stop_reason())
        elif opening <= self.hard:
            self.close(index, opening, ExitReason.HARD_DRAWDOWN)
        else:
            self._take_targets(index, opening)
            self.highest = max(self.highest, opening)
            self._raise_stop()
            if self.remaining > 0 and opening <= self.stop:
                self.close(index, opening, self._stop_reason())
        return not self.remaining > 0

    def _raise_stop(self) -> None:
        hit = bool(self.legs)
        self.trailing = self.trailing or trailing_is_active(self.entry, self.highest, self.rules, tp1_hit=hit)
        self.stop = raised_stop(self.entry, self.stop, self.highest, self.rules, tp1_hit=hit, atr_frac=self.atr_frac)

    def _take_targets(self, index: int, price: Number) -> None:
        if self.remaining > 0 and not self.legs and price > self.levels.target_1:
            self._sell(index, self.rules.target_1_share, self.levels.target_1, ExitReason.TP1)
        if self.remaining > 0 and len(self.legs) == 1 and price > self.levels.target_2:
            self._sell(index, self.rules.target_2_share, self.levels.target_2, ExitReason.TP2)

    def _sell(self, index: int, share: Number, price: Number, reason: ExitReason) -> None:
        share = min(share, self.remaining)
        self.legs.append(TradeLeg(share, price, index, reason))
        self.remaining -= share

    def _stop_reason(self) -> ExitReason:
        return ExitReason.TRAILING_STOP if self.trailing else ExitReason.STOP_LOSS


def _clamped_atr(atr_frac: Number, rules: ExitRules[Number]) -> Number:
    stop = min(max(atr_frac * rules.stop_atr, rules.stop_min_frac), rules.stop_max_frac)
    return stop / rules.stop_atr
