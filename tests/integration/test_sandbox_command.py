"""`bnml-sandbox` as a process: what it prints, what it refuses, and what it remembers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import ccxt
import pytest

from bn_ml.config import load_settings
from scripts.sandbox import main
from tests.fakes.sandbox_process import ROOT, SandboxProcess

BTC = "BTC/USDC"


OLD = ("--from", "2024-02-01T00:00:00Z")


def adjusted(sandbox: SandboxProcess) -> ccxt.binance:
    client = sandbox.client()
    client.load_time_difference()
    client.load_markets()
    return client


def test_the_stock_client_trades_and_a_killed_sandbox_goes_on_where_it_stood(tmp_path: Path) -> None:
    state = str(tmp_path / "sandbox.db")
    sandbox = SandboxProcess.start("--state", state, "--balance", "USDC=5000", "--balance", "BNB=1", "--bnb-fees", *OLD)
    client = adjusted(sandbox)
    bought = client.create_order(BTC, "market", "buy", 0.01)
    stop = client.create_order(
        BTC, "market", "sell", 0.01, None, {"stopLossPrice": client.price_to_precision(BTC, bought["average"] * 0.9)}
    )
    before = (sandbox.get("account")["balances"], sandbox.now_ms())
    sandbox.kill()

    again = SandboxProcess.start("--state", state, "--balance", "USDC=77", *OLD)
    client = adjusted(again)
    balances, now_ms = again.get("account")["balances"], again.now_ms()
    status = client.fetch_order(stop["id"], BTC)["status"]
    audit = again.get("audit")

    assert bought["fee"]["currency"] == "BNB"
    assert balances == before[0]
    assert now_ms >= before[1]
    assert status == "open"
    assert len(audit["trades"]) == len(bought["trades"])
    assert audit["violations"] == []
    assert again.stop() == 0


def test_recorded_bars_are_replayed_in_another_quote_asset_from_a_date_on(market_data: Path) -> None:
    sandbox = SandboxProcess.start(
        "--source", f"replay:{market_data / 'spot_2022_2023'}", "--quote", "USDC", "--from", "2022-11-08T00:00:00Z"
    )
    client = adjusted(sandbox)
    quarters = client.fetch_ohlcv(BTC, "15m", limit=1000)
    order = client.create_order(BTC, "market", "buy", 0.01)

    assert sandbox.get("account")["balances"]["USDC"]
    assert BTC in sandbox.symbols
    assert len(quarters) == 1000
    assert 15_000 < order["average"] < 25_000
    sandbox.process.send_signal(signal.SIGINT)
    assert sandbox.ended() == 0


def test_the_printed_words_are_a_configuration_the_bot_accepts(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.sandbox", "--port", "0", *OLD], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    while not (lines and lines[-1].startswith("control route")):
        lines.append(process.stdout.readline())
        assert lines[-1]
    process.terminate()
    process.communicate(timeout=20)

    text = "".join(lines)
    start, end = text.index("exchange:"), text.index("# in its environment")
    config = tmp_path / "bot.yaml"
    config.write_text(text[start:end], encoding="utf-8")
    settings = load_settings(config, environ={}).settings

    assert str(settings.exchange.base_url).startswith("http://127.0.0.1:")
    assert str(settings.exchange.ws_url).startswith("ws://127.0.0.1:")
    assert "BINANCE_API_KEY=sandbox" in text
    assert "BINANCE_API_SECRET=" in text
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--host", "0.0.0.0"), 2, "this machine only"),
        (("--host", "example.org"), 2, "this machine only"),
        (("--source", "imagination"), 2, "--source"),
        (("--source", "replay:/nowhere/at/all"), 1, "no folder"),
        (("--balance", "USDC"), 2, "--balance"),
        (("--balance", "USDC=-1"), 2, "--balance"),
        (("--fault-profile", "mild"), 2, "fault profile"),
        (("--speed", "0"), 2, "--speed"),
        (("--from", "yesterday"), 2, "--from"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: tuple[str, ...], code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", "0", *arguments]) == code

    told = capsys.readouterr().err
    assert word in told
    assert "Traceback" not in told


def test_a_port_in_use_is_an_error_not_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1]), *OLD]) == 1

    assert "address already in use" in capsys.readouterr().err


def test_the_harsh_profile_spoils_requests_and_breaks_no_books() -> None:
    sandbox = SandboxProcess.start("--fault-profile", "harsh", "--seed", "3", "--speed", "5", *OLD)
    client = sandbox.client()
    client.options["timeDifference"] = client.milliseconds() - sandbox.now_ms()
    failures = 0
    for number in range(80):
        try:
            client.privatePostOrder(
                {
                    "symbol": "BTCUSDC",
                    "side": "BUY",
                    "type": "MARKET",
                    "quoteOrderQty": "6",
                    "newClientOrderId": f"n{number}",
                }
            )
        except ccxt.BaseError:
            failures += 1
    audit = sandbox.get("audit")
    sandbox.stop()

    assert failures > 4
    assert sum(audit["faults"].values()) > 4
    assert audit["violations"] == []
