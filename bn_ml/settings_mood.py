"""The market-mood section (SanTradeIntelligence) and the numbers of its profiles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationInfo, field_validator

from bn_ml.settings_base import FRACTION, FilePath, Section, SymbolText, at_least, between, key

ProfileName = Literal["aggressive", "neutral", "defensive"]


class ProfileNumbers(Section):
    """All numbers of one profile; the class's own defaults are the defensive ones."""

    min_pairs: int = key(12, "least symbols for a mood", at_least(1), "symbols")
    bullish_threshold: float = key(0.30, "market score called bullish", between(0, 1), "score")
    bearish_threshold: float = key(-0.28, "market score called bearish", between(-1, 0), "score")
    atr_risk_off_ratio: float = key(0.014, "mean ATR over price called risk-off", between(0, 1), FRACTION)
    spread_risk_off_pct: float = key(0.0012, "mean spread called risk-off", between(0, 0.05), FRACTION)
    min_directional_confidence: float = key(0.78, "least confidence of a direction", between(0, 1), FRACTION)
    min_directional_streak: int = key(2, "scans in a row that agree", at_least(1), "scans")
    online_target_hold_band_pct: float = key(
        0.0005, "smaller moves of the benchmark count as neutral", between(0, 0.05), FRACTION
    )
    min_samples_for_model: int = key(36, "outcomes before the online model takes part", at_least(1), "samples")
    model_blend_weight: float = key(0.30, "weight of the online model", between(0, 1), FRACTION)
    signal_smoothing_alpha: float = key(0.22, "weight of the newest score", between(0, 1), FRACTION)
    breadth_weight: float = key(0.46, "weight of breadth", between(0, 1), FRACTION)
    momentum_weight: float = key(0.20, "weight of momentum", between(0, 1), FRACTION)
    ml_weight: float = key(0.18, "weight of the model part", between(0, 1), FRACTION)
    global_weight: float = key(0.16, "weight of the whole market's score", between(0, 1), FRACTION)
    risk_penalty_weight: float = key(0.42, "weight of risk pressure", between(0, 1), FRACTION)
    score_floor: float = key(-0.28, "market score below which entries stop", between(-1, 1), "score")


_TABLE: Mapping[str, tuple[float, ...]] = {
    "aggressive": (
        *(6, 0.14, -0.14, 0.026, 0.0030, 0.58, 1, 0.0004, 12, 0.65, 0.45),
        *(0.50, 0.22, 0.20, 0.08, 0.22, -0.45),
    ),
    "neutral": (
        *(8, 0.22, -0.22, 0.018, 0.0018, 0.68, 2, 0.0006, 24, 0.45, 0.30),
        *(0.48, 0.22, 0.20, 0.10, 0.30, -0.35),
    ),
    "defensive": tuple(ProfileNumbers().model_dump().values()),
}


def _numbers(name: str) -> dict[str, float]:
    return dict(zip(ProfileNumbers.model_fields, _TABLE[name], strict=True))


class ProfilesSettings(Section):
    """Numbers of the three profiles; keys left out keep the profile's own value."""

    aggressive: ProfileNumbers = ProfileNumbers.model_validate(_numbers("aggressive"))
    neutral: ProfileNumbers = ProfileNumbers.model_validate(_numbers("neutral"))
    defensive: ProfileNumbers = ProfileNumbers()

    @field_validator("*", mode="before")
    @classmethod
    def _over_own_defaults(cls, value: object, info: ValidationInfo) -> object:
        """Lay a partial profile over that profile's defaults."""
        return {**_numbers(info.field_name or ""), **value} if isinstance(value, Mapping) else value


class SantradeIntelligenceSettings(Section):
    """Market mood read from all scanned symbols; numbers given here win over the profile's."""

    enabled: bool = key(True, "compute the market mood")
    profile: ProfileName = key("defensive", "set of numbers used")
    runtime_interval_sec: int = key(300, "least time between two computations", at_least(15), "seconds")
    benchmark_symbol: SymbolText = key(
        "BTC/USDC", "symbol whose moves are learned", allowed="symbol such as BTC/<quote>"
    )
    online_alpha: float = key(0.0005, "penalty of the online model", between(0, 1))
    persist_every_updates: int = key(1, "updates between two writes of its state", at_least(1), "updates")
    state_path: FilePath = key(Path("artifacts/state/santrade_intelligence.joblib"), "file of its state")
    filter_entries: bool = key(True, "let the mood filter entries")
    scale_size: bool = key(True, "let the mood shrink sizes")
    min_pairs: int | None = key(None, "least symbols for a mood; null keeps the profile's", at_least(1), "symbols")
    bullish_threshold: float | None = key(
        None, "score called bullish; null keeps the profile's", between(0, 1), "score"
    )
    bearish_threshold: float | None = key(
        None, "score called bearish; null keeps the profile's", between(-1, 0), "score"
    )
    atr_risk_off_ratio: float | None = key(
        None, "ATR called risk-off; null keeps the profile's", between(0, 1), FRACTION
    )
    spread_risk_off_pct: float | None = key(
        None, "spread called risk-off; null keeps the profile's", between(0, 0.05), FRACTION
    )
    min_directional_confidence: float | None = key(
        None, "least confidence of a direction; null keeps the profile's", between(0, 1), FRACTION
    )
    min_directional_streak: int | None = key(None, "scans that agree; null keeps the profile's", at_least(1), "scans")
    online_target_hold_band_pct: float | None = key(
        None, "moves that count as neutral; null keeps the profile's", between(0, 0.05), FRACTION
    )
    min_samples_for_model: int | None = key(
        None, "outcomes before the online model counts; null keeps the profile's", at_least(1), "samples"
    )
    model_blend_weight: float | None = key(
        None, "weight of the online model; null keeps the profile's", between(0, 1), FRACTION
    )
    signal_smoothing_alpha: float | None = key(
        None, "weight of the newest score; null keeps the profile's", between(0, 1), FRACTION
    )
    breadth_weight: float | None = key(None, "weight of breadth; null keeps the profile's", between(0, 1), FRACTION)
    momentum_weight: float | None = key(None, "weight of momentum; null keeps the profile's", between(0, 1), FRACTION)
    ml_weight: float | None = key(None, "weight of the model part; null keeps the profile's", between(0, 1), FRACTION)
    global_weight: float | None = key(
        None, "weight of the whole market; null keeps the profile's", between(0, 1), FRACTION
    )
    risk_penalty_weight: float | None = key(
        None, "weight of risk pressure; null keeps the profile's", between(0, 1), FRACTION
    )
    score_floor: float | None = key(None, "score that stops entries; null keeps the profile's", between(-1, 1), "score")
    profiles: ProfilesSettings = ProfilesSettings()

    def numbers(self) -> ProfileNumbers:
        """Give the numbers in force: the chosen profile's, with the overrides of this section."""
        chosen = {
            "aggressive": self.profiles.aggressive,
            "neutral": self.profiles.neutral,
            "defensive": self.profiles.defensive,
        }[self.profile]
        given = {name: getattr(self, name) for name in ProfileNumbers.model_fields}
        return chosen.model_copy(update={name: value for name, value in given.items() if value is not None})
