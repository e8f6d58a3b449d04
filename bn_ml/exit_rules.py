"""The exit rules of the configuration, in the number type the user of the rules works with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from bn_ml.domain.exit_levels import ExitRules, Number
from bn_ml.settings_risk import RiskSettings


def exit_rules(risk: RiskSettings, number: Callable[[float], Number]) -> ExitRules[Number]:
    """Give the rules; `number` is `bn_ml.domain.market.exact` for money and `float` for labels."""
    return ExitRules(
        stop_frac=number(risk.stop_loss_pct),
        target_1_frac=number(risk.take_profit_1_pct),
        target_2_frac=number(risk.take_profit_2_pct),
        target_1_share=number(risk.take_profit_1_fraction),
        target_2_share=number(risk.take_profit_2_fraction),
        hard_drawdown_frac=number(risk.max_position_drawdown_pct),
        fee_frac=number(risk.fees_pct),
        trailing_activation_frac=number(risk.trailing_activation_pct),
        trailing_frac=number(risk.trailing_distance_pct),
        trailing_atr=number(risk.trailing_atr_mult),
        stop_atr=number(risk.stop_loss_atr_mult),
        target_1_atr=number(risk.take_profit_1_atr_mult),
        target_2_atr=number(risk.take_profit_2_atr_mult),
        stop_min_frac=number(risk.stop_min_pct),
        stop_max_frac=number(risk.stop_max_pct),
        max_holding=timedelta(hours=risk.max_holding_period),
        by_atr=risk.exit_mode == "atr",
        trailing_enabled=risk.trailing_enabled,
        trailing_after_tp1=risk.trailing_after == "tp1",
        break_even_after_tp1=risk.breakeven_after_tp1,
    )
