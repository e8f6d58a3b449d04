"""`bnml-doctor backups`: which backups there are, one more, whether they are whole, and putting one back."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.backup import MEGABYTE, Sources, make_backup
from bn_ml.backup_models import MODELS
from bn_ml.backup_store import Backup, BackupStore
from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.control import ProcessLock
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import iso
from bn_ml.env import load_env
from bn_ml.errors import ConfigError, ModelError
from bn_ml.restore import Restored, restore_book
from bn_ml.restore_models import has_bundles, restore_models
from bn_ml.settings import Settings
from bn_ml.state_watch import BookWatch
from scripts import cli
from scripts.tables import table


@dataclass(frozen=True, slots=True)
class _Desk:
    """What each action works with."""

    settings: Settings
    store: BackupStore
    clock: SystemClock
    backup_id: str
    as_json: bool
    with_models: bool

    @property
    def book(self) -> Path:
        return Path(self.settings.storage.sqlite_path).absolute()

    @property
    def models(self) -> Path:
        return Path(self.settings.model.models_dir).absolute()


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 1 when a backup is not whole or cannot be made, 75 when the bot runs during a restore."""
    logging.basicConfig(level=arguments.log_level or "WARNING", format="%(levelname)s %(message)s")
    actions: Mapping[str, Callable[[_Desk], int]] = {
        "list": _list,
        "create": _create,
        "verify": _verify,
        "restore": _restore,
    }
    if arguments.action == "restore" and not arguments.id:
        raise ConfigError(["backups restore: name the backup (bnml-doctor backups list)"])
    settings = load_settings(arguments.config, environ=load_env(Path.cwd())).settings
    store = BackupStore(settings.storage.backup.base_dir)
    desk = _Desk(settings, store, SystemClock(), arguments.id or "", arguments.json, arguments.models)
    return actions[arguments.action](desk)


def _list(desk: _Desk) -> int:
    rows = [_row(backup) for backup in desk.store.backups()]
    text = table(rows, terminal=sys.stdout.isatty()) if rows else f"no backups in {desk.store.base}"
    cli.show({"base_dir": str(desk.store.base), "backups": rows}, as_json=desk.as_json, text=text)
    return cli.DONE


def _create(desk: _Desk) -> int:
    began = desk.clock.monotonic()
    made = make_backup(Sources.of(desk.settings), desk.store, desk.clock.now())
    took_s = desk.clock.monotonic() - began
    row = _row(made)
    text = f"backup {made.backup_id} made and verified in {took_s:.1f} s: {row['holds']}, {row['mb']} MB"
    cli.show({**row, "duration_s": round(took_s, 3)}, as_json=desk.as_json, text=text)
    return cli.DONE


def _verify(desk: _Desk) -> int:
    with desk.store.reading():
        chosen = (desk.store.find(desk.backup_id),) if desk.backup_id else desk.store.backups()
        found = {backup.backup_id: list(desk.store.problems(backup)) for backup in chosen}
    lines = [f"OK {name}: whole" for name, problems in found.items() if not problems]
    lines += [f"FAIL {name}: {problem}" for name, problems in found.items() for problem in problems]
    is_whole = bool(found) and not any(found.values())
    text = "\n".join(lines) or f"no backups in {desk.store.base}"
    cli.show({"whole": is_whole, "problems": found}, as_json=desk.as_json, text=text)
    return cli.DONE if is_whole else cli.FAILED


def _restore(desk: _Desk) -> int:
    began, at = desk.clock.monotonic(), desk.clock.now()
    with desk.store.reading(), ProcessLock(desk.book).acquire(at):
        backup = desk.store.find(desk.backup_id)
        done = restore_book(desk.book, backup, at=at)
        lines = [*_told(done, desk), *_bundles(desk, backup, at)]
    took_s = desk.clock.monotonic() - began
    result: dict[str, object] = {
        "backup": backup.backup_id,
        "made_at": iso(backup.manifest.made_at),
        "newest_fact": iso(done.book.newest) if done.book.newest else None,
        "open_positions": done.book.positions,
        "open_orders": done.book.orders,
        "control_state": done.control.state.value,
        "control_reason": done.control.reason,
        "replaced_files": str(done.replaced) if done.replaced else None,
        "duration_s": round(took_s, 3),
    }
    lines.append(f"took {took_s:.1f} s; start the bot to go on")
    cli.show(result, as_json=desk.as_json, text="\n".join(lines))
    return cli.DONE


def _told(done: Restored, desk: _Desk) -> list[str]:
    newest = iso(done.book.newest) if done.book.newest else "never"
    held = ", ".join(str(item.symbol) for item in BookWatch(desk.book).look().positions) or "none"
    lines = [
        f"{desk.book}: restored from backup {done.told.backup_id} of {iso(done.told.made_at)}",
        f"its newest fact is of {newest}; what happened later is not in it",
        f"open positions: {held}; open orders: {done.book.orders}",
        f"control state: {done.control.state.value} ({done.control.reason})",
    ]
    if done.told.resumes is not None:
        lines.append(f"{done.told.resumes.state.value} comes back by itself once the book equals the exchange")
    elif done.control.state is ControlState.HALTED:
        lines.append("it stays so until bnml-kill-switch --resume --reason TEXT")
    if done.replaced is not None:
        lines.append(f"the former files are in {done.replaced}")
    return lines


def _bundles(desk: _Desk, backup: Backup, at: datetime) -> list[str]:
    """Put the bundles back where that was asked for or there are none, and say which verify."""
    if not backup.manifest.below(MODELS):
        return ["bundles: none in this backup"] if desk.with_models else []
    if has_bundles(desk.models) and not desk.with_models:
        return ["bundles: left as they are (--models restores those of the backup)"]
    replaced = restore_models(backup, desk.models, at)
    refused = _refused(desk)
    lines = [f"bundles: restored to {desk.models}"]
    lines += [f"bundles: the former ones are in {replaced}"] if replaced else []
    lines += [f"bundle refused: {line}" for line in refused]
    if refused:
        keys = ", ".join(backup.manifest.signers)
        lines.append(
            f"bundles are signed by {keys}; where that key is not this machine's, list it in model.trusted_keys"
        )
    return lines


def _refused(desk: _Desk) -> list[str]:
    # Reading bundles takes numpy: only where some were restored.
    from ml_engine.bundle_signing import key_file
    from ml_engine.bundle_store import BundleStore

    trusted, key = desk.settings.model.trusted_keys, key_file(desk.models, os.environ)
    bundles = BundleStore(desk.models, trusted_keys=trusted, signing_key=key)
    problems: list[str] = []
    for symbol in bundles.symbols():
        try:
            bundles.verify(symbol)
        except ModelError as error:
            problems.append(f"{symbol}: {error}")
    return problems


def _row(backup: Backup) -> dict[str, object]:
    manifest = backup.manifest
    book = manifest.book
    owner = f"{book.identity.mode} {book.identity.account}" if book and book.identity else "-"
    return {
        "id": backup.backup_id,
        "made_at": iso(manifest.made_at),
        "book": owner,
        "state": book.state.value if book else "-",
        "positions": book.positions if book else 0,
        "orders": book.orders if book else 0,
        "mb": round(manifest.size_bytes / MEGABYTE, 1),
        "holds": ", ".join(manifest.included),
    }
