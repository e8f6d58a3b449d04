"""What a bundle promised on its report block and how it does since it serves, as plain figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from pydantic import JsonValue

from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.retraining_triggers import LEAST_TRADES, Baseline, LiveRecord

DAY_MS = 86_400_000
_CLASSES = ("SELL", "HOLD", "BUY")
_FLOOR = 1e-15


class Said(Protocol):
    """What was said at the close of one bar."""

    @property
    def close_ms(self) -> int:
        """The close of the bar, ms."""

    @property
    def version(self) -> int | None:
        """The bundle that spoke, None when none could."""

    @property
    def sell(self) -> float:
        """Probability of SELL."""

    @property
    def hold(self) -> float:
        """Probability of HOLD."""

    @property
    def buy(self) -> float:
        """Probability of BUY."""


class Came(Protocol):
    """What came of it."""

    @property
    def close_ms(self) -> int:
        """The close of the bar the prediction was made at, ms."""

    @property
    def label(self) -> int:
        """SELL 0, HOLD 1, BUY 2."""


def baseline(metadata: BundleMetadata) -> Baseline:
    """Give what the report block promised; a figure from too few trades is unknown."""
    figures = metadata.validation_metrics
    loss, prior = _number(figures.get("log_loss")), _number(figures.get("prior_log_loss"))
    trades, won = _number(figures.get("trades")), _number(figures.get("win_rate"))
    return Baseline(
        loss_ratio=loss / prior if loss is not None and prior else None,
        win_rate=won if trades is not None and trades >= LEAST_TRADES else None,
    )


def live_record(
    metadata: BundleMetadata, said: Sequence[Said], came: Iterable[Came], results: Sequence[bool]
) -> LiveRecord:
    """Give how the bundle did: predictions of its version joined to their outcomes; `results` are trades won or not."""
    own = {item.close_ms: (item.sell, item.hold, item.buy) for item in said if item.version == metadata.version}
    pairs = sorted((item.close_ms, own[item.close_ms][item.label], item.label) for item in came if item.close_ms in own)
    shares = [metadata.base_rates.get(name, 0.0) for name in _CLASSES]
    loss = sum(_loss(chance) for _, chance, _ in pairs)
    prior = sum(_loss(shares[label]) for _, _, label in pairs)
    return LiveRecord(
        loss_ratio=loss / prior if prior > 0.0 else None,
        loss_days=(pairs[-1][0] - pairs[0][0]) / DAY_MS if pairs else 0.0,
        trades=len(results),
        wins=sum(results),
    )


def _loss(chance: float) -> float:
    return -math.log(max(chance, _FLOOR))


def _number(value: JsonValue | None) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
