"""`bnml-dod-report`: summarise the daily checks."""

from __future__ import annotations

from collections.abc import Sequence

from scripts import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Tell that the command is not built yet; exit code 2."""
    made = cli.parser("bnml-dod-report", "summarise the daily checks")
    made.parse_known_args(argv)
    return cli.complain("bnml-dod-report is not built yet", cli.USAGE)


if __name__ == "__main__":
    raise SystemExit(main())
