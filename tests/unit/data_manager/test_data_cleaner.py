from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Timeframe
from data_manager.bar_files import read_bars
from data_manager.bars import Bars, concat, empty_bars
from data_manager.data_cleaner import CleanReport, Defect, clean, last_continuous_piece
from tests.fakes.bar_builders import BTC, START_MS, same_bars, some_bars

QUARTER = Timeframe.M15.ms


def changed(bars: Bars, row: int, **values: float) -> Bars:
    columns = {name: getattr(bars, name).copy() for name in values}
    for name, value in values.items():
        columns[name][row] = value
    return replace(bars, **columns)


def defects(report: CleanReport) -> dict[Defect, int]:
    return {finding.defect: finding.count for finding in report.findings}


def test_sound_bars_come_back_as_they_are() -> None:
    bars = some_bars()
    report = clean(bars, now_ms=int(bars.close_time[-1]), judge_last_volume=True)
    assert report.bars is bars
    assert report.findings == ()


def test_shuffled_bars_are_put_in_order() -> None:
    bars = some_bars(60)
    report = clean(bars.take(np.random.default_rng(3).permutation(60)))
    assert same_bars(report.bars, bars)
    assert Defect.UNSORTED in defects(report)


def test_of_two_bars_of_one_time_the_later_word_stays() -> None:
    bars = some_bars(60)
    repeated = changed(bars.rows(20, 21), 0, volume=7.0)
    report = clean(concat([bars, repeated]))
    assert len(report.bars) == 60
    assert report.bars.volume[20] == 7.0
    assert defects(report)[Defect.DUPLICATE] == 1


@pytest.mark.parametrize(
    ("values", "defect"),
    [
        ({"high": 1.0}, Defect.IMPOSSIBLE),
        ({"low": 1e6}, Defect.IMPOSSIBLE),
        ({"low": 0.0}, Defect.NON_POSITIVE),
        ({"close": -3.0}, Defect.NON_POSITIVE),
        ({"volume": -1.0}, Defect.NON_POSITIVE),
        ({"open": np.nan}, Defect.NOT_FINITE),
        ({"volume": np.inf}, Defect.NOT_FINITE),
    ],
)
def test_a_bar_that_contradicts_itself_is_removed(values: dict[str, float], defect: Defect) -> None:
    report = clean(changed(some_bars(100), 40, **values))
    assert len(report.bars) == 99
    assert START_MS + 40 * QUARTER not in report.bars.open_time
    assert defects(report)[defect] == 1
    assert report.trusted


def test_a_bar_off_the_grid_is_removed() -> None:
    bars = some_bars(100)
    times = bars.open_time.copy()
    times[40] += 1
    report = clean(replace(bars, open_time=times))
    assert defects(report) == {Defect.MISALIGNED: 1, Defect.GAP: 1}


@pytest.mark.parametrize(("late_ms", "left"), [(-1, 99), (0, 100), (1, 100)])
def test_a_bar_that_has_not_closed_yet_is_removed(late_ms: int, left: int) -> None:
    bars = some_bars(100)
    assert len(clean(bars, now_ms=int(bars.close_time[-1]) + late_ms).bars) == left


@pytest.mark.parametrize(("share", "left"), [(0.019, 199), (0.021, 200), (0.0, 200)])
def test_a_last_bar_of_hardly_any_volume_counts_as_unfinished(share: float, left: int) -> None:
    bars = replace(some_bars(200), volume=np.full(200, 100.0))
    report = clean(changed(bars, 199, volume=share * 100), judge_last_volume=True)
    assert len(report.bars) == left


def test_a_large_move_without_a_halt_survives() -> None:
    bars = some_bars(100)
    factor = np.where(np.arange(100) >= 50, 3.13, 1.0)
    moved = replace(
        bars, **{name: np.round(getattr(bars, name) * factor, 4) for name in ("open", "high", "low", "close")}
    )
    report = clean(moved)
    assert report.bars is moved
    assert report.breaks == ()


