"""`bnml-kill-switch`: cancel everything and sell what the bot holds, whatever the bot itself is doing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts import cli

if TYPE_CHECKING:
    from decimal import Decimal

    from bn_ml.domain.market import Symbol
    from scripts.kill_switch_request import Outcome, Request

DEFAULT_TIMEOUT_S = 60.0
EPILOG = """exit codes: 0 flat; 3 only dust is left; 4 not flat, also when the exchange cannot be reached (run again);
2 usage or configuration. --status and --resume: 0 done, 1 failed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Halt and flatten, show the state, or resume; gives the exit code."""
    made = cli.parser("bnml-kill-switch", "Stop the bot's trading at once: cancel its orders and sell what it bought.")
    made.epilog = EPILOG
    mode = made.add_mutually_exclusive_group()
    mode.add_argument("--paper", action="store_true", help="the book is the paper book, or nothing is done")
    mode.add_argument("--live", action="store_true", help="the book is a live book, or nothing is done")
    made.add_argument("--symbol", metavar="S", help="only this symbol; the bot then makes no entries (REDUCE_ONLY)")
    made.add_argument("--yes", action="store_true", help="without a usable book, work from the exchange's own records")
    made.add_argument("--dry-run", action="store_true", help="show what would be done; nothing is sent or written")
    made.add_argument("--status", action="store_true", help="show the control state, the bot and what is held")
    made.add_argument("--resume", action="store_true", help="go back to NORMAL; needs --reason")
    made.add_argument("--reason", metavar="TEXT", help="why trading may go on; kept in the book")
    made.add_argument("--timeout", type=_seconds, default=DEFAULT_TIMEOUT_S, metavar="S", help="longest wait (60)")
    return cli.run(_run, made, argv)


def _run(arguments: argparse.Namespace) -> int:
    from bn_ml.errors import ConfigError

    if arguments.status and arguments.resume:
        return cli.complain("--status and --resume exclude each other", cli.USAGE)
    request = _request(arguments)
    if arguments.resume:
        return _resume(request, arguments)
    if arguments.status:
        from scripts.kill_switch_status import show_status

        return show_status(request, as_json=arguments.json)
    try:
        if arguments.dry_run:
            from scripts.kill_switch_status import planned

            return _show(planned(request), as_json=arguments.json, title="would be done")
        from scripts.kill_switch_session import Pull

        _log_to(request, arguments)
        return _show(Pull(request).run(), as_json=arguments.json, title="done")
    except ConfigError as error:
        return cli.complain("\n".join(error.problems), cli.USAGE)


def _request(arguments: argparse.Namespace) -> Request:
    import getpass
    from pathlib import Path

    from bn_ml.env import load_env
    from scripts.kill_switch_request import Request, usable_settings

    environ = load_env(Path.cwd())
    settings, warning = usable_settings(arguments.config, environ)
    if warning:
        print(warning, file=sys.stderr)
    try:
        who = getpass.getuser()
    except (KeyError, OSError, ImportError):
        who = "unknown user"
    return Request(
        settings=settings,
        environ=environ,
        by=who,
        live=True if arguments.live else False if arguments.paper else None,
        symbol=_symbol(arguments.symbol),
        yes=arguments.yes,
        timeout_s=arguments.timeout,
    )


def _resume(request: Request, arguments: argparse.Namespace) -> int:
    from scripts.kill_switch_resume import resume

    if not (arguments.reason or "").strip():
        return cli.complain("--resume needs --reason TEXT: say why trading may go on", cli.USAGE)
    return resume(request, arguments.reason.strip(), as_json=arguments.json)


def _log_to(request: Request, arguments: argparse.Namespace) -> None:
    from bn_ml.env import Secrets
    from monitoring.logger import configure_logging

    settings = request.settings
    hidden = Secrets.from_environ(request.environ).hidden()
    configure_logging(settings.monitoring, arguments.log_level or "WARNING", secrets=hidden)


def _show(outcome: Outcome, *, as_json: bool, title: str) -> int:
    lines = [
        f"{item.symbol}  cancelled {item.cancelled}  sold {_plain(item.sold)}  left {_plain(item.left or item.dust)}"
        + (f"  {item.why}" if item.why else "")
        for item in outcome.results
    ]
    verdict = {0: "flat", 3: "only dust is left", 4: "NOT FLAT"}[outcome.code]
    head = f"{title}: {verdict}" + (f", state {outcome.state}" if outcome.state else "")
    figures: dict[str, object] = {
        "exit": outcome.code,
        "verdict": verdict,
        "state": outcome.state,
        "done_by": outcome.done_by,
        "symbols": [
            {
                "symbol": str(item.symbol),
                "cancelled": item.cancelled,
                "sold": _plain(item.sold),
                "left": _plain(item.left),
                "dust": _plain(item.dust),
                "why": item.why,
            }
            for item in outcome.results
        ],
        "notes": list(outcome.notes),
    }
    done_by = [f"by {outcome.done_by}"] if outcome.done_by else []
    cli.show(figures, as_json=as_json, text="\n".join([head, *lines, *done_by, *outcome.notes]))
    if outcome.code == cli.UNREACHABLE and outcome.done_by:
        print(f"not flat: {outcome.state or 'the halt'} stays in force; run this again", file=sys.stderr)
    return outcome.code


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


def _symbol(text: str | None) -> Symbol | None:
    from bn_ml.domain.market import Symbol
    from bn_ml.errors import ConfigError

    try:
        return None if text is None else Symbol(text)
    except ValueError as error:
        raise ConfigError([f"--symbol: {error}"]) from error


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"more than 0 and at most 3600 seconds, got {text}")
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
