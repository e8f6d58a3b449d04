"""Starts the live command with its draw as `bnml-bot` is started: its imports with the collector at rest."""

from __future__ import annotations

import sys

from scripts import cli

SEED_VARIABLE, SHARE_VARIABLE = "REHEARSAL_SEED", "REHEARSAL_SHARE"


if __name__ == "__main__":
    with cli.collector_at_rest():
        from benchmarks.rehearsal_bot import main
    raise SystemExit(main(sys.argv[1:]))
