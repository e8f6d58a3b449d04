"""Whether the book is sound, what it permits, and whether the bot that keeps it is alive. Everything is only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial

from bn_ml.control import Holder, ProcessLock
from bn_ml.database import naming, reading
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import from_iso, iso
from bn_ml.errors import StateError
from bn_ml.halting import HaltMarker, is_outdated
from bn_ml.lock_takeover import holder_state
from bn_ml.processes import ProcessState
from bn_ml.schema import MIGRATIONS
from bn_ml.state_reader import StateReader
from bn_ml.state_watch import BookView, BookWatch
from scripts.doctor_findings import Check, Diagnosis, Status, bad, doubtful, good, listed, told
from scripts.doctor_situation import Situation

EXAMINED_S = 2.0
"""How long the file is read through, seconds; a larger one is examined by a backup instead."""
FRESH_S = 15.0
"""The loop is alive when it was seen so recently, seconds."""
STUCK_S = 120.0
SECOND_LOOK_S = 2.4
"""The loop writes its sign of life every two seconds."""
_RESUME = 'when the cause is gone: bnml-kill-switch --resume --reason "TEXT"'
_CLEARS = 'a passing cause clears a minute after its end; any other: bnml-kill-switch --resume --reason "TEXT"'
_RESTORE = "stop the bot and restore a backup: bnml-doctor backups list, then bnml-doctor backups restore ID"


def checks(situation: Situation) -> list[Check]:
    """Give what is asked of the book."""
    return [
        Check("database", partial(database, situation)),
        Check("control state", partial(_known, situation, "control state", control)),
        Check("reconciliation", partial(_known, situation, "reconciliation", reconciliation)),
        Check("bot", partial(_known, situation, "bot", bot)),
        Check("workers", partial(_known, situation, "workers", workers)),
        Check("last cycle", partial(_known, situation, "last cycle", last_cycle)),
    ]


def database(situation: Situation) -> Iterator[Diagnosis]:
    """Tell whether the file is whole, of this program and version, and whose book it is."""
    path = situation.database
    if not path.exists():
        yield good("database", f"{path}: none yet, the first start makes it")
        return
    try:
        if is_outdated(path):
            seen = f"{path}: of an older version than {MIGRATIONS[-1].version}"
            yield doubtful("database", seen, "start the bot to upgrade it, a copy of the old one is kept")
            return
        damage, finished = _damage(situation)
        view = BookWatch(path).look()
    except StateError as error:
        yield told("database", Status.FAIL, str(error), _RESTORE)
        return
    if damage:
        yield bad("database", f"{path} is damaged: {damage}", _RESTORE)
    elif not finished:
        seen = f"{path}: nothing wrong in the first {EXAMINED_S:g} s of reading, it is too large to be read whole here"
        yield doubtful("database", seen, "have a copy verified: bnml-doctor backups create")
    else:
        yield from _owner(situation, view)


def control(situation: Situation, view: BookView) -> Iterator[Diagnosis]:
    """Tell what the book permits, and whether a kill switch left an order to start halted."""
    marker = HaltMarker.beside(situation.database).reason()
    if marker is not None:
        yield bad("control state", f"the next start is HALTED: {marker}", _RESUME)
    state = view.control
    seen = f"{state.state.value} since {iso(state.since)}: {state.reason or 'no reason given'}"
    match state.state:
        case ControlState.NORMAL:
            if marker is None:
                yield good("control state", "NORMAL")
        case ControlState.REDUCE_ONLY:
            yield doubtful("control state", f"{seen}; nothing is bought", _CLEARS)
        case ControlState.HALTED:
            yield bad("control state", f"{seen}; nothing is traded", _RESUME)


def reconciliation(situation: Situation, view: BookView) -> Iterator[Diagnosis]:
    """Tell whether book and account were found to differ."""
    del situation
    kept = view.differences if isinstance(view.differences, Mapping) else {}
    result = kept.get("result")
    if result == "unexplained":
        rows = [f"{name}: {kept[name]}" for name in ("differences", "orphan_orders") if kept.get(name)]
        fix = "find out why; then undo it, or accept it as not ours with bnml-kill-switch --resume --reason TEXT"
        yield bad("reconciliation", f"book and account differ, {', '.join(rows)}", fix)
    else:
        yield good("reconciliation", f"{result} at {kept.get('at')}" if result else "not made yet")


def bot(situation: Situation, view: BookView) -> Iterator[Diagnosis]:
    """Tell whether a bot runs on the book and whether its loop goes round."""
    lock = ProcessLock(situation.database)
    holder, process = lock.holder(), holder_state(lock)
    match process:
        case ProcessState.RUNNING:
            yield _heart(situation, view, holder)
        case ProcessState.STOPPED:
            fix = f"let it go on: kill -CONT {holder.pid}, or end it and start bnml-bot again"
            yield bad("bot", f"process {holder.pid} is stopped (SIGSTOP)", fix)
        case ProcessState.ZOMBIE:
            yield bad("bot", f"process {holder.pid} has ended but is not gone", "restart its container or supervisor")
        case ProcessState.GONE:
            yield _absent(lock, view)


def workers(situation: Situation, view: BookView) -> Iterator[Diagnosis]:
    """Tell which helpers of a running bot are dead, or had to be started again."""
    beat = StateReader(situation.database).kv("heartbeat")
    said = beat.get("workers") if isinstance(beat, Mapping) else None
    known = said if isinstance(said, Mapping) and holder_state(ProcessLock(situation.database)) in _RUNS else {}
    facts = {str(name): item for name, item in known.items() if isinstance(item, Mapping)}
    spent = [name for name, item in facts.items() if item.get("spent")]
    dead = [name for name, item in facts.items() if not item.get("alive") and name not in spent]
    again = [f"{name} {item['restarts']}x" for name, item in facts.items() if item.get("restarts")]
    del view
    if spent:
        fix = "read the log for their errors, mend the cause and start bnml-bot again"
        yield bad("workers", f"not restarted any more: {listed(spent)}", fix)
    if dead:
        yield doubtful("workers", f"not alive: {listed(dead)}", "look again in a minute, the bot restarts them itself")
    if again and not (spent or dead):
        yield doubtful("workers", f"were restarted: {listed(again)}", "read the log for what ended them")
    if facts and not (spent or dead or again):
        yield good("workers", f"alive: {', '.join(facts)}")


_RUNS = (ProcessState.RUNNING, ProcessState.STOPPED)


def last_cycle(situation: Situation, view: BookView) -> Iterator[Diagnosis]:
    """Tell what the last cycle said of breakers and of symbols whose data cannot be used."""
    del view
    cycle = StateReader(situation.database).summary().last_cycle
    if cycle is None:
        yield good("last cycle", "none yet")
        return
    breakers = cycle.data.get("breakers")
    errors = cycle.data.get("errors")
    funnel = cycle.data.get("funnel")
    counts = funnel if isinstance(funnel, Mapping) else {}
    lost = ", ".join(f"{name} {count}" for name, count in counts.items() if str(name).startswith("data_"))
    seen = f"number {cycle.data.get('cycle')} at {iso(cycle.at)}"
    if errors and isinstance(errors, list):
        yield doubtful("last cycle", f"{seen} had errors: {listed(errors, 2)}", "read the log of that time")
    if breakers and isinstance(breakers, list):
        fix = "bnml-doctor explain SYMBOL tells value and limit; a breaker lets go by itself when its cause is gone"
        yield doubtful("last cycle", f"{seen}: nothing bought for {listed(breakers)}", fix)
    if lost:
        fix = "bnml-doctor explain SYMBOL names the symbol's trouble; failed ones are asked again within 15 minutes"
        yield doubtful("last cycle", f"{seen}: symbols without usable data: {lost}", fix)
    if not (errors or breakers or lost):
        yield good("last cycle", seen)


def _known(
    situation: Situation, name: str, tell: Callable[[Situation, BookView], Iterator[Diagnosis]]
) -> Iterator[Diagnosis]:
    """Tell something of a book that can be read; nothing where there is none, whose own check says so."""
    if not situation.database.exists():
        return
    try:
        yield from tell(situation, BookWatch(situation.database).look())
    except StateError as error:
        yield doubtful(name, f"not known: {error}", "mend the database first")


def _damage(situation: Situation) -> tuple[str, bool]:
    """Read the whole file through; gives what is wrong with it, and whether there was time to the end."""
    until = situation.clock.monotonic() + EXAMINED_S
    path = situation.database
    with reading(path) as connection, naming(path):
        connection.set_progress_handler(lambda: situation.clock.monotonic() > until, 10_000)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                return "", False
            raise
        finally:
            connection.set_progress_handler(None, 0)
    return "" if verdict == "ok" else str(verdict), True


def _owner(situation: Situation, view: BookView) -> Iterator[Diagnosis]:
    """Tell whose book it is and whether the next start would use it."""
    wanted = situation.settings.environment
    quote = situation.settings.base_quote
    whole = f"{situation.database}: whole, version {MIGRATIONS[-1].version}"
    if view.identity is None:
        yield good("database", f"{whole}, no start yet")
        return
    mode, account = view.identity.mode, view.identity.account
    if mode != wanted:
        fix = f"to keep trading {mode} leave environment: {mode}; a {wanted} start archives this book and takes its own"
        yield doubtful("database", f"{whole}, the {mode} book of {account}, but {wanted} is asked for", fix)
    elif view.ledger and quote not in view.ledger:
        held = listed(sorted(view.ledger))
        fix = "go back to the former base_quote or point storage.sqlite_path to a new file"
        yield bad("database", f"{whole}, kept in another quote asset than {quote}: it holds {held}", fix)
    else:
        held = f"{len(view.positions)} positions, {len(view.orders)} unfinished orders"
        yield good("database", f"{whole}, the {mode} book of {account}, {held}")


def _heart(situation: Situation, view: BookView, holder: Holder) -> Diagnosis:
    """Look at the loop's last sign of life, and once more a little later where its clock may be another one."""
    who = f"process {holder.pid} runs since {holder.started}"
    age_s = _age_s(view, situation.clock.now())
    if age_s is not None and 0 <= age_s < FRESH_S:
        return good("bot", f"{who}, its loop was seen {age_s:.0f} s ago at {view.beat.get('step')}")
    situation.clock.sleep_until(situation.clock.now() + timedelta(seconds=SECOND_LOOK_S))
    again = BookWatch(situation.database).look()
    if dict(again.beat) != dict(view.beat):
        return good("bot", f"{who}, its loop goes round at {again.beat.get('step')}")
    seen = f"{who}, its loop has not moved " + ("yet" if age_s is None else f"for {age_s:.0f} s")
    fix = "read its log; if it stays so, end it and start bnml-bot again, or flatten with bnml-kill-switch"
    if age_s is not None and abs(age_s) >= STUCK_S:
        return bad("bot", seen, fix)
    return doubtful("bot", seen, fix)


def _absent(lock: ProcessLock, view: BookView) -> Diagnosis:
    if lock.is_held():
        return good("bot", "runs where this machine cannot see it (another container)")
    if view.positions:
        names = listed([item.symbol for item in view.positions])
        fix = "start bnml-bot, or sell with bnml-kill-switch"
        return doubtful("bot", f"none is running while {names} is held", fix)
    return good("bot", "none is running")


def _age_s(view: BookView, now: datetime) -> float | None:
    at = view.beat.get("at")
    try:
        return (now - from_iso(at)).total_seconds() if isinstance(at, str) else None
    except ValueError:
        return None
