"""The result of a training run as text: one line per symbol, skill beside the return slope, reasons below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_engine.training_progress import SymbolOutcome

_HEAD = ("symbol", "verdict", "v", "rows", "skill (95 % from)", "return slope (97.5 % from)", "log-loss/prior", "ECE",
         "BUY said/usual", "weights", "s")  # fmt: skip


def table(outcomes: Sequence[SymbolOutcome]) -> str:
    """Give the lines for people."""
    rows = [_HEAD, *(_cells(outcome) for outcome in outcomes)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for outcome in outcomes:
        lines += [f"{outcome.symbol}: {reason}" for reason in outcome.reasons]
        lines += _challenge(outcome)
        if outcome.files and outcome.result != "kept_champion":
            lines.append(
                f"{outcome.symbol}: {outcome.recipe} recipe, {outcome.calibration} map, files in {outcome.files}"
            )
    return "\n".join(lines)


def _cells(outcome: SymbolOutcome) -> tuple[str, ...]:
    if not outcome.rows:
        return (outcome.symbol, outcome.verdict, *[""] * (len(_HEAD) - 3), f"{outcome.seconds:.0f}")
    return (
        outcome.symbol,
        outcome.verdict,
        str(outcome.version),
        str(outcome.rows),
        _bounded(outcome.skill, 100.0, "%"),
        _bounded(outcome.slope, 1.0, ""),
        f"{_number(outcome.log_loss)}/{_number(outcome.prior_log_loss)}",
        _number(outcome.ece),
        f"{_share(outcome.buy_precision)}/{_share(outcome.buy_base_rate)}",
        " ".join(f"{name} {weight:.2f}" for name, weight in sorted(outcome.weights.items())),
        f"{outcome.seconds:.0f}",
    )


def _challenge(outcome: SymbolOutcome) -> list[str]:
    """Say how the challenger stood against the champion, nothing where they were not compared."""
    told = outcome.challenge
    if not told.get("compared"):
        return []
    percent = " ".join(
        f"{100.0 * float(told[name] or 0.0):+.2f}%" for name in ("difference", "difference_lower", "difference_upper")
    )
    return [
        f"{outcome.symbol}: log-loss {told['challenger_loss']:.4f} against {told['champion_loss']:.4f} of version "
        f"{told['champion_version']} on {told['rows']} rows ({told['recorded_rows']} recorded live), "
        f"difference over the class shares' loss with its 10 % and 90 % bounds: {percent}"
    ]


def _bounded(estimate: tuple[float | None, ...], scale: float, unit: str) -> str:
    value, lower = (estimate[place] if len(estimate) > place else None for place in (0, 1))
    if value is None:
        return "-"
    bound = "-" if lower is None else f"{lower * scale:+.2f}{unit}"
    return f"{value * scale:+.2f}{unit} ({bound})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
