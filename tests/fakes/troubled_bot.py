"""The bot command whose second scan goes wrong: the first argument says how, the others are the command's flags.

`stall` never returns, under a watchdog that waits 1.5 s; `break` finds the book unusable.
"""

from __future__ import annotations

import sys
import threading
from datetime import datetime

from bn_ml.domain.signals import ScanReport
from bn_ml.errors import StateError
from scanner.multi_pair_scanner import MultiPairScanner
from scripts import companions, run_bot, wiring


class TroubledScanner(MultiPairScanner):
    trouble = ""
    scans = 0

    def scan(self, now: datetime) -> ScanReport:
        self.scans += 1
        if self.scans == 2:
            wait_for_ever() if self.trouble == "stall" else give_up()
        return super().scan(now)


def wait_for_ever() -> None:
    threading.Event().wait()


def give_up() -> None:
    raise StateError("the book is torn")


if __name__ == "__main__":
    companions.STALL_AFTER_S = 1.5
    TroubledScanner.trouble = sys.argv[1]
    wiring.MultiPairScanner = TroubledScanner  # type: ignore[misc]
    raise SystemExit(run_bot.main(sys.argv[2:]))
