"""`bnml-doctor`: check this installation and name each fix."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from scripts import cli

PURPOSES = {
    "check": "one line per finding, OK, WARN or FAIL, each with its fix (the default)",
    "init": "write a commented configs/bot.yaml and a .env; nothing is overwritten",
    "config": "show every effective value and where it comes from",
    "explain": "print every gate of the last (or a given) decision about a symbol",
    "backups": "list, create, verify or restore backups",
}
BACKUP_ACTIONS = ("list", "create", "verify", "restore")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bnml-doctor`; gives 0 done, 1 failed, 2 wrong usage, configuration or a part that is not built yet."""
    return cli.run(_command, _parser(), argv)


def _parser() -> argparse.ArgumentParser:
    made = cli.parser("bnml-doctor", "check this installation and name each fix")
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    subs = {name: commands.add_parser(name, help=text, description=text) for name, text in PURPOSES.items()}
    for sub in subs.values():
        _common(sub)
    subs["check"].add_argument("--live", action="store_true", help="also what trading with real money needs")
    subs["explain"].add_argument("symbol", metavar="SYMBOL", help="such as BTC/USDC")
    subs["explain"].add_argument(
        "--at", type=_instant, metavar="T", help="the decision in force at this instant (ISO 8601 UTC; default: last)"
    )
    subs["backups"].add_argument("action", choices=BACKUP_ACTIONS)
    subs["backups"].add_argument("id", nargs="?", metavar="ID", help="the backup to verify or restore")
    return made


def _common(sub: argparse.ArgumentParser) -> None:
    hidden = argparse.SUPPRESS
    sub.add_argument("--config", type=Path, default=hidden, metavar="PATH", help="configuration file")
    sub.add_argument("--json", action="store_true", default=hidden, help="print the result as JSON")
    sub.add_argument(
        "--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default=hidden, help="how much is logged"
    )


def _command(arguments: argparse.Namespace) -> int:
    if arguments.command == "explain":
        # Reading bundles and bars takes numpy and pydantic: only an explanation pays for them.
        from scripts.explain_command import run

        return run(arguments)
    return cli.complain(f"bnml-doctor {arguments.command or 'check'} is not built yet", cli.USAGE)


def _instant(text: str) -> datetime:
    from bn_ml.domain.market import from_iso

    try:
        return from_iso(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not an instant like 2023-06-01T12:15: {text!r}") from error


if __name__ == "__main__":
    raise SystemExit(main())
