"""The last search for parameters of each symbol, remembered also where its ensemble did not replace the champion."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.bundle_store import BundleStore
from ml_engine.training_locks import training_folder
from ml_engine.tuning_memory import hpo_part, previous_search, trials_part
from ml_engine.tuning_records import Tuned

log = logging.getLogger(__name__)


def last_search(store: BundleStore, symbol: Symbol) -> Tuned | None:
    """Give the newer of the searches its bundle and a challenger that lost remember; None without a sound bundle."""
    try:
        metadata = store.load(symbol).metadata
    except ModelError:
        return None
    found = [tuned for tuned in (previous_search(metadata), _kept(store.models_dir, symbol, metadata)) if tuned]
    return max(found, key=lambda tuned: tuned.searched_at, default=None)


def keep_search(models_dir: Path, symbol: Symbol, tuned: Tuned | None) -> None:
    """Remember the search of a challenger that lost, so that the next one need not search again."""
    if tuned is None:
        return
    path = _path(models_dir, symbol)
    fresh = path.with_name(f"{path.name}.part")
    try:
        fresh.write_text(json.dumps({"hpo": hpo_part(tuned, ""), "trials": trials_part(tuned)}), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        log.warning("the search is not remembered symbol=%s: %s", symbol, error)


def _kept(models_dir: Path, symbol: Symbol, metadata: BundleMetadata) -> Tuned | None:
    try:
        content = json.loads(_path(models_dir, symbol).read_text(encoding="utf-8"))
        parts = {name: content[name] for name in ("hpo", "trials")}
        return previous_search(metadata.model_copy(update=parts))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _path(models_dir: Path, symbol: Symbol) -> Path:
    return training_folder(models_dir) / f"{symbol.key}.search.json"
