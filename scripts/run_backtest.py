"""`bnml-backtest`: replay history through the bot with retraining and report it; `audit` looks for leaks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scripts import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the audit, or tell that the backtest itself is not built yet (exit code 2)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["audit"]:
        from scripts import audit_command

        return audit_command.main(arguments[1:])
    made = cli.parser("bnml-backtest", "replay history through the bot with retraining and report it")
    made.epilog = "bnml-backtest audit --help: look for leaks in features, labels, blocks and bundles"
    made.parse_known_args(arguments)
    return cli.complain("bnml-backtest is not built yet; bnml-backtest audit is", cli.USAGE)


if __name__ == "__main__":
    raise SystemExit(main())
