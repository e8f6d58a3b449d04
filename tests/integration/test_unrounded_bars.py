"""Bars of unknown making, with prices no venue would quote: they can be imported and traded in a replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bn_ml.domain.market import Symbol, Timeframe
from data_manager.history import HistoryStore
from data_manager.importing import import_path
from tests.fakes.bar_builders import some_bars

SYMBOL = Symbol("ODD/USDT")


def test_prices_with_endless_decimals_are_imported_on_the_finest_grid(tmp_path: Path) -> None:
    bars = some_bars(400)
    odd = replace(bars, **{name: getattr(bars, name) * np.pi / 3 for name in ("open", "high", "low", "close")})
    columns = {name: pa.array(getattr(odd, name)) for name in ("open", "high", "low", "close", "volume")}
    stamps = pa.array(odd.open_time).cast(pa.timestamp("ms", tz="UTC"))
    file = tmp_path / "ODD_USDT-15m.parquet"
    pq.write_table(pa.table({"timestamp": stamps, **columns}), file)
    store = HistoryStore(tmp_path / "history")
    (outcome,) = import_path(file, store)
    stored = store.read(SYMBOL, Timeframe.M15)
    assert (outcome.refused, len(stored)) == (False, 400)
    assert np.abs(stored.close - odd.close).max() <= 5e-9
    assert (np.round(stored.close, 8) == stored.close).all()
