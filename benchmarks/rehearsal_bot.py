"""The live command itself, with entries drawn by seed where the models would speak.

Honest models rarely find a trade worth its costs, and a rehearsal is about orders, not about forecasts. Everything else
is the product: wiring, preflight, scanner, risk, orders, protection, reconciliation.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime

from benchmarks.rehearsal_start import SEED_VARIABLE, SHARE_VARIABLE
from bn_ml.domain.market import Symbol, Timeframe, to_ms
from bn_ml.domain.signals import Action, Probabilities, Signal
from data_manager.feed_checks import FeatureRow
from ml_engine.predictor import MLEnsemblePredictor
from scripts import run_bot, wiring

DECISIVE, UNDECIDED = Probabilities(0.1, 0.2, 0.7), Probabilities(0.1, 0.8, 0.1)


def wants(seed: str, symbol: Symbol, now: datetime, share: float) -> bool:
    """Tell whether the draw buys a symbol in the minute of `now`; the same in every process."""
    minute = to_ms(now) // Timeframe.M1.ms
    digest = hashlib.sha256(f"{seed}|{symbol}|{minute}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class DrawingPredictor(MLEnsemblePredictor):
    """Says BUY for a seeded share of symbols and minutes, HOLD for the rest."""

    def signal(self, row: FeatureRow, now: datetime) -> Signal:
        """Give the drawn signal of a row."""
        bought = wants(os.environ[SEED_VARIABLE], row.symbol, now, float(os.environ[SHARE_VARIABLE]))
        return Signal(
            row.symbol,
            Action.BUY if bought else Action.HOLD,
            DECISIVE if bought else UNDECIDED,
            now,
            base_rate=0.3,
            buy_threshold=0.4,
            expected_net_frac=0.01,
            data_source=row.source,
        )

    def without_bundle(self, symbol: Symbol, now: datetime) -> str | None:
        """Miss nothing: a draw needs no bundle."""
        del symbol, now

    def priced(self, signal: Signal, spread_frac: float) -> Signal:
        """Give the signal as it is: a draw expects nothing."""
        del spread_frac
        return signal


def main(argv: Sequence[str]) -> int:
    """Run the live command with the draw in its models' place; gives the exit code."""
    wiring.MLEnsemblePredictor = DrawingPredictor
    return run_bot.main(argv)
