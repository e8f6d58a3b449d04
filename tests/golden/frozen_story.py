"""A frozen market and what the bot makes of it: features, signals and journal, told as digests by name.

`python -m tests.golden.frozen_story` writes the digests anew; with `--market` it also generates the bars and fits the
ensemble anew (the bars come from the seeded generator of the tests).
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.domain.signals import Signal
from bn_ml.journal import export_journal
from data_manager.bars import FloatArray
from data_manager.feature_columns import BASE_TIMEFRAME
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import BatchFeatureFeed, MarketBasket
from data_manager.feed_checks import FeatureRow
from data_manager.history import HistoryStore, content_hash
from data_manager.sources.replay import ReplaySource
from ml_engine.bundle_store import BundleStore
from ml_engine.inference import CompactEnsemble
from ml_engine.predictor import MLEnsemblePredictor
from tests.fakes.feature_market import MONDAY_MS, STEP_MS
from tests.fakes.trading_world import (
    BENCHMARK,
    NAMES,
    REPLAYED,
    WARM,
    Lean,
    fitted_on,
    market_bars,
    run_replay,
    save_bundles,
    trading_settings,
)

FROZEN = Path(__file__).parent / "frozen"
DIGESTS = FROZEN / "digests.json"
DECIMALS = 9
Facts = dict[str, dict[str, str]]


def facts(folder: Path) -> Facts:
    """Live through the frozen market in `folder`; gives topic -> name -> digest."""
    store = HistoryStore(FROZEN)
    save_bundles(folder / "models", _frozen_lean(store), NAMES)
    (folder / "history").symlink_to(FROZEN)
    rows = _rows(folder)
    signals = _signals(folder, rows)
    run_replay(trading_settings(folder, folder / "book" / "bn_ml.db"))
    return {
        "bars": {str(name): content_hash(store.read(name, BASE_TIMEFRAME)) for name in NAMES},
        "features": _feature_digests(rows),
        "signals": {str(name): _digest(map(_plain, told)) for name, told in signals.items()},
        "journal": _journal_digests(folder),
    }


def stored() -> Facts:
    """Give the digests kept beside the market."""
    kept: Facts = json.loads(DIGESTS.read_text(encoding="utf-8"))
    return kept


def changes(now: Facts, before: Facts) -> list[str]:
    """Say what differs: one line for each name that is new, gone or other."""
    lines = []
    for topic in sorted({*now, *before}):
        new, old = now.get(topic, {}), before.get(topic, {})
        for name in sorted({*new, *old}):
            if new.get(name) != old.get(name):
                word = "gone" if name not in new else "new" if name not in old else "changed"
                lines.append(f"{topic}: {name} {word} ({old.get(name, '-')} -> {new.get(name, '-')})")
    return lines


def renew(*, market: bool) -> list[str]:
    """Write the digests anew, and the market too when asked; gives what differs from before."""
    before = stored() if DIGESTS.is_file() else {}
    if market:
        _freeze_market()
    with tempfile.TemporaryDirectory() as folder:
        now = facts(Path(folder))
    DIGESTS.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return changes(now, before)


def _freeze_market() -> None:
    markets = market_bars()
    for bars in markets:
        HistoryStore(FROZEN).write(bars)
    lean = fitted_on(markets[1])
    (FROZEN / "ensemble.bin").write_bytes(lean.ensemble.to_bytes())
    (FROZEN / "columns.json").write_text(json.dumps(lean.columns, indent=1) + "\n", encoding="utf-8")


def _frozen_lean(store: HistoryStore) -> Lean:
    """Give the frozen ensemble; its rows come from the frozen bars, so that no learning library is asked."""
    columns = tuple(json.loads((FROZEN / "columns.json").read_text(encoding="utf-8")))
    frame = FeatureEngineer().build({BASE_TIMEFRAME: store.read(NAMES[1], BASE_TIMEFRAME)})
    rows = np.stack([frame.column(name)[400:WARM] for name in columns], axis=1)
    return Lean(CompactEnsemble.from_bytes((FROZEN / "ensemble.bin").read_bytes()), columns, rows)


def _rows(folder: Path) -> dict[Symbol, list[FeatureRow]]:
    """Give every row of the replayed span."""
    end = from_ms(MONDAY_MS + (WARM + REPLAYED + 1) * STEP_MS)
    source = ReplaySource(folder / "history", SimulatedClock(end))
    feed = BatchFeatureFeed(FeatureEngineer(), source, basket=MarketBasket(tuple(sorted(NAMES)), BENCHMARK))
    instants = [from_ms(MONDAY_MS + (WARM + bar) * STEP_MS) for bar in range(REPLAYED)]
    return {name: [feed.row(name, instant) for instant in instants] for name in NAMES}


def _signals(folder: Path, rows: Mapping[Symbol, list[FeatureRow]]) -> dict[Symbol, list[Signal]]:
    settings = trading_settings(folder, folder / "bn_ml.db")
    bundles = BundleStore(settings.model.models_dir, feature_hash=FeatureEngineer().feature_hash)
    predictor = MLEnsemblePredictor(settings.model, bundles, as_of=True, fees_frac=settings.risk.fees_pct)
    return {name: [predictor.signal(row, from_ms(row.close_time_ms)) for row in told] for name, told in rows.items()}


def _feature_digests(rows: Mapping[Symbol, list[FeatureRow]]) -> dict[str, str]:
    columns = rows[BENCHMARK][0].columns
    table = np.stack([row.values for told in rows.values() for row in told])
    return {name: _array_digest(table[:, place]) for place, name in enumerate(columns)}


def _array_digest(values: FloatArray) -> str:
    rounded = np.round(values, DECIMALS) + 0.0
    rounded[np.isnan(rounded)] = np.nan
    return hashlib.sha256(rounded.astype("<f8").tobytes()).hexdigest()[:16]


def _plain(signal: Signal) -> str:
    told = (signal.action.value, signal.reason, signal.probabilities.as_dict(), signal.expected_net_frac)
    return json.dumps(_rounded(told))


def _journal_digests(folder: Path) -> dict[str, str]:
    """Digest the exported lines by table, and within the journal by kind of fact."""
    out = folder / "journal.jsonl"
    export_journal(folder / "book" / "bn_ml.db", out)
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for line in out.read_text(encoding="utf-8").splitlines():
        content = json.loads(line)
        name = " ".join(str(content[key]) for key in ("table", "kind") if key in content)
        # Row numbers are left out: one fact more would change every table after it.
        kept = {key: value for key, value in content.items() if key not in ("id", "seq")}
        groups[name].append(json.dumps(_rounded(kept), sort_keys=True))
    return {name: f"{len(lines)} {_digest(lines)}" for name, lines in groups.items()}


def _rounded(value: object) -> object:
    """Round every float inside, also inside JSON kept as text."""
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        return _rounded(json.loads(value))
    return value


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.stdout.write("\n".join(renew(market="--market" in sys.argv) or ["nothing changed"]) + "\n")
