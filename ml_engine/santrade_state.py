"""Where the market intelligence left off, as one value, and the file that keeps it.

The file is a pickle of plain numbers, texts, lists and objects, so that `joblib.load` opens it for anyone who looks. It
is read here by an unpickler that knows no class and no function, so nothing in it can run.
"""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bn_ml.codecs import from_plain, to_plain
from bn_ml.errors import StateError
from ml_engine.mood_snapshot import MoodSnapshot
from ml_engine.online_classifier import FirstScaler, OnlineLogistic
from ml_engine.outcome_memory import OutcomeMemory

VERSION = 1
_BROKEN = (ValueError, KeyError, TypeError, LookupError, pickle.UnpicklingError, EOFError, AttributeError)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A vector whose outcome is not known yet: when (ms), the benchmark's price then, the band, the rule score."""

    at_ms: int
    price: float
    band: float
    score: float
    vector: tuple[float, ...]


@dataclass(slots=True, eq=False)
class IntelligenceState:
    """Everything the next reading depends on."""

    model: OnlineLogistic
    scaler: FirstScaler
    memory: OutcomeMemory = field(default_factory=OutcomeMemory)
    waiting: list[Waiting] = field(default_factory=list)
    next_sample_ms: int = 0
    smoothed: float = 0.0
    smoothing_begun: bool = False
    streak: int = 0
    lost: int = 0
    updates: int = 0
    last: MoodSnapshot | None = None

    @classmethod
    def fresh(cls, alpha: float, inputs: int) -> IntelligenceState:
        """Give a state that has seen nothing; an `alpha` of 0 learns with the smallest one."""
        return cls(OnlineLogistic(3, inputs, max(alpha, 1e-6)), FirstScaler(inputs))

    def to_plain(self) -> dict[str, object]:
        """Give everything exactly, as plain numbers, texts, lists and objects."""
        return {
            "version": VERSION,
            "model": self.model.as_dict(),
            "scaler": to_plain(self.scaler),
            "memory": self.memory.as_dict(),
            "waiting": to_plain(self.waiting),
            "next_sample_ms": self.next_sample_ms,
            "smoothed": self.smoothed,
            "smoothing_begun": self.smoothing_begun,
            "streak": self.streak,
            "lost": self.lost,
            "updates": self.updates,
            "last": to_plain(self.last),
        }

    @classmethod
    def from_plain(cls, content: object, alpha: float, inputs: int) -> IntelligenceState:
        """Read what `to_plain` gave; raises `StateError` for anything else or one of another alpha or shape."""
        try:
            return _read(content, alpha, inputs)
        except _BROKEN as error:
            raise StateError(f"the market intelligence's state is not readable: {error}") from error


class StateFile:
    """The state in a file of its own, replaced in one step."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is read yet."""
        self.path = path

    def load(self, alpha: float, inputs: int) -> IntelligenceState | None:
        """Give the state kept, None when there is no file; raises `StateError` when it is not readable."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self.path}: {error}") from error
        try:
            content = _PlainUnpickler(io.BytesIO(data)).load()
        except _BROKEN as error:
            raise StateError(f"{self.path}: not a plain state file: {error}") from error
        return IntelligenceState.from_plain(content, alpha, inputs)

    def save(self, state: IntelligenceState) -> None:
        """Write the state; raises `OSError` when it cannot be written, the old file stays."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.part")
        with part.open("wb") as file:
            file.write(pickle.dumps(state.to_plain(), protocol=4))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)

    def set_aside(self) -> Path:
        """Rename an unreadable file and give its new name."""
        aside = self.path.with_name(f"{self.path.name}.unreadable")
        self.path.replace(aside)
        return aside


class _PlainUnpickler(pickle.Unpickler):
    """Reads plain values only."""

    def find_class(self, module: str, name: str) -> object:
        """Refuse every class and function."""
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in a state file")


def _read(content: object, alpha: float, inputs: int) -> IntelligenceState:
    if not isinstance(content, Mapping) or content.get("version") != VERSION:
        raise ValueError("another version")
    state = IntelligenceState.fresh(alpha, inputs)
    model = OnlineLogistic.of(content["model"])
    if (model.alpha, model.n_inputs, model.n_classes) != (state.model.alpha, inputs, 3):
        raise ValueError("it was learned with another online_alpha or other inputs")
    state.model = model
    state.scaler = from_plain(FirstScaler, content["scaler"])
    if state.scaler.n_inputs != inputs or len(state.scaler.mean) not in (0, inputs):
        raise ValueError("the scaler knows other inputs")
    state.memory = OutcomeMemory.of(content["memory"])
    state.waiting = [from_plain(Waiting, item) for item in content["waiting"]]
    state.next_sample_ms, state.streak = int(content["next_sample_ms"]), int(content["streak"])
    state.lost, state.updates = int(content["lost"]), int(content["updates"])
    state.smoothed, state.smoothing_begun = float(content["smoothed"]), bool(content["smoothing_begun"])
    if not math.isfinite(state.smoothed):
        raise ValueError("the smoothed score is not finite")
    last = content["last"]
    state.last = None if last is None else from_plain(MoodSnapshot, last)
    return state
