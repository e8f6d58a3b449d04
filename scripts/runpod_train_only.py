"""`bnml-runpod-train`: train and export a signed archive."""

from __future__ import annotations

from collections.abc import Sequence

from scripts import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Tell that the command is not built yet; exit code 2."""
    made = cli.parser("bnml-runpod-train", "train and export a signed archive")
    made.parse_known_args(argv)
    return cli.complain("bnml-runpod-train is not built yet", cli.USAGE)


if __name__ == "__main__":
    raise SystemExit(main())
