"""`bnml-data` as users run it: real files, and an exchange on loopback instead of the network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Timeframe
from data_manager.history import HistoryStore
from scripts.market_data import main
from scripts.tables import table
from tests.fakes.bar_builders import BTC, START_MS, same_bars, some_bars
from tests.fakes.loopback_exchange import LoopbackExchange

QUARTER = Timeframe.M15.ms
SPAN = ["--from", "2024-03-04", "--to", "2024-03-05"]


@pytest.fixture
def exchange() -> Iterator[LoopbackExchange]:
    with LoopbackExchange(START_MS + 400 * QUARTER) as running:
        running.serve(some_bars(400))
        yield running


class Desk:
    """A folder with a configuration that leads to the loopback exchange, and the command run in it."""

    def __init__(self, folder: Path, url: str, capture: pytest.CaptureFixture[str]) -> None:
        self.history = folder / "history"
        self.store = HistoryStore(self.history)
        self._config = folder / "bot.yaml"
        self._config.write_text(f"exchange:\n  base_url: {url}\n  retry_attempts: 0\n")
        self._capture = capture

    def run(self, command: str, *arguments: object) -> tuple[int, list[dict[str, object]]]:
        common = ["--config", str(self._config), "--history-dir", str(self.history), "--json"]
        code = main([command, *common, *(str(item) for item in arguments)])
        out = self._capture.readouterr().out
        return code, json.loads(out)["series"] if out else []


@pytest.fixture
def desk(tmp_path: Path, exchange: LoopbackExchange, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, exchange.url, capsys)


def test_a_download_is_stored_and_goes_on_later(desk: Desk, exchange: LoopbackExchange) -> None:
    code, rows = desk.run("download", "--symbol", "BTC/USDC", *SPAN)
    assert (code, rows[0]["added"]) == (0, 96)
    code, rows = desk.run("download", "--symbol", "BTC/USDC", "--from", "2024-03-04", "--to", "2024-03-06")
    assert (code, rows[0]["added"]) == (0, 96)
    assert same_bars(desk.store.read(BTC, Timeframe.M15), some_bars(400).rows(0, 192))
    starts = [int(query["startTime"]) for path, query in exchange.requests if path == "/api/v3/klines"]
    assert starts == [START_MS, START_MS + 96 * QUARTER]


def test_an_unknown_symbol_fails_without_stopping_the_others(desk: Desk) -> None:
    code, rows = desk.run("download", "--symbol", "XRP/USDC", "--symbol", "BTC/USDC", *SPAN)
    assert code == 1
    assert [row["added"] for row in rows] == [0, 96]
    assert "does not know the symbol" in str(rows[0]["error"])


def test_an_unreachable_exchange_is_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path, "http://127.0.0.1:9", capsys)
    assert desk.run("download", "--symbol", "BTC/USDC", *SPAN) == (4, [])


def test_holes_are_inspected_and_repaired(desk: Desk) -> None:
    bars = some_bars(400, source="binance_sandbox")
    desk.store.write(bars.take(np.delete(np.arange(400), [50, 51, 52])))
    code, rows = desk.run("inspect")
    assert (code, rows[0]["missing"], rows[0]["sound"]) == (1, 3, False)
    code, rows = desk.run("repair")
    assert (code, rows[0]["added"], rows[0]["holes_filled"]) == (0, 3, 1)
    assert desk.run("inspect")[0] == 0
    assert same_bars(desk.store.read(BTC, Timeframe.M15), bars)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_exported_imports_as_the_same_bars(suffix: str, desk: Desk, tmp_path: Path) -> None:
    desk.store.write(some_bars(200))
    target = tmp_path / f"BTC_USDC-15m{suffix}"
    code, rows = desk.run("export", "--symbol", "BTC/USDC", "--timeframe", "15m", "--out", target)
    assert (code, rows[0]["bars"]) == (0, 200)
    desk.store.path(BTC, Timeframe.M15).unlink()
    assert desk.run("import", target)[0] == 0
    assert same_bars(desk.store.read(BTC, Timeframe.M15), some_bars(200))


def test_a_part_can_be_exported(desk: Desk, tmp_path: Path) -> None:
    desk.store.write(some_bars(400))
    code, rows = desk.run("export", "--out", tmp_path / "part.csv", *SPAN)
    assert (code, rows[0]["bars"]) == (0, 96)


def test_refused_files_are_named_and_make_exit_code_1(desk: Desk, tmp_path: Path) -> None:
    bad = tmp_path / "BTCUSDT_1h.csv"
    bad.write_text("EventType,TradeId\ntrade,1\n")
    code, rows = desk.run("import", bad)
    assert code == 1
    assert "trade or depth stream" in str(rows[0]["notes"])


def test_the_list_shows_every_series(desk: Desk) -> None:
    assert desk.run("list") == (0, [])
    desk.store.write(some_bars(10))
    code, rows = desk.run("list")
    assert code == 0
    assert (rows[0]["bars"], rows[0]["first"]) == (10, "2024-03-04T00:00:00.000Z")


@pytest.mark.parametrize(
    "arguments",
    [
        ("download", "--symbol", "BTCUSDC"),
        ("download", "--symbol", "BTC/USDC", "--from", "yesterday"),
        ("download", "--symbol", "BTC/USDC", "--from", "2024-03-05", "--to", "2024-03-04"),
        ("download", "--symbol", "BTC/USDC", "--from", "2024-03-05", "--days", "3"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], desk: Desk) -> None:
    assert desk.run(*arguments) == (2, [])


def test_exporting_nothing_is_exit_code_1(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("export", "--out", tmp_path / "x.csv") == (1, [])


def test_exporting_to_an_unknown_kind_is_exit_code_2(desk: Desk, tmp_path: Path) -> None:
    desk.store.write(some_bars(10))
    assert desk.run("export", "--out", tmp_path / "x.xlsx") == (2, [])


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom scripts.market_data import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pyarrow', 'ccxt', 'pandas', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(1 if heavy else 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_terminal_gets_columns_and_a_pipe_gets_tabs() -> None:
    rows = [{"symbol": "BTC/USDC", "bars": 12, "sound": True}, {"symbol": "A/B", "bars": 3456, "sound": False}]
    assert table(rows, terminal=True).splitlines() == [
        "symbol    bars  sound",
        "BTC/USDC    12  yes",
        "A/B       3456  no",
    ]
    assert table(rows, terminal=False).splitlines()[2] == "A/B\t3456\tno"
    assert table([], terminal=True) == "nothing"


def test_a_corrupt_file_is_named_and_the_others_are_still_listed(desk: Desk) -> None:
    desk.store.write(some_bars(10))
    broken = desk.history / "ETH_USDC" / "15m.parquet"
    broken.parent.mkdir()
    broken.write_bytes(b"PAR1 broken")
    code, rows = desk.run("list")
    found = {str(row["symbol"]): row for row in rows}
    assert code == 1
    assert (found["BTC/USDC"]["bars"], found["BTC/USDC"]["problem"]) == (10, "")
    assert "download it again" in str(found["ETH/USDC"]["problem"])
