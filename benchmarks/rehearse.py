"""Rehearses live trading: the real bot against the sandbox, faults and kills included, judged at the end.

One JSON line tells what happened. Exit code 1 when any promise was broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.rehearsal_judge import Book, problems
from benchmarks.rehearsal_parts import UNREACHABLE, Bot, Json, Plan, Sandbox, write_config

SYNTHETIC = ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE")
RECORDED = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LINK", "LTC", "AVAX", "DOT")
SETTLE_MARKET_S = 90.0
LONGEST_SETTLE_S = 120.0
RESTART_S = 1.0
"""How soon a supervisor starts the bot again."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one rehearsal; gives 0 when nothing was lost, doubled, unexplained or left without a stop."""
    arguments = _parsed(argv)
    with tempfile.TemporaryDirectory(prefix="bnml-rehearsal-") as scratch:
        folder = Path(arguments.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        result = rehearse(_plan(arguments, folder), minutes=arguments.minutes)
    print(json.dumps(result, sort_keys=True))
    return 1 if result["violations"] else 0


def rehearse(plan: Plan, *, minutes: float) -> Json:
    """Run sandbox and bot for so many minutes on the wall, heal the line, let things settle, and judge."""
    began = time.monotonic()
    sandbox = Sandbox.start(plan)
    bot = Bot(plan, write_config(plan, sandbox), sandbox)
    try:
        market_ms = -sandbox.now_ms()
        kills, ended = _live(bot, plan, until=began + minutes * 60)
        market_ms += sandbox.now_ms()
        sandbox.ask("faults", {"clear": True, "profile": "none"})
        ended += _settle(bot, plan)
        code = bot.stop()
        audit = sandbox.ask("audit")
    finally:
        bot.kill()
        sandbox.stop()
    book = Book.read(plan.database)
    broken = [*problems(book, audit), *filter(None, ended), *([f"the bot ended with exit code {code}"] if code else [])]
    return _told(plan, book, audit, bot) | {
        "market_hours": round(market_ms / 3_600_000, 2),
        "wall_minutes": round((time.monotonic() - began) / 60, 1),
        "kills": kills,
        "violations": broken,
    }


def _live(bot: Bot, plan: Plan, *, until: float) -> tuple[int, list[str]]:
    """Keep the bot alive until the time is up and it was killed as often as planned, at seeded moments."""
    dice = np.random.default_rng(plan.seed)
    share = (until - time.monotonic()) / (plan.kills + 1)
    kills, ended = 0, list[str]()
    bot.start()
    while time.monotonic() < until or kills < plan.kills:
        if not bot.wait_recovered() and bot.is_down():
            ended.append(bot.note_end())
            time.sleep(RESTART_S)
            bot.start()
            continue
        due = time.monotonic() + float(dice.uniform(0.2, 1.8)) * share if kills < plan.kills else until
        while time.monotonic() < due and not bot.is_down():
            time.sleep(0.02)
        if bot.is_down():
            ended.append(bot.note_end())
        elif kills < plan.kills:
            bot.kill()
            kills += 1
        else:
            break
        bot.start()
    return kills, ended


def _settle(bot: Bot, plan: Plan) -> list[str]:
    """Give the bot time to resolve, protect and reconcile on a healthy line; gives how it ended meanwhile."""
    pause = min(max(SETTLE_MARKET_S / plan.speed, 15.0), LONGEST_SETTLE_S)
    until, ended = time.monotonic() + pause, list[str]()
    while time.monotonic() < until:
        if bot.is_down():
            ended.append(bot.note_end())
            time.sleep(RESTART_S)
            bot.start()
        time.sleep(0.1)
    return ended


def _told(plan: Plan, book: Book, audit: Json, bot: Bot) -> Json:
    ours = [order for order in audit["orders"] if order["client_id"].startswith("bnml-")]
    stretches = audit["protection"]["stretches"]
    recoveries = sorted(recovery.seconds for recovery in bot.recoveries)
    own = sorted(recovery.own_s for recovery in bot.recoveries)
    return {
        "seed": plan.seed,
        "speed": plan.speed,
        "fault_profile": plan.profile,
        "orders": len(ours),
        "entries": sum(row["purpose"] == "entry" for row in book.intents),
        "fills": len(book.fills),
        "positions": len(book.positions),
        "faults": {kind: count for kind, count in audit["faults"].items() if count},
        "longest_unprotected_s": max((row["reachable_s"] for row in stretches), default=0.0),
        "longest_unprotected_outages_included_s": max((row["seconds"] for row in stretches), default=0.0),
        "starts": len(recoveries),
        "starts_without_exchange": bot.ends[UNREACHABLE],
        "starts_refused_for_clock": bot.off_clock,
        "ends_by_exit_code": {str(code): count for code, count in sorted(bot.ends.items())},
        "recoveries": [recovery.told() for recovery in bot.recoveries],
        "recovery_s_median": _quantile(recoveries, 0.5),
        "recovery_s_p99": _quantile(recoveries, 0.99),
        "recovery_own_s_median": _quantile(own, 0.5),
        "recovery_own_s_p99": _quantile(own, 0.99),
        "recovery_cpu_s_median": _quantile(sorted(recovery.cpu_s for recovery in bot.recoveries), 0.5),
        "starts_told_to_wait": sum(recovery.told_to_wait_s > 0 for recovery in bot.recoveries),
    }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Give the value that such a share of ordered values does not exceed, the greatest of up to a hundred for 99 %."""
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2) if ordered else None


def _plan(arguments: argparse.Namespace, folder: Path) -> Plan:
    recorded = arguments.source != "synthetic"
    quote = "USDT" if recorded else "USDC"
    return Plan(
        folder=folder,
        symbols=tuple(f"{base}/{quote}" for base in (RECORDED if recorded else SYNTHETIC)),
        quote=quote,
        source=arguments.source,
        profile=arguments.fault_profile,
        seed=arguments.seed,
        speed=arguments.speed,
        share=arguments.share,
        begin=arguments.begin,
        end=arguments.end,
        kills=arguments.kills,
    )


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    made = argparse.ArgumentParser(prog="rehearse", description=__doc__)
    made.add_argument("--minutes", type=float, default=10.0, help="wall minutes")
    made.add_argument("--speed", type=float, default=12.0, help="market seconds per wall second")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--share", type=float, default=0.05, help="share of symbols and minutes that are bought")
    made.add_argument("--fault-profile", default="flaky", help="none, flaky, harsh or a file")
    made.add_argument("--source", default="synthetic", help="synthetic or replay:FOLDER")
    made.add_argument("--from", dest="begin", help="first market instant of a replay")
    made.add_argument("--to", dest="end", help="last market instant of a replay")
    made.add_argument("--kills", type=int, default=0, help="SIGKILLs of the bot at seeded moments")
    made.add_argument("--keep", help="folder to keep book, configuration and logs in")
    return made.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
