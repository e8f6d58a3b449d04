"""One decision explained, as a value and as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bn_ml.domain.market import iso
from scripts.explain_words import NET_RETURN_GATE, Meaning, advice_of, meaning_of, skill_words

CLASSES = ("SELL", "HOLD", "BUY")
Interval = tuple[float, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate of the decision; a number that was not finite is None."""

    reason: str
    value: float | None
    limit: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Member:
    """One member's vote: its weight, why it has it, and its probabilities SELL, HOLD, BUY where they are known."""

    name: str
    weight: float
    reason: str = ""
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """The bundle behind a decision. `skill` and `slope` are value, lower and upper bound; `age_h` at the decision.

    `thresholds` are the bundle's own decision parameters beside the ones in force, which the configuration may set.
    """

    version: int
    trained_at: datetime
    age_h: float
    tradable: bool
    reasons: tuple[str, ...]
    calibration: str
    base_rates: Mapping[str, float]
    members: tuple[Member, ...]
    skill: Interval | None = None
    slope: Interval | None = None
    slope_p_value: float | None = None
    thresholds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What skill and slope prove together."""
        return skill_words(self.skill[1] if self.skill else None, self.slope[1] if self.slope else None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What risk said when an entry was last tried."""

    at: datetime
    verdict: str
    detail: str


