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
    """Run `bnml-doctor`; gives 0 done, 1 failed, 2 wrong usage or configuration."""
    return cli.run(_command, _parser(), argv)


def _parser() -> argparse.ArgumentParser:
    made = cli.parser("bnml-doctor", "check this installation and name each fix")
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    subs = {name: commands.add_parser(name, help=text, description=text) for name, text in PURPOSES.items()}
    for sub in subs.values():
        _common(sub)
    subs["check"].add_argument("--live", action="store_true", help="also what trading with real money needs")
    subs["check"].add_argument("--no-test-alert", action="store_true", help="send no test alert")
    subs["config"].add_argument("key", nargs="?", metavar="KEY", help="only this key or section, such as risk")
    subs["config"].add_argument("--schema", action="store_true", help="print the JSON Schema of the file, for editors")
    subs["explain"].add_argument("symbol", metavar="SYMBOL", help="such as BTC/USDC")
    subs["explain"].add_argument(
        "--at", type=_instant, metavar="T", help="the decision in force at this instant (ISO 8601 UTC; default: last)"
    )
    subs["backups"].add_argument("action", choices=BACKUP_ACTIONS)
    subs["backups"].add_argument("id", nargs="?", metavar="ID", help="the backup to verify or restore")
    subs["backups"].add_argument(
        "--models", action="store_true", help="restore the bundles as well, also where there are some"
    )
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
    if arguments.command == "init":
        from scripts.doctor_init import run as run_init

        return run_init(arguments)
    if arguments.command == "config":
        from scripts.doctor_config import run as run_config

        return run_config(arguments)
    if arguments.command in (None, "check"):
        from scripts.doctor_check import run as run_check

        return run_check(arguments)
    from scripts.doctor_backups import run as run_backups

    return run_backups(arguments)


def _instant(text: str) -> datetime:
    from bn_ml.domain.market import from_iso

    try:
        return from_iso(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not an instant like 2023-06-01T12:15: {text!r}") from error


if __name__ == "__main__":
    raise SystemExit(main())
