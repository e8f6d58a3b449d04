"""`python -m tests.sim`: seeded fault schedules and planted bugs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from tests.sim import campaign
from tests.sim.planted_bugs import BUGS

BUG_LIMIT = 3000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 when nothing was violated and every bug caught."""
    options = _parser().parse_args(arguments)
    seeds = _seeds(options)
    if options.bugs:
        found = campaign.planted_bugs(tuple(BUGS), options.seed, options.limit, options.jobs)
        caught = sum(item["seed"] is not None for item in found)
        _show({"bugs": len(found), "caught": caught, "found": found}, options.json)
        return int(caught < len(found))
    if options.kill_every_step:
        figures = campaign.kill_every_step(range(options.seed, options.seed + options.kill_every_step), options.jobs)
        _show(figures, options.json)
        return int(figures["losses"] != 0)
    if options.interleavings:
        bare = range(options.seed, options.seed + max(options.interleavings // 100, 1))
        figures = campaign.interleavings(bare, options.interleavings, options.jobs)
        _show(figures, options.json)
        return int(figures["violations"] != 0)
    if options.same_hash:
        figures = campaign.same_hash(range(options.seed, options.seed + options.same_hash), options.jobs)
        _show(figures, options.json)
        return int(figures["same_hash"] != figures["schedules"])
    tally = campaign.schedules(seeds, options.jobs, options.bug or "")
    _show(tally.as_dict(), options.json)
    return int(bool(tally.violations) != bool(options.bug))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100, help="how many schedules")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", default="", help="these seeds instead, separated by commas")
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug; fails unless it is caught")
    parser.add_argument("--bugs", action="store_true", help="plant every bug in turn; fails unless each is caught")
    parser.add_argument("--limit", type=int, default=BUG_LIMIT, help="schedules a bug is looked for in")
    parser.add_argument("--kill-every-step", type=int, default=0, metavar="N", help="kill at each step of N schedules")
    parser.add_argument("--interleavings", type=int, default=0, metavar="N", help="HALTED at N places of cycles")
    parser.add_argument("--same-hash", type=int, default=0, metavar="N", help="run N schedules twice")
    return parser


def _seeds(options: argparse.Namespace) -> Sequence[int]:
    if options.seeds:
        return [int(part) for part in options.seeds.split(",")]
    return range(options.seed, options.seed + options.schedules)


def _show(figures: dict[str, object], as_json: bool) -> None:
    sys.stdout.write(json.dumps(figures, indent=None if as_json else 1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
