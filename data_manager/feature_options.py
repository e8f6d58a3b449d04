"""Which columns are wanted, taken once from the model settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bn_ml.domain.market import Timeframe
from data_manager.feature_columns import FAMILIES, REPEATED_COLUMNS
from data_manager.multi_timeframe import HigherWindow

if TYPE_CHECKING:
    from bn_ml.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """Families to compute, higher timeframes with the columns repeated on them, and their window."""

    families: tuple[str, ...] = FAMILIES
    timeframes: tuple[Timeframe, ...] = (Timeframe.H1, Timeframe.H4, Timeframe.D1)
    prefix: str = "mtf"
    repeated: tuple[str, ...] = REPEATED_COLUMNS
    window: HigherWindow = field(default_factory=HigherWindow)

    def __post_init__(self) -> None:
        """Refuse names that are not declared."""
        unknown = [name for name in self.families if name not in FAMILIES]
        unknown += [name for name in self.repeated if name not in REPEATED_COLUMNS]
        if unknown:
            raise ValueError(f"unknown feature families or columns: {', '.join(unknown)}")

    @classmethod
    def of(cls, settings: ModelSettings | Mapping[str, object] | None) -> FeatureOptions:
        """Read model settings, or a partial mapping of them or of all settings; None gives the defaults."""
        if settings is None:
            return cls()
        if isinstance(settings, Mapping):
            from bn_ml.settings import model_section

            settings = model_section(settings)
        higher = settings.multi_timeframe
        return cls(
            families=_families(settings),
            timeframes=tuple(Timeframe(name) for name in higher.timeframes) if higher.enabled else (),
            prefix=higher.prefix,
            repeated=tuple(higher.feature_columns),
            window=HigherWindow(higher.min_bars_per_timeframe, higher.extra_bars_buffer),
        )


def _families(settings: ModelSettings) -> tuple[str, ...]:
    features = settings.features
    listed = FAMILIES if features.families == "all" else tuple(features.families)
    left_out = {name for name, wanted in _switches(settings).items() if not wanted}
    return tuple(name for name in listed if name not in left_out)


def _switches(settings: ModelSettings) -> dict[str, bool]:
    features = settings.features
    return {
        "market": features.market_context,
        "patterns": features.patterns,
        "mtf": settings.multi_timeframe.enabled,
    }