@pytest.mark.parametrize(
    ("factor", "absent", "defect"),
    [
        (0.01, 5, Defect.REDENOMINATED),
        (1000.0, 5, Defect.REDENOMINATED),
        (0.6, 5, Defect.REPRICED),
        (0.8, 5, None),
        (1.0, 7 * 96 - 1, None),
        (1.0, 7 * 96, Defect.RELISTED),
    ],
)
def test_a_series_breaks_where_it_goes_on_as_another(factor: float, absent: int, defect: Defect | None) -> None:
    before = some_bars(60)
    price = before.close[-1] / 100.0 * factor
    after = some_bars(60, start_ms=int(before.close_time[-1]) + absent * QUARTER, seed=5)
    names = ("open", "high", "low", "close")
    scaled = replace(after, **{name: np.round(getattr(after, name) * price, 6) for name in names})
    report = clean(concat([before, scaled]))
    assert report.breaks == (() if defect is None else (60,))
    assert len(last_continuous_piece(report)) == (120 if defect is None else 60)
    assert defect is None or defects(report)[defect] == 1
    assert defects(report)[Defect.GAP] == absent


@pytest.mark.parametrize(("length", "runs"), [(3, 0), (4, 4)])
def test_silence_is_reported_and_kept(length: int, runs: int) -> None:
    volume = some_bars(60).volume.copy()
    volume[20 : 20 + length] = 0.0
    report = clean(replace(some_bars(60), volume=volume))
    assert len(report.bars) == 60
    assert defects(report).get(Defect.ZERO_VOLUME, 0) == runs


def test_an_empty_series_is_sound() -> None:
    assert clean(empty_bars(BTC, Timeframe.M15, "test"), now_ms=0, judge_last_volume=True).findings == ()


EXPECTED = {
    "AEURUSDT_1h.csv": ({Defect.REPRICED, Defect.GAP, Defect.PARTIAL_LAST}, 535),
    "AKROUSDT_1h.csv": (set(), 576),
    "BNXUSDT_1h.csv": ({Defect.REDENOMINATED, Defect.GAP}, 328),
    "BTC_USDT-5m_outage_2023-03-24.csv": ({Defect.ZERO_VOLUME, Defect.GAP}, 848),
    "CVC_USDT_long_halt-15m.parquet": ({Defect.RELISTED, Defect.GAP, Defect.ZERO_VOLUME}, 13216),
    "ETHUSDT_1h_partial_last_bar.csv": ({Defect.PARTIAL_LAST}, 239),
    "ETH_USDT-1h_2018_misaligned.json": ({Defect.MISALIGNED, Defect.GAP}, 909),
    "FTTUSDT_1h.csv": ({Defect.RELISTED, Defect.GAP}, 544),
    "KEYUSDT_1h.csv": ({Defect.RELISTED, Defect.GAP}, 232),
    "LTC_USDT-1h_2018_misaligned.json": ({Defect.MISALIGNED, Defect.GAP}, 909),
    "LUNAUSDT_1h.csv": ({Defect.RELISTED, Defect.GAP}, 1482),
    "QUICKUSDT_1h.csv": ({Defect.REDENOMINATED, Defect.GAP}, 352),
    "SUNUSDT_1h.csv": ({Defect.REDENOMINATED, Defect.GAP}, 356),
    "VIDTUSDT_1h.csv": ({Defect.REDENOMINATED, Defect.GAP}, 352),
    "fabricated_BTCUSDT_1h.csv": ({Defect.FABRICATED, Defect.IMPOSSIBLE, Defect.GAP}, 631),
    "fabricated_BTC_USDT-4h_nonpositive.csv": ({Defect.FABRICATED, Defect.NON_POSITIVE}, 1810),
    "fabricated_ETHUSDT_1h.csv": ({Defect.FABRICATED, Defect.MISALIGNED}, 0),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_defective_file_is_found_out(name: str, market_data: Path) -> None:
    report = clean(read_bars(market_data / "dirty" / name), judge_last_volume=True)
    expected, kept = EXPECTED[name]
    assert set(defects(report)) == expected
    assert len(last_continuous_piece(report)) == kept
    assert report.trusted is not name.startswith("fabricated")


def test_the_tripling_of_akro_survives(market_data: Path) -> None:
    bars = clean(read_bars(market_data / "dirty" / "AKROUSDT_1h.csv")).bars
    assert np.max(bars.close[1:] / bars.close[:-1]) > 1.9
    assert np.max(bars.high / bars.low) > 3


def test_no_clean_file_is_changed(market_data: Path) -> None:
    files = [
        file
        for folder in ("spot_2022_2023", "spot_2020_2021", "spot_1h_2021_2023", "spot_5m_2022_11", "spot_1m_2025_06")
        for file in sorted((market_data / folder).glob("*.parquet"))
    ]
    altered = []
    for file in files:
        bars = read_bars(file)
        report = clean(bars, judge_last_volume=True)
        if report.bars is not bars or report.breaks or not report.trusted:
            altered.append(file.name)
    assert len(files) == 90
    assert altered == []
