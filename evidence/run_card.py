"""What a run was: period, symbols, configuration, data, costs, what was left out and assumed. Kept as `run.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.codecs import from_json, to_json
from bn_ml.errors import StateError

RUN_FILE = "run.json"
BOOK_FILE = "book.db"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A symbol that took no part, or a part of the time only, and why."""

    symbol: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunCard:
    """One run. Fractions are per side of a trade; hashes are SHA-256 over canonical settings and over the bars read.

    `kind` is `backtest`, `paper` or `live`. `models` says in words which models decided. `seed` is None where nothing
    was drawn.
    """

    kind: str
    begin: datetime
    end: datetime
    quote_asset: str
    symbols: tuple[str, ...]
    models: str
    fees_frac: float
    slippage_frac: float
    config_sha256: str
    data_sha256: str = ""
    seed: int | None = None
    left_out: tuple[LeftOut, ...] = ()
    assumptions: tuple[str, ...] = ()


def write_run(folder: Path, run: RunCard) -> Path:
    """Write the card of a run into its folder."""
    path = folder / RUN_FILE
    path.write_text(json.dumps(json.loads(to_json(run)), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def read_run(folder: Path) -> RunCard:
    """Read the card of a run; raises `StateError` naming the file when it is absent or no card."""
    path = folder / RUN_FILE
    try:
        return from_json(RunCard, path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: no card of a run ({error}); give the folder that bnml-backtest wrote") from error
