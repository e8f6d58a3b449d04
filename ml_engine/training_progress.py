"""What a training run tells while it works, as values and as lines of JSON between processes.

Only the standard library is imported: the trading process reads these without loading any learning library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

TRAINED, FAILED, UP_TO_DATE, KEPT = "trained", "failed", "up_to_date", "kept_champion"
COMPLETED, WITH_ERRORS, STOPPED = "completed", "completed_with_errors", "stopped"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """A step began: which symbol (its number from 1 of `total`), which phase, how many are done, seconds left."""

    symbol: str
    phase: str
    index: int
    total: int
    completed: int
    eta_s: float | None = None


@dataclass(frozen=True, slots=True)
class SymbolOutcome:
    """How one symbol ended: `result` trained, failed, up_to_date or kept_champion, with verdict and main figures.

    `skill` and `slope` hold value, lower, upper; a bound nobody knows is None. `challenge` says how the new ensemble
    stood against the bundle in service; a kept champion's figures are those of the challenger it held off.
    """

    symbol: str
    result: str
    tradable: bool = False
    reasons: tuple[str, ...] = ()
    version: int = 0
    recipe: str = ""
    rows: int = 0
    skill: tuple[float | None, ...] = ()
    slope: tuple[float | None, ...] = ()
    log_loss: float | None = None
    prior_log_loss: float | None = None
    ece: float | None = None
    buy_precision: float | None = None
    buy_base_rate: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    calibration: str = ""
    files: str = ""
    seconds: float = 0.0
    challenge: Mapping[str, str | float | int | bool | None] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.result == TRAINED:
            return "tradable" if self.tradable else "no skill"
        return {FAILED: "refused", KEPT: "champion kept"}.get(self.result, "up to date")


@dataclass(frozen=True, slots=True)
class TrainingFinished:
    """The run ended: `status` completed, completed_with_errors, failed or stopped."""

    status: str
    trained: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    up_to_date: tuple[str, ...] = ()
    error: str = ""
    kept_champion: tuple[str, ...] = ()


Message = TrainingProgress | SymbolOutcome | TrainingFinished
_KINDS: Mapping[str, Callable[..., Message]] = {
    kind.__name__: kind for kind in (TrainingProgress, SymbolOutcome, TrainingFinished)
}


def encode(message: Message) -> str:
    """Write a message as one line of JSON."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)}, allow_nan=False)


def decode(line: str) -> Message:
    """Read what `encode` wrote; raises `ValueError` on anything else.

    >>> decode(encode(TrainingFinished("completed", trained=("BTC/USDC",)))).trained
    ('BTC/USDC',)
    """
    content = json.loads(line)
    if not isinstance(content, dict) or content.get("kind") not in _KINDS:
        raise ValueError(f"not a training message: {line[:80]!r}")
    kind = _KINDS[content.pop("kind")]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"not a training message: {error}") from error
