"""Damaged answers of the venue: each must become the true report, a refusal that stands in it, or "unknown".

`python -m tests.sim.mutated_replies --replies 20000 --seed 1 --json` damages so many answers and prints one JSON line
with what became of them; it ends with 1 when one was misjudged or raised anything else.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bn_ml.errors import ExchangeError, OutcomeUnknown, Refused
from bn_ml.http_answers import HttpAnswer
from tests.sim.answer_cases import Case, cases
from tests.sim.answer_damage import damaged

_LISTED = {-1013, -1021, -2010, -2014, -2015, *range(-1199, -1099)}


@dataclass(frozen=True)
class Misjudged:
    """One damaged answer that became what it must not become."""

    case: str
    why: str
    status: int
    body: str


def judge(case: Case, reply: HttpAnswer) -> tuple[str, str]:
    """Give what a damaged answer became, and why that is wrong ("" when it is right)."""
    try:
        result = case.call(case.exchange(reply))
    except OutcomeUnknown:
        return "unknown", "" if case.writes else "a read left an outcome unknown"
    except Refused as refused:
        allowed = case.writes and _is_refusal(reply, case)
        return "refused", "" if allowed else f"no refusal on the list: {refused}"
    except ExchangeError:
        return "unreadable", "" if not case.writes else "a write ended neither refused nor unknown"
    except Exception as error:  # noqa: BLE001 - anything else is what this looks for
        return "uncaught", f"{type(error).__name__}: {error}"
    if result is None:
        return "absent", "" if _says_absent(reply, case) else "an order was declared absent"
    return "accepted", case.difference(result)


def run(replies: int, seed: int) -> tuple[Counter[str], list[Misjudged]]:
    """Damage so many answers, all drawn from the seed."""
    rng = np.random.default_rng(seed)
    known = cases()
    outcomes: Counter[str] = Counter()
    misjudged = []
    for _ in range(replies):
        case = known[int(rng.integers(len(known)))]
        reply = damaged(rng, case.reply, [other.reply for other in known if other.order != case.order])
        outcome, why = judge(case, reply)
        outcomes[outcome] += 1
        if why:
            misjudged.append(Misjudged(case.name, why, reply.status, reply.body))
    return outcomes, misjudged


def _error_of(reply: HttpAnswer) -> dict[str, Any] | None:
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    is_error = isinstance(value, dict) and type(value.get("code")) is int and isinstance(value.get("msg"), str)
    return value if is_error else None


def _is_refusal(reply: HttpAnswer, case: Case) -> bool:
    if reply.status in (418, 429):
        return True
    error = _error_of(reply)
    if error is None or reply.status not in (400, 401):
        return False
    by_code = error["code"] in _LISTED and "uplicate" not in error["msg"]
    canceling = case.name.startswith("cancel") and error["code"] == -2011
    replacing = case.name.startswith("replace") and error["code"] == -2022
    return by_code or canceling or replacing


def _says_absent(reply: HttpAnswer, case: Case) -> bool:
    error = _error_of(reply)
    if error is None or reply.status != 400:
        return False
    if case.name.startswith("cancel"):
        return error["code"] == -2011 and error["msg"] == "Unknown order sent."
    return not case.writes and error["code"] == -2013


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replies", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.getLogger("bn_ml").setLevel(logging.ERROR)
    outcomes, misjudged = run(options.replies, options.seed)
    figures = {
        "replies": options.replies,
        "seed": options.seed,
        "outcomes": dict(sorted(outcomes.items())),
        "uncaught": outcomes["uncaught"],
        "misjudged": len(misjudged),
        "first": [asdict(item) for item in misjudged[:5]],
    }
    sys.stdout.write(json.dumps(figures, indent=None if options.json else 1) + "\n")
    return 1 if misjudged else 0


if __name__ == "__main__":
    sys.exit(main())
