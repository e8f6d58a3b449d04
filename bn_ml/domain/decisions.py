"""What risk says to an entry and what the exits ask for."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import ZERO
from bn_ml.domain.positions import ExitReason


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """One rule's finding: its reason code, what it measured, its limit, and whether it lets the entry pass."""

    rule: str
    value: float
    limit: float
    passed: bool


@dataclass(frozen=True, slots=True)
class RiskDecision:
    """Whether an entry may be made, at what size, and every rule's value and limit.

    `reason` is the code of the first rule that refused. `binding` names the limit that fixed the size. `reserved_quote`
    is what the buy may spend at most, fee and price allowance included.
    """

    approved: bool
    reason: str | None
    size_quote: Decimal = ZERO
    quantity: Decimal = ZERO
    stop: Decimal = ZERO
    target_1: Decimal = ZERO
    target_2: Decimal = ZERO
    planned_loss_quote: Decimal = ZERO
    binding: str = ""
    reserved_quote: Decimal = ZERO
    verdicts: tuple[RuleVerdict, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an approval without size or stop, and a refusal without reason."""
        if self.approved and not (self.quantity > 0 and self.stop > 0):
            raise ValueError("an approved entry needs a quantity and a stop")
        if not self.approved and self.reason is None:
            raise ValueError("a refusal needs a reason code")

    def as_dict(self) -> dict[str, object]:
        """Give the shape users see."""
        return {
            "approved": self.approved,
            "reason": self.reason,
            "adjusted_size_usdt": float(self.size_quote) if self.approved else 0.0,
            "binding": self.binding,
            "rules": [
                {"rule": verdict.rule, "value": verdict.value, "limit": verdict.limit, "passed": verdict.passed}
                for verdict in self.verdicts
            ],
        }


@dataclass(frozen=True, slots=True)
class ExitPlan:
    """What a position needs now: close everything for a reason, or raise the stop, or nothing.

    `new_stop` is always above the present stop. `trailing_active` and `max_price_seen` are the values to store once the
    plan has been carried out.
    """

    close_all: ExitReason | None = None
    new_stop: Decimal | None = None
    trailing_active: bool = False
    max_price_seen: Decimal = ZERO

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be sent."""
        return self.close_all is None and self.new_stop is None
