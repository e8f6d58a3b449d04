"""`bnml-data`: fill, check, mend and exchange the local history of bars."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import cli

TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d")
PURPOSES = {
    "download": "fetch closed bars from the exchange, going on where the history stands (no key needed)",
    "inspect": "show coverage, gaps, duplicates, bad bars, outliers and a hash; exit 1 if anything needs repair",
    "repair": "drop defective bars, fetch exactly the holes, mark those the exchange has no bars for",
    "list": "list the stored series",
    "import": "take in files of others: Parquet, CSV, JSON arrays, exchangeInfo, also gzipped, or folders of them",
    "export": "write one series to a CSV or Parquet file",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bnml-data`; gives 0 done, 1 failed or findings, 2 usage or configuration, 4 exchange unreachable."""
    return cli.run(_command, _parser(), argv)


def _parser() -> argparse.ArgumentParser:
    made = cli.parser("bnml-data", "local history of market bars")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in PURPOSES.items():
        sub = commands.add_parser(name, help=purpose, description=purpose)
        _common(sub)
        if name == "import":
            sub.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files or folders")
        if name in ("download", "export"):
            _span(sub)
        if name == "export":
            sub.add_argument("--out", type=Path, required=True, metavar="PATH", help="target, .csv or .parquet")
    return made


def _common(sub: argparse.ArgumentParser) -> None:
    hidden = argparse.SUPPRESS
    sub.add_argument("--config", type=Path, default=hidden, metavar="PATH", help="configuration file")
    sub.add_argument("--json", action="store_true", default=hidden, help="print the result as JSON")
    sub.add_argument(
        "--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default=hidden, help="how much is logged"
    )
    sub.add_argument("--history-dir", type=Path, metavar="DIR", help="the history (default data.history_dir)")
    sub.add_argument("--symbol", action="append", default=[], metavar="S", help="symbol such as BTC/USDC; repeatable")
    sub.add_argument("--timeframe", action="append", default=[], choices=TIMEFRAMES, help="repeatable")


def _span(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--from", dest="since", metavar="DATE", help="first instant, ISO 8601 UTC")
    sub.add_argument("--to", dest="until", metavar="DATE", help="end, exclusive, ISO 8601 UTC (default now)")
    sub.add_argument("--days", type=float, help="days before the end, instead of --from (download: 365)")


def _command(arguments: argparse.Namespace) -> int:
    # pyarrow and ccxt take most of a second: only a command that runs pays for them.
    from scripts import market_data_commands

    return market_data_commands.run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