@dataclass(frozen=True, slots=True)
class ScanVerdict:
    """What a scan made of a symbol: why it was refused, None when it was not, and what was measured where a number was.

    It stands for all later scans of the same bar up to the next verdict.
    """

    at: datetime
    reason: str | None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision about a symbol at the close of a bar, with everything that led to it.

    `probabilities` are SELL, HOLD, BUY, empty when the models were not asked. `origin` says where the decision was
    found; `bundle_problem` why there is no bundle to show, `risk_problem` why nothing is known of entries.
    """

    symbol: str
    close_at: datetime
    origin: str
    action: str
    reason: str | None
    probabilities: tuple[float, ...] = ()
    gates: tuple[Gate, ...] = ()
    bundle: BundleFacts | None = None
    bundle_problem: str = ""
    attempt: Attempt | None = None
    risk_problem: str = ""
    notes: tuple[str, ...] = ()
    scan: ScanVerdict | None = None

    @property
    def first_refusal(self) -> str | None:
        """The first gate that failed, None when all passed."""
        return next((gate.reason for gate in self.gates if not gate.passed), None)

    @property
    def expected_net(self) -> float | None:
        """The lower bound of the expected net return as a fraction, None when it was not worked out."""
        return next((gate.value for gate in self.gates if gate.reason == NET_RETURN_GATE), None)


def as_text(told: Explanation) -> str:
    """Give the explanation as lines: verdict, probabilities, gates, expected net, bundle, risk."""
    head = f"{told.symbol} at {iso(told.close_at)}: {told.action}" + (f" ({told.reason})" if told.reason else "")
    parts = [
        [head, f"source: {told.origin}", *(f"note: {note}" for note in told.notes)],
        _probability_lines(told),
        _gate_lines(told),
        _bundle_lines(told),
        [*_scan_lines(told), _risk_line(told)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def as_dict(told: Explanation) -> dict[str, object]:
    """Give the explanation as plain values for JSON."""
    return {
        "symbol": told.symbol,
        "at": iso(told.close_at),
        "source": told.origin,
        "action": told.action,
        "reason": told.reason,
        "advice": advice_of(told.reason, told.symbol) if told.reason else "",
        "probas": dict(zip(CLASSES, told.probabilities, strict=False)),
        "base_rates": dict(told.bundle.base_rates) if told.bundle else {},
        "gates": [
            {"reason": gate.reason, "value": gate.value, "limit": gate.limit, "passed": gate.passed}
            for gate in told.gates
        ],
        "first_refusal": told.first_refusal,
        "expected_net_pct": told.expected_net,
        "bundle": _bundle_dict(told.bundle) if told.bundle else None,
        "bundle_problem": told.bundle_problem,
        "scan": _scan_dict(told.scan) if told.scan else None,
        "risk": _attempt_dict(told.attempt) if told.attempt else None,
        "risk_problem": told.risk_problem,
        "notes": list(told.notes),
    }


def _probability_lines(told: Explanation) -> list[str]:
    if not told.probabilities:
        return ["probabilities: the models were not asked"]
    usual = told.bundle.base_rates if told.bundle else {}
    rows = [("class", "said", "usual")]
    for name, said in zip(CLASSES, told.probabilities, strict=True):
        rows.append((name, f"{said:.1%}", f"{usual[name]:.1%}" if name in usual else "-"))
    sell, _, buy = told.probabilities
    return [*_aligned(rows), f"the gates below judge {'BUY' if buy >= sell else 'SELL'}, the likelier direction"]


def _gate_lines(told: Explanation) -> list[str]:
    lines = []
    if told.gates:
        rows: list[tuple[str, ...]] = [("", "gate", "measured", "limit", "what is measured")]
        rows += [_gate_cells(gate, first=gate.reason == told.first_refusal) for gate in told.gates]
        lines = _aligned(rows)
    if told.reason is not None and told.reason != told.first_refusal:
        where = "after its gates" if told.gates else "before any gate"
        lines.append(f"stopped {where}: {told.reason}")
    advice = advice_of(told.reason, told.symbol) if told.reason else ""
    if advice:
        lines.append(f"what would change it: {advice}")
    if told.expected_net is not None:
        lines.append(f"expected net return, lower bound: {told.expected_net:+.4%} of the notional")
    return lines


def _gate_cells(gate: Gate, *, first: bool) -> tuple[str, ...]:
    meaning = meaning_of(gate.reason, gate.limit)
    mark = "ok" if gate.passed else "NO"
    limit = f"{meaning.side} {_number(gate.limit, meaning)}"
    told = meaning.measures + (_off_note(gate, meaning) if gate.passed else "")
    return mark, gate.reason, _number(gate.value, meaning), limit, told + ("  <- first refusal" if first else "")


def _off_note(gate: Gate, meaning: Meaning) -> str:
    """Say so when a gate let pass what its limit forbids, because it is switched off."""
    if gate.value is None or gate.limit is None:
        return ""
    kept = {
        "at least": gate.value >= gate.limit,
        "at most": gate.value <= gate.limit,
        "above": gate.value > gate.limit,
    }.get(meaning.side, True)
    return "" if kept else " (gate switched off)"


def _number(value: float | None, meaning: Meaning) -> str:
    return "not finite" if value is None else meaning.form.format(value)


def _bundle_lines(told: Explanation) -> list[str]:
    bundle = told.bundle
    if bundle is None:
        return [f"bundle: {told.bundle_problem or 'none'}"]
    lines = [
        f"bundle: version {bundle.version}, trained {iso(bundle.trained_at)}, {bundle.age_h:.1f} h old, "
        f"{'tradable' if bundle.tradable else 'not tradable'}; calibration {bundle.calibration}",
        f"skill against the class shares {_interval(bundle.skill, '{:+.2%}')}; slope of trade return on score "
        f"{_interval(bundle.slope, '{:+.3f}')}" + _p_value(bundle),
        f"in words: {bundle.words}",
        *([f"thresholds: {_thresholds(bundle)}"] if bundle.thresholds else []),
    ]
    lines += [f"not tradable: {reason}" for reason in bundle.reasons]
    rows: list[tuple[str, ...]] = [("member", "vote", *CLASSES, "")]
    for member in bundle.members:
        said = [f"{value:.3f}" for value in member.probabilities] or ["-"] * len(CLASSES)
        rows.append((member.name, f"{member.weight:.2f}", *said, member.reason))
    return lines + _aligned(rows)


def _thresholds(bundle: BundleFacts) -> str:
    told = (
        f"{name} {own:g}" + ("" if own == used else f" (configured {used:g})")
        for name, (own, used) in bundle.thresholds.items()
    )
    return ", ".join(told)


def _interval(interval: Interval | None, form: str) -> str:
    if interval is None:
        return "not recorded"
    value, lower, upper = (None if number is None else form.format(number) for number in interval)
    return f"{value} [{lower or 'unbounded'}, {upper or 'unbounded'}]"


def _p_value(bundle: BundleFacts) -> str:
    return "" if bundle.slope_p_value is None else f" (p = {bundle.slope_p_value:.3g})"


def _scan_lines(told: Explanation) -> list[str]:
    scan = told.scan
    if scan is None:
        return []
    if scan.reason is None:
        return [f"scan: passed from {iso(scan.at)} on"]
    numbers = "" if scan.value is None or scan.limit is None else f": {scan.value:.6g} against {scan.limit:.6g}"
    return [f"scan: refused from {iso(scan.at)} on, {scan.reason}{numbers}"]


def _risk_line(told: Explanation) -> str:
    attempt = told.attempt
    if told.risk_problem:
        return f"risk: unknown, {told.risk_problem}"
    if attempt is None:
        return "risk: no entry was tried"
    return f"risk: last entry tried {iso(attempt.at)}: {attempt.verdict}, {attempt.detail}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _bundle_dict(bundle: BundleFacts) -> dict[str, object]:
    return {
        "version": bundle.version,
        "trained_at": iso(bundle.trained_at),
        "age_h": round(bundle.age_h, 3),
        "tradable": bundle.tradable,
        "reasons": list(bundle.reasons),
        "calibration": bundle.calibration,
        "skill": bundle.skill,
        "slope": bundle.slope,
        "slope_p_value": bundle.slope_p_value,
        "words": bundle.words,
        "decision_params": {name: own for name, (own, _) in bundle.thresholds.items()},
        "thresholds_in_force": {name: used for name, (_, used) in bundle.thresholds.items()},
        "members": [
            {
                "name": member.name,
                "weight": member.weight,
                "reason": member.reason,
                "probas": dict(zip(CLASSES, member.probabilities, strict=False)),
            }
            for member in bundle.members
        ],
    }


def _scan_dict(scan: ScanVerdict) -> dict[str, object]:
    return {"at": iso(scan.at), "reason": scan.reason, "value": scan.value, "limit": scan.limit}


def _attempt_dict(attempt: Attempt) -> dict[str, object]:
    return {"at": iso(attempt.at), "verdict": attempt.verdict, "detail": attempt.detail}
