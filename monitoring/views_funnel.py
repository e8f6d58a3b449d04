"""Why there was no trade: how many symbols each gate stopped, with its commonest reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bn_ml.state_reader import CycleRow
from monitoring.plain_values import mapping, number, sequence
from monitoring.wording import percent

GATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Data", ("data_unavailable", "data_stale", "data_gap", "too_few_bars")),
    ("Bundle", ("no_bundle", "bundle_refused", "bundle_stale")),
    ("Features", ("feature_mismatch", "nan_feature", "model_error", "outlier")),
    ("Skill", ("no_skill",)),
    ("Probability", ("proba_below_min", "not_top_class", "margin_too_small", "hold_bias")),
    ("Net return", ("ev_not_positive",)),
    ("Ranking", ("signal_not_buy", "spread", "depth", "min_score", "min_confidence", "top_n")),
)
RISK = "Risk"
SENDING = "Sending"
_GATE_OF = {reason: gate for gate, reasons in GATES for reason in reasons}
_DIRECTIONS = ("BUY", "SELL")


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate: how many symbols reached it, how many it stopped, why most often, and which symbols those were."""

    name: str
    reached: int
    stopped: int
    top_reason: str = ""
    top_count: int = 0
    symbols: tuple[str, ...] = ()
    nearest: str = ""

    @property
    def passed(self) -> int:
        """How many went on."""
        return self.reached - self.stopped


@dataclass(frozen=True, slots=True)
class Funnel:
    """One cycle: `scanned` is what all gates stopped and what was sent, together."""

    cycle: int
    scanned: int
    sent: int
    gates: tuple[Gate, ...]

    def sentence(self) -> str:
        """Say in one line why there was no trade, or how many entries were sent."""
        if not self.scanned:
            return "Nothing was scanned in this cycle."
        if self.sent:
            return f"{self.sent} of {self.scanned} scanned symbols bought."
        worst = max(self.gates, key=lambda gate: gate.stopped)
        near = f" (nearest: {worst.nearest})" if worst.nearest else ""
        return f"No trade: {worst.stopped} of {self.scanned} stopped at {worst.name}, mostly {worst.top_reason}{near}."


@dataclass(frozen=True, slots=True)
class Refusals:
    """What stopped symbols over several cycles, commonest first."""

    cycles: int
    total: int
    reasons: tuple[tuple[str, int], ...]

    def sentence(self, trades: int) -> str:
        """Say what an empty book has to tell."""
        said = f"{trades or 'No'} trades. {self.cycles} cycles, {self.total:,} refusals"
        if not self.reasons:
            return f"{said}."
        reason, count = self.reasons[0]
        return f"{said}; most frequent: {reason} {percent(count / self.total, 0)}."


def gate_of(reason: str) -> str:
    """Give the gate a reason code belongs to; what the scan does not know is risk's."""
    return _GATE_OF.get(reason, RISK)


def counts_of(row: CycleRow) -> Mapping[str, int]:
    """Give how many symbols each reason stopped in a cycle; what is odd is left out."""
    found = {str(reason): number(count) for reason, count in mapping(row.data.get("funnel")).items()}
    return {reason: int(count) for reason, count in found.items() if math.isfinite(count) and count > 0}


def funnel_of(row: CycleRow, scan: object, least_buy: float) -> Funnel:
    """Give the funnel of a cycle; `scan` is the newest scan, `least_buy` the probability a buy needs."""
    counts = counts_of(row)
    rows = [mapping(item) for item in sequence(mapping(scan).get("rows"))]
    sent = max(row.opened_positions, 0)
    stopped_at: Counter[str] = Counter()
    for reason, count in counts.items():
        stopped_at[gate_of(reason)] += count
    others = max(len(rows) - sum(stopped_at.values()) - sent, 0)
    if others:
        stopped_at[SENDING] = others
    scanned = left = sum(stopped_at.values()) + sent
    gates = []
    for name in (*(gate for gate, _ in GATES), RISK, SENDING):
        if name == SENDING and not stopped_at[name]:
            continue
        gates.append(_gate(name, left, stopped_at[name], counts, rows, least_buy))
        left -= stopped_at[name]
    cycle = number(row.data.get("cycle"))
    return Funnel(row.id if math.isnan(cycle) else int(cycle), scanned, sent, tuple(gates))


def refusals_of(cycles: Iterable[CycleRow]) -> Refusals:
    """Add up the funnels of several cycles."""
    total: Counter[str] = Counter()
    seen = 0
    for row in cycles:
        seen += 1
        total.update(counts_of(row))
    reasons = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    return Refusals(seen, sum(total.values()), tuple(reasons))


def _gate(
    name: str,
    reached: int,
    stopped: int,
    counts: Mapping[str, int],
    rows: Sequence[Mapping[str, object]],
    least_buy: float,
) -> Gate:
    own = {reason: count for reason, count in counts.items() if gate_of(reason) == name}
    if not own:
        reason = "passed every gate, no order was sent" if stopped else ""
        return Gate(name, reached, stopped, reason, stopped)
    top = min(own, key=lambda reason: (-own[reason], reason))
    here = [item for item in rows if item.get("reason") in own]
    symbols = tuple(sorted(str(item.get("symbol")) for item in here))
    return Gate(name, reached, stopped, top, own[top], symbols, _nearest(top, here, least_buy))


def _nearest(reason: str, rows: Sequence[Mapping[str, object]], least_buy: float) -> str:
    """Say which symbol came nearest to passing where that is a matter of probability."""
    if gate_of(reason) != "Probability":
        return ""
    known = [(number(mapping(row.get("probas")).get("BUY")), str(row.get("symbol"))) for row in rows]
    best = max((pair for pair in known if math.isfinite(pair[0])), default=None)
    if best is None:
        return ""
    limit = f" < {least_buy:.2f}" if best[0] < least_buy else ""
    return f"{best[1]} {best[0]:.2f}{limit}"
