"""How old data is, and when that is too old."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bn_ml.domain.market import iso
from bn_ml.settings import Settings
from monitoring.metrics import SILENT_S
from monitoring.plain_values import instant

Row = Mapping[str, object]
SYNTHETIC = "synthetic"


@dataclass(frozen=True, slots=True)
class Age:
    """The instant of some data, seen from `now`; `limit_s` is how old it may be."""

    now: datetime
    at: datetime | None
    limit_s: float = SILENT_S

    @property
    def seconds(self) -> float | None:
        """Seconds since then in whole seconds, never negative, None for no data."""
        return None if self.at is None else float(math.floor(max((self.now - self.at).total_seconds(), 0.0)))

    @property
    def is_stale(self) -> bool:
        """Whether the data is missing or too old."""
        return self.seconds is None or self.seconds > self.limit_s

    @property
    def text(self) -> str | None:
        """The instant as text."""
        return None if self.at is None else iso(self.at)

    def fields(self) -> dict[str, object]:
        """Give the fields of every answer."""
        return {
            "generated_at": iso(self.now),
            "data_at": self.text,
            "age_sec": self.seconds,
            "stale": self.is_stale,
        }


def last_sign(kept: Mapping[str, Row]) -> datetime | None:
    """Give when the bot was last heard of."""
    beats = [instant(kept.get(key, {}).get("at")) for key in ("heartbeat", "loop_beat")]
    return max((at for at in beats if at is not None), default=None)


def scan_limit_s(settings: Settings) -> float:
    """Give how old a scan may be."""
    return settings.monitoring.dashboard.scan_stale_sec


def mood_limit_s(settings: Settings) -> float:
    """Give how old a reading of the market may be."""
    return max(settings.monitoring.dashboard.scan_stale_sec, 3.0 * settings.santrade_intelligence.runtime_interval_sec)


def is_synthetic(source: object) -> bool:
    """Tell whether prices of a source are invented."""
    return isinstance(source, str) and source.startswith(SYNTHETIC)
