"""Logs: rotating file and stderr, UTC, text or JSON lines, secrets removed, a fallback for an unwritable folder."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from bn_ml.redaction import Redactor, redact_handlers
from bn_ml.settings import MonitoringSettings

log = logging.getLogger(__name__)

LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"
STAMP = "%Y-%m-%dT%H:%M:%S"


class UtcLines(logging.Formatter):
    """Plain lines with UTC time stamps."""

    converter = staticmethod(time.gmtime)


class JsonLines(UtcLines):
    """One JSON object a line: ts, level, logger, message, and the traceback when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of one record."""
        line = {
            "ts": self.formatTime(record, STAMP) + "Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # A record that was cleaned of secrets carries its traceback as text only.
        traceback = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")
        if traceback:
            line["traceback"] = traceback
        return json.dumps(line, ensure_ascii=False)


class SteadyFile(RotatingFileHandler):
    """A rotating file whose troubles are told on stderr in one line each time they change, and raised to nobody."""

    def __init__(self, path: Path, settings: MonitoringSettings) -> None:
        """Open the file with the size and number of the settings."""
        super().__init__(
            path, maxBytes=int(settings.log_max_mb * 1_000_000), backupCount=settings.log_backups, encoding="utf-8"
        )
        self._told = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self._failed = False
        super().emit(record)
        if not self._failed:
            self._told = ""

    def close(self) -> None:
        """Close the file; what a full disk does not take is lost."""
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name the standard library calls
        """Say once why a line could not be written."""
        del record
        self._failed = True
        error = sys.exc_info()[1]
        cause = str(getattr(error, "strerror", None) or type(error).__name__)
        if cause != self._told and sys.stderr is not None:
            self._told = cause
            with suppress(OSError, ValueError):
                sys.stderr.write(f"the log file {Path(self.baseFilename).name} cannot be written: {cause}\n")


def configure_logging(
    settings: MonitoringSettings, level: str, *, secrets: Iterable[str] = (), file_name: str = "bnml.log"
) -> Path:
    """Send logs to stderr and to a rotating file; gives the file. HTTP libraries stay at WARNING.

    An unwritable folder is replaced by `$BNML_FALLBACK_LOGS_DIR`, else by `bn_ml/logs` in the system's temporary
    folder, with a warning.
    """
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(_formatter(settings))
    root.addHandler(console)
    root.setLevel(level)
    return add_log_file(settings, secrets=secrets, file_name=file_name)


def add_log_file(settings: MonitoringSettings, *, secrets: Iterable[str], file_name: str) -> Path:
    """Send logs to a rotating file, in place of an earlier one, and clean them all of secrets; gives the file."""
    folder, problem = _writable_folder(Path(settings.logs_dir))
    path = folder / file_name
    rotating = SteadyFile(path, settings)
    rotating.setFormatter(_formatter(settings))
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, SteadyFile)]:
        root.removeHandler(earlier)
        earlier.close()
    root.addHandler(rotating)
    redact_handlers(root, Redactor(tuple(secrets)))
    for chatty in ("urllib3", "ccxt", "asyncio", "requests"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if problem:
        log.warning("log folder unusable, using %s instead: %s", folder, problem)
    return path


def _formatter(settings: MonitoringSettings) -> logging.Formatter:
    return JsonLines() if settings.log_format == "json" else UtcLines(LINE, STAMP + "Z")


def _writable_folder(wanted: Path) -> tuple[Path, str]:
    fallback = Path(os.environ.get("BNML_FALLBACK_LOGS_DIR") or Path(tempfile.gettempdir()) / "bn_ml" / "logs")
    problem = ""
    for folder in (wanted, fallback):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.write_text("")
            probe.unlink(missing_ok=True)
        except OSError as error:
            problem = problem or str(error)
        else:
            return folder, problem
    return Path(tempfile.mkdtemp(prefix="bn_ml_logs_")), problem
