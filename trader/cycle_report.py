"""What one turn of the loop did, for the cycle row, the log line and whoever watches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bn_ml.domain.account import AccountState, Control
from bn_ml.domain.signals import ScanReport
from trader.breakers import BreakerStatus


@dataclass(slots=True)
class CycleTally:
    """Counts gathered while a cycle runs."""

    opened: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    durations_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CycleReport:
    """A finished cycle. `scan` is None when the cycle ended before its scan did."""

    cycle: int
    at: datetime
    mode: str
    data_source: str
    quote_asset: str
    active_ratio: float
    control: Control
    account: AccountState
    scan: ScanReport | None
    open_positions: int
    opened: int
    full_closes: int
    partial_closes: int
    breakers: tuple[BreakerStatus, ...]
    refusals: Mapping[str, int]
    errors: tuple[str, ...]
    durations_ms: Mapping[str, float]

    @property
    def funnel(self) -> dict[str, int]:
        """Symbols stopped per reason code, by the scan and by risk together, most frequent first."""
        counts = Counter(self.scan.funnel if self.scan else {})
        counts.update(self.refusals)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def why_no_trade(self) -> str:
        """Give the last line of a cycle: what was scanned, what stopped it, what was opened."""
        scanned = len(self.scan.opportunities) + len(self.scan.refused) if self.scan else 0
        stopped = " ".join(f"{reason}={count}" for reason, count in self.funnel.items()) or "nothing"
        return (
            f"funnel scanned={scanned} opened={self.opened} open={self.open_positions} "
            f"equity={self.account.equity:.2f} state={self.control.state.value} stopped_by: {stopped}"
        )

    def data(self) -> dict[str, object]:
        """Give the fields of the cycle row."""
        mood = self.scan.mood if self.scan else None
        return {
            "cycle": self.cycle,
            "mode": self.mode,
            "data_source": self.data_source,
            "control_state": self.control.state.value,
            "open_positions": self.open_positions,
            "full_closes": self.full_closes,
            "partial_closes": self.partial_closes,
            "daily_pnl_pct": self.account.period_change_frac(self.account.day),
            "weekly_pnl_pct": self.account.period_change_frac(self.account.week),
            "equity": float(self.account.equity),
            "drawdown_pct": self.account.drawdown_frac,
            "exposure_pct": self.account.exposure_frac,
            "market_intelligence_signal": mood.signal if mood else None,
            "market_intelligence_confidence": mood.confidence if mood else None,
            "market_intelligence_score": mood.score if mood else None,
            "market_intelligence_regime": mood.regime.value if mood else None,
            "market_intelligence_profile": mood.profile if mood else None,
            "breakers": [item.name for item in self.breakers if item.tripped],
            "funnel": self.funnel,
            "durations_ms": dict(self.durations_ms),
            "errors": list(self.errors),
        }
