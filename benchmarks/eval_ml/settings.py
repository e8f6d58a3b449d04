"""The settings a figure is measured under: the product's defaults, and the keys nearest to the labels of the beds."""

from __future__ import annotations

from collections.abc import Mapping

from bn_ml.settings import ModelSettings, RiskSettings

# No search: every training of the scoreboard uses the default parameters, which is what a first start ships.
_PLAIN: Mapping[str, object] = {"hpo": {"enabled": False}, "min_train_rows": 3000}

# Class = sign of the close 8 bars on against max(30 bp, 0.7 sigma96 sqrt 8); the open of the next bar is its entry.
_BED_LABELS: Mapping[str, object] = {
    "method": "threshold",
    "horizon_bars": 8,
    "volatility_multiplier": 0.7,
    "atr_multiplier": 1e-9,
    "min_move_pct": 0.003,
    "max_move_pct": 1.0,
    "round_trip_cost_multiplier": 1.0,
    "cost_safety_multiplier": 1.0,
}

# First barrier touched within 8 bars, max(30 bp, sigma96 sqrt 8) away.
_REAL_LABELS: Mapping[str, object] = {**_BED_LABELS, "method": "barrier", "volatility_multiplier": 1.0}

# A position held for the horizon: levels too far to be touched, sold by time after two hours.
_HORIZON_TRADES: Mapping[str, object] = {
    "stop_loss_pct": 0.2,
    "take_profit_1_pct": 0.9,
    "take_profit_2_pct": 0.99,
    "max_position_drawdown_pct": 1.0,
    "max_holding_period": 2,
}


def model_settings(labels: str = "default", **changes: object) -> ModelSettings:
    """Give model settings with `default`, `bed` (Bed P) or `real` (Bed R) labels."""
    own = {"default": {}, "bed": _BED_LABELS, "real": _REAL_LABELS}[labels]
    return ModelSettings.model_validate({**_PLAIN, "labeling": dict(own), **changes})


def risk_settings(trades: str = "default") -> RiskSettings:
    """Give risk settings with the `default` exits or `horizon` trades of 8 bars."""
    return RiskSettings.model_validate({} if trades == "default" else dict(_HORIZON_TRADES))
