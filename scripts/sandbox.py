"""`bnml-sandbox`: serve a local exchange for rehearsals."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from scripts import cli

PURPOSE = (
    "A local exchange that speaks Binance Spot (REST, streams, WebSocket API), for rehearsing live trading without "
    "money. It serves this machine only, until it is stopped."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; gives 0 after SIGTERM or Ctrl-C, 2 on wrong usage or another address than loopback."""
    made = cli.parser("bnml-sandbox", PURPOSE)
    made.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default 127.0.0.1)")
    made.add_argument("--port", type=_port, default=9101, help="REST and WebSocket port, 0 for any (default 9101)")
    made.add_argument("--control-port", type=_port, help="port of the control route (default: the port after --port)")
    made.add_argument("--seed", type=int, default=42, help="of prices, keys and faults (default 42)")
    made.add_argument(
        "--source",
        default="synthetic",
        metavar="synthetic|replay:PATH",
        help="where prices come from: generated, or a folder of bars (default synthetic)",
    )
    made.add_argument("--from", dest="since", metavar="DATE", help="market time at start, ISO 8601 UTC")
    made.add_argument("--to", dest="until", metavar="DATE", help="market time at which the market stands still")
    made.add_argument("--quote", metavar="ASSET", help="list the markets in this quote asset, whatever the bars say")
    made.add_argument("--speed", type=float, default=1.0, help="market seconds per second (default 1)")
    made.add_argument(
        "--balance",
        action="append",
        default=[],
        metavar="ASSET=AMOUNT",
        help="paid in once, when the state is new; repeatable (default 1000 of the quote asset)",
    )
    made.add_argument("--bnb-fees", action="store_true", help="take commissions in BNB while there is some")
    made.add_argument(
        "--fault-profile",
        default="none",
        metavar="none|flaky|harsh|FILE",
        help="how often requests go wrong (default none)",
    )
    made.add_argument("--state", metavar="FILE", help="keep the account in this file and go on where it stands")
    return cli.run(_run, made, argv)


def _run(arguments: argparse.Namespace) -> int:
    # The server needs aiohttp and pyarrow: only a sandbox that runs loads them.
    from scripts.sandbox_session import run_session

    return run_session(arguments)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, got {value}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
