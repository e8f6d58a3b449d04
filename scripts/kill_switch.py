"""`bnml-kill-switch`: the control state of the book, and the way out of a halt."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Show or loosen the control state; stopping and selling from here is not built yet (exit code 2)."""
    made = cli.parser("bnml-kill-switch", "Show the control state of the book, or resume trading after a halt.")
    made.add_argument("--status", action="store_true", help="show the control state and what is held")
    made.add_argument("--resume", action="store_true", help="go back to NORMAL; needs --reason")
    made.add_argument("--reason", metavar="TEXT", help="why trading may go on; kept in the book")
    return cli.run(_run, made, argv)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.resume:
        return _resume(arguments)
    if arguments.status:
        return _status(arguments)
    return cli.complain("cancelling and selling is not built yet; use --status or --resume --reason TEXT", cli.USAGE)


def _book(arguments: argparse.Namespace) -> Path:
    from bn_ml.config import load_settings
    from bn_ml.errors import StateError

    path = Path(load_settings(arguments.config).settings.storage.sqlite_path)
    if not path.exists():
        raise StateError(f"{path}: there is no book; name the right one with storage.sqlite_path")
    return path


def _status(arguments: argparse.Namespace) -> int:
    from bn_ml.domain.market import iso
    from bn_ml.domain.positions import PositionStatus
    from bn_ml.state_reader import StateReader

    reader = StateReader(_book(arguments))
    control = reader.control()
    held = [str(row.symbol) for row in reader.positions(PositionStatus.OPEN)]
    figures: dict[str, object] = {
        "state": control.state.value,
        "reason": control.reason,
        "since": iso(control.since),
        "set_by": control.set_by,
        "epoch": control.epoch,
        "positions": held,
    }
    text = f"{control.state.value} since {iso(control.since)}: {control.reason}\nheld: {', '.join(held) or 'nothing'}"
    cli.show(figures, as_json=arguments.json, text=text)
    return cli.DONE


def _resume(arguments: argparse.Namespace) -> int:
    if not (arguments.reason or "").strip():
        return cli.complain("--resume needs --reason TEXT: say why trading may go on", cli.USAGE)
    from bn_ml.clock import SystemClock
    from bn_ml.domain.account import ControlState
    from bn_ml.state_store import StateStore

    store = StateStore(_book(arguments))
    try:
        before = store.control()
        reason = f"resumed: {arguments.reason.strip()}"
        changed = store.set_control(ControlState.NORMAL, reason, "operator", SystemClock().now())
    finally:
        store.close()
    cli.show(
        {"before": before.state.value, "state": changed.state.value, "reason": changed.reason},
        as_json=arguments.json,
        text=f"{before.state.value} -> {changed.state.value}: {changed.reason}",
    )
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(main())
