"""The benchmark's newest closed base bars, as far as the market mood looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_manager.bars import Bars

SIGMA_BARS = 96
_LATEST_MS = 3 * 900_000


@dataclass(frozen=True, slots=True)
class BenchmarkView:
    """Newest close and its time (ms), deviation of log returns over 96 bars (None under 97), closes by close time."""

    newest_ms: int
    newest_close: float
    sigma: float | None
    closes: Mapping[int, float]

    @classmethod
    def of(cls, bars: Bars) -> BenchmarkView | None:
        """Look at closed bars, oldest first; None when there are none."""
        if not len(bars):
            return None
        tail = bars.close[-(SIGMA_BARS + 1) :]
        sigma = float(np.diff(np.log(tail)).std()) if len(tail) == SIGMA_BARS + 1 else None
        closes = dict(zip(bars.close_time.tolist(), bars.close.tolist(), strict=True))
        return cls(int(bars.close_time[-1]), float(bars.close[-1]), sigma, closes)

    def close_at(self, at_ms: int) -> float | None:
        """Give the close at an instant or at the first bar up to 45 minutes later; None where bars are missing."""
        for late in range(0, _LATEST_MS + 1, 900_000):
            if at_ms + late in self.closes:
                return self.closes[at_ms + late]
        return None
