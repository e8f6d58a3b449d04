"""The figures of a training as plain values for `metadata.json` and the metrics table; unknown numbers are null."""

from __future__ import annotations

import math
from dataclasses import asdict

from pydantic import JsonValue

from ml_engine.metrics import CLASS_NAMES, ClassScore, Estimate, MoneyFigures
from ml_engine.trainer import Trained
from ml_engine.training_report import ENSEMBLE, Figures


def validation_metrics(trained: Trained) -> dict[str, JsonValue]:
    """Give the report-block figures of the vote, its money, and each member's own figures."""
    own = figures_of(trained.figures[ENSEMBLE])
    members: dict[str, JsonValue] = {
        name: figures_of(figures) for name, figures in trained.figures.items() if name != ENSEMBLE
    }
    pbo = None if trained.tuned is None else trained.tuned.mean_pbo
    return {**own, **money_of(trained.money), "pbo": pbo, "members": members, "rows": len(trained.blocks.report)}


def figures_of(figures: Figures) -> dict[str, JsonValue]:
    """Give one forecaster's figures."""
    return {
        "log_loss": number(figures.log_loss),
        "prior_log_loss": number(figures.prior_log_loss),
        "skill": number(figures.skill.value),
        "skill_interval": interval(figures.skill),
        "accuracy": number(figures.accuracy),
        "always_hold_accuracy": number(figures.classes["HOLD"].base_rate),
        "classes": {name: _class_of(figures.classes[name]) for name in CLASS_NAMES},
        "f1_macro": number(figures.f1_macro),
        "confusion_matrix": figures.confusion.tolist(),
        "ece": number(figures.ece),
        "ece_noise_floor": number(figures.ece_floor),
        "auc_direction": number(figures.auc_direction),
    }


def money_of(money: MoneyFigures) -> dict[str, JsonValue]:
    """Give the net figures of the vote's entries."""
    return {
        "trades": money.trades,
        "gross_return": number(money.gross_return),
        "net_return": number(money.net_return),
        "net_total": number(money.net_total),
        "sharpe_net": number(money.sharpe_net),
        "sortino_net": number(money.sortino_net),
        "max_drawdown": number(money.max_drawdown),
        "turnover": number(money.turnover),
        "random_entry": {"net_return": number(money.random_entry_net), "p": number(money.random_entry_p)},
        "dsr": number(money.dsr),
        "win_rate": number(money.win_rate) if money.trades else None,
        "pbo": None,
    }


def interval(estimate: Estimate) -> list[JsonValue]:
    """Give lower and upper bound."""
    return [number(estimate.lower), number(estimate.upper)]


def number(value: float) -> float | None:
    """Give a finite float, else null."""
    return float(value) if math.isfinite(value) else None


def _class_of(score: ClassScore) -> dict[str, JsonValue]:
    return {name: number(value) for name, value in asdict(score).items()}
