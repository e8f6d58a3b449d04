"""The training child as the supervisor sees it. When it is begun again is up to the triggers of retraining."""

from __future__ import annotations

from ml_engine.retraining import SILENT_S, TrainingSupervisor

# The loop itself ends a silent child first; this is for a child the loop does not get round to.
MARGIN_S = 120.0


class TrainingHealth:
    """A `Worker` that rests while nothing is trained; a child that is stuck, or that nobody listens to, is killed."""

    def __init__(self, trainer: TrainingSupervisor) -> None:
        """Look after the child of `trainer`."""
        self.name = "training"
        self.stale_after_s = SILENT_S + MARGIN_S
        self._trainer = trainer

    def start(self) -> None:
        """Leave the next run to whoever decides when one is due."""

    def stop(self, timeout_s: float) -> None:
        """Kill a child under way."""
        del timeout_s
        self._trainer.kill()

    def is_alive(self) -> bool:
        """Tell whether every child that runs is listened to."""
        return not self._trainer.is_unheard

    def beat_age_s(self) -> float:
        """Give how long a child under way has said nothing."""
        return self._trainer.silence_s
