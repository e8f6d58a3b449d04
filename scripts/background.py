"""Work done elsewhere, handed to the loop at the start of a cycle: bundles to adopt, training to report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from bn_ml.domain.events import BundleAdopted, BundleRefused, Event
from ml_engine.predictor import MLEnsemblePredictor

log = logging.getLogger(__name__)


class BundleAdoption:
    """Adopts every verified new bundle, from whatever process it came.

    In a replay bundles are looked up as of the simulated instant instead, so there is nothing to adopt.
    """

    def __init__(self, predictor: MLEnsemblePredictor, *, live: bool) -> None:
        """Watch the predictor's bundles when `live`."""
        self._predictor = predictor
        self._live = live

    def collect(self, now: datetime) -> Sequence[Event]:
        """Adopt what has changed and give the facts."""
        if not self._live:
            return ()
        events: list[Event] = []
        for symbol, outcome in self._predictor.adopt(now):
            if isinstance(outcome, int):
                events.append(BundleAdopted(now, symbol, outcome))
                log.info("bundle adopted symbol=%s version=%s", symbol, outcome)
            else:
                events.append(BundleRefused(now, symbol, outcome))
                log.warning("bundle refused symbol=%s reason=%s", symbol, outcome)
        return tuple(events)
