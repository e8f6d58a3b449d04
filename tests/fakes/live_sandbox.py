"""A sandbox whose time is the wall's, put back in order between the tests that share it."""

from __future__ import annotations

from tests.fakes.sandbox_process import SandboxThread, now_wall_ms

BALANCES = {"USDC": "1000", "BTC": "0.5", "BNB": "1"}


def started(**options: object) -> SandboxThread:
    """Open one on the wall's time."""
    return SandboxThread.start(frozen=False, start_ms=now_wall_ms(), **options)


def restored(exchange: SandboxThread) -> SandboxThread:
    """Give it back as if nothing had happened to it."""
    keys = {"may_trade": True, "may_read": True, "may_withdraw": False, "revoked": False}
    exchange.post("account", keys=keys, maintenance=False)
    exchange.post("faults", clear=True, profile="none")
    exchange.post("reset", balances=BALANCES)
    for symbol in exchange.get("symbols"):
        exchange.post("symbols", symbol=symbol, status="TRADING")
    exchange.world.line.offset_ms = 0
    # The starts of many tests fall into one minute, which one address may not weigh down so.
    exchange.world.dialect.meter("127.0.0.1").charge(-6000, exchange.now_ms())
    return exchange
