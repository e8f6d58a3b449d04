"""Measures what stands beside the days of a paper run: reports, dashboard, alerts, documents, a restore.

Nothing is taken for granted: what cannot be shown at this moment is false, with the reason.
"""

from __future__ import annotations

import http.client
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bn_ml.backup_manifest import BOOK
from bn_ml.backup_store import BackupStore
from bn_ml.clock import SystemClock
from bn_ml.domain.market import iso
from bn_ml.env import Secrets
from bn_ml.errors import BnMlError, StateError
from bn_ml.settings import Settings
from bn_ml.state_reader import StateReader
from monitoring.alerter import Alerter, AlertSource
from monitoring.dod_summary import Item, Shown

log = logging.getLogger(__name__)

BACKTESTS = Path("artifacts/backtests")
DOCUMENTS = ("Dockerfile", "docker-compose.yml", "docs/deployment_docker.md", "docs/runbook_incident.md")
HEALTH_PATHS = ("/_stcore/health", "/")
ANSWER_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where to look: the settings in force, the secrets of the channels, the book and the project's folder."""

    settings: Settings
    secrets: Secrets
    book: Path
    folder: Path


def measured(around: Surroundings) -> Mapping[Item, Shown]:
    """Measure every item that does not follow from the days themselves; sends one test alert."""
    dashboard, alerts = _dashboard(around.settings), _test_alert(around)
    return {
        Item.BACKTEST: _backtest(around.folder / BACKTESTS),
        Item.DASHBOARD_AND_ALERTS: Shown(
            dashboard.passed and alerts.passed, f"dashboard: {dashboard.detail}; test alert: {alerts.detail}"
        ),
        Item.DOCUMENTS: _documents(around.folder),
        Item.RESTORE: _restore(around),
    }


def _backtest(folder: Path) -> Shown:
    reports = sorted(folder.glob("*/report.json"), key=lambda path: path.stat().st_mtime)
    if not reports:
        return Shown(False, f"no report.json below {folder}; run bnml-backtest")
    newest = reports[-1]
    try:
        verdict = json.loads(newest.read_text(encoding="utf-8"))["verdict"]["sentence"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Shown(False, f"{newest}: cannot be read ({type(error).__name__}); run bnml-backtest again")
    return Shown(True, f"{newest}: {verdict}")


def _documents(folder: Path) -> Shown:
    absent = [name for name in DOCUMENTS if not _has_content(folder / name)]
    return Shown(not absent, f"missing: {', '.join(absent)}" if absent else ", ".join(DOCUMENTS))


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _dashboard(settings: Settings) -> Shown:
    """Ask the dashboard for a page, as a browser would."""
    dashboard = settings.monitoring.dashboard
    problem = ""
    for path in HEALTH_PATHS:
        connection = http.client.HTTPConnection(dashboard.address, dashboard.port, timeout=ANSWER_WITHIN_S)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            problem = f"does not answer ({type(error).__name__})"
        else:
            if status == http.client.OK:
                return Shown(True, f"http://{dashboard.address}:{dashboard.port}{path} answers")
            problem = f"answers {status}"
        finally:
            connection.close()
    return Shown(False, f"http://{dashboard.address}:{dashboard.port} {problem}; start it with the bot")


def _test_alert(around: Surroundings) -> Shown:
    """Send a test message on every enabled channel."""
    settings = around.settings
    alerter = Alerter(
        settings.monitoring.alerting,
        around.secrets,
        SystemClock(),
        AlertSource(book=around.book, mode=settings.environment.upper(), quote_asset=settings.base_quote),
    )
    try:
        tested = alerter.test()
    except (BnMlError, OSError) as error:
        return Shown(False, f"{type(error).__name__}: {error}")
    bad = [f"{name}: {problem}" for name, problem in alerter.problems]
    if not tested and not bad:
        return Shown(False, "no channel is enabled (monitoring.alerting)")
    bad += [f"{item.channel}: {item.problem}" for item in tested if not item.ok]
    return Shown(not bad, "; ".join(bad) if bad else f"delivered by {', '.join(item.channel for item in tested)}")


def _restore(around: Surroundings) -> Shown:
    """Show that a backup can be restored: one was, or the newest one is now, into a folder that is thrown away."""
    base = Path(around.settings.storage.backup.base_dir)
    try:
        return _recorded_restore(around.book) or _drill(base)
    except (BnMlError, OSError) as error:
        return Shown(False, f"{type(error).__name__}: {error}")


def _recorded_restore(book: Path) -> Shown | None:
    """Give the restore the book remembers, None when there was none."""
    status = StateReader(book).kv("backup_status") if book.exists() else None
    last = status.get("last_restore") if isinstance(status, dict) else None
    if not isinstance(last, dict):
        return None
    return Shown(True, f"backup {last.get('backup_id')} was restored and verified at {last.get('at')}")


def _drill(base: Path) -> Shown:
    """Verify the newest backup byte by byte, restore its book into a temporary folder and check the books there."""
    store = BackupStore(base)
    backups = store.backups()
    if not backups:
        return Shown(False, f"{base}: no backup yet; the bot makes one every hour")
    newest = backups[-1]
    problems = store.problems(newest)
    if problems:
        return Shown(False, f"backup {newest.backup_id}: {problems[0]}")
    if newest.manifest.book is None:
        return Shown(False, f"backup {newest.backup_id} holds no book (storage.backup.include_state_db)")
    with tempfile.TemporaryDirectory() as folder:
        restored = Path(folder) / BOOK
        shutil.copyfile(newest.folder / BOOK, restored)
        failed = [check for check in StateReader(restored).checks() if not check.passed]
        cycles = StateReader(restored).summary().cycles
    if failed:
        raise StateError(f"backup {newest.backup_id}: {failed[0].name}: {failed[0].detail}")
    now = iso(SystemClock().now())
    return Shown(
        True, f"backup {newest.backup_id} restored into a temporary folder at {now}: {cycles} cycles, books equal"
    )
