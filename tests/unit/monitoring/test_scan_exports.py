"""The newest scan as CSV and what is held as JSON: every column, refused symbols too, and never half a file."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.market import Quote, Symbol
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal, hold
from monitoring.export_files import write_atomically
from monitoring.exports import PositionsExport, ScanExports
from tests.fakes.book_builders import a_position

AT = datetime(2024, 3, 4, tzinfo=timezone.utc)
AAA, BBB = Symbol("AAA/USDC"), Symbol("BBB/USDC")


@dataclass(frozen=True)
class Cycle:
    scan: ScanReport | None


def bought() -> Opportunity:
    quote = Quote(AAA, Decimal("99.9"), Decimal("100.1"), Decimal(100), AT, "test", Decimal(1234), Decimal(10))
    signal = Signal(AAA, Action.BUY, Probabilities(0.1, 0.3, 0.6), AT, data_source="test")
    return Opportunity(signal, quote, score=7.5, ml_score=8, technical_score=6, momentum_score=5, correlation_btc=0.25)


def a_scan(*opportunities: Opportunity) -> ScanReport:
    return ScanReport(AT, opportunities, (Opportunity(hold(BBB, AT, "no_bundle", "test"), None),))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_scan_is_written_with_its_refusals(tmp_path: Path) -> None:
    ScanExports(tmp_path / "metrics", each_cycle=True)(Cycle(a_scan(bought())))
    scanned = table(tmp_path / "metrics" / "latest_scan.csv")
    assert [(row["symbol"], row["signal"], row["reason"]) for row in scanned] == [
        ("AAA/USDC", "BUY", ""),
        ("BBB/USDC", "HOLD", "no_bundle"),
    ]
    (row,) = table(tmp_path / "metrics" / "latest_opportunities.csv")
    assert row["probas"] == "0.100000|0.300000|0.600000"
    assert (row["global_score"], row["spread_pct"], row["depth_usdt"]) == ("7.5000", "0.00200000", "1234.00")
    assert (row["correlation_btc"], row["data_source"]) == ("0.2500", "test")


def test_a_scan_without_opportunities_leaves_an_empty_table(tmp_path: Path) -> None:
    exports = ScanExports(tmp_path, each_cycle=True)
    exports(Cycle(a_scan(bought())))
    exports(Cycle(a_scan()))
    assert table(tmp_path / "latest_opportunities.csv") == []
    assert (tmp_path / "latest_opportunities.csv").read_text().startswith("symbol,signal")


def test_without_each_cycle_only_a_flush_writes_the_newest_scan(tmp_path: Path) -> None:
    exports = ScanExports(tmp_path, each_cycle=False)
    exports(Cycle(a_scan(bought())))
    exports(Cycle(a_scan()))
    assert not list(tmp_path.iterdir())
    exports.flush()
    assert len(table(tmp_path / "latest_scan.csv")) == 1


def test_a_cycle_that_failed_before_its_scan_keeps_the_last_one(tmp_path: Path) -> None:
    exports = ScanExports(tmp_path, each_cycle=True)
    exports(Cycle(None))
    assert not list(tmp_path.iterdir())
    exports(Cycle(a_scan(bought())))
    exports(Cycle(None))
    assert len(table(tmp_path / "latest_scan.csv")) == 2


def test_a_file_that_cannot_be_replaced_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_atomically(path, "old")
    (tmp_path / ".table.csv.part").mkdir()
    with pytest.raises(OSError, match="part"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


@dataclass(frozen=True)
class Ended:
    at: datetime = AT
    mode: str = "paper"


def test_open_positions_are_written_in_the_shape_users_see(tmp_path: Path) -> None:
    path = tmp_path / "state" / "open_positions.json"
    held = [a_position()]
    export = PositionsExport(path, lambda: held, each_cycle=True)
    export(Ended())
    written = json.loads(path.read_text())
    assert (written["at"], written["mode"]) == ("2024-03-04T00:00:00.000Z", "paper")
    assert written["positions"] == [a_position().as_dict()]
    held.clear()
    export(Ended())
    assert json.loads(path.read_text())["positions"] == []


def test_positions_are_written_at_a_flush_alone_unless_each_cycle_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "open_positions.json"
    export = PositionsExport(path, list, each_cycle=False)
    export.flush()
    export(Ended())
    assert not path.exists()
    export.flush()
    assert path.exists()


def test_a_folder_that_cannot_be_written_is_told_once_and_disturbs_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics").write_text("a file where a folder should be")
    exports = ScanExports(tmp_path / "metrics", each_cycle=True)
    exports(Cycle(a_scan(bought())))
    exports(Cycle(a_scan(bought())))
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert [name in caplog.text for name in ("latest_scan.csv", "latest_opportunities.csv")] == [True, True]
