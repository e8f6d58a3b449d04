"""Bundles from remote training: start the job, wait, fetch its archive, verify it and adopt what is newer."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.errors import ConfigError, LockHeld
from bn_ml.ports import Clock
from bn_ml.settings import RunpodSettings
from ml_engine.bundle_adoption import Adoption, adopt_all, newest_known
from ml_engine.bundle_archive import unpack
from ml_engine.bundle_store import BundleStore
from monitoring.outgoing_address import Target
from scripts.archive_transfer import Transfer, TransferFailed, download, require_allowed
from scripts.remote_training_job import RemoteTrainingJob

log = logging.getLogger("bnml.model_sync")

MEGABYTE = 1024 * 1024
DOWNLOADS = 3
STAGING = ".arrivals"
KNOWN_VERSIONS = "known_versions"
_PIECE = 1 << 20


def runpod_pull(
    settings: RunpodSettings,
    api_key: str,
    store: BundleStore,
    *,
    trusted: tuple[str, ...],
    clock: Clock,
    over_pins: bool = False,
) -> tuple[Adoption, ...]:
    """Train remotely and adopt the result. Raises `RemoteJobFailed`, `TransferFailed`, `ModelError`, `ConfigError`."""
    if not settings.allowed_download_hosts:
        raise ConfigError(["model_sync.runpod.allowed_download_hosts: is empty; name the host archives come from"])
    job = RemoteTrainingJob(settings, api_key, clock)
    archive = job.run(payload(settings.trigger_payload, store))
    target = require_allowed(archive.url, settings.allowed_download_hosts)
    with _staging(store.models_dir / STAGING) as folder:
        path = _fetched(target, folder, archive.sha256, settings, clock)
        bundles = unpack(
            path, folder / "bundles", trusted, folder=settings.extract_subdir, max_bytes=_max_bytes(settings)
        )
        return adopt_all(store, bundles, over_pins=over_pins)


def payload(configured: Mapping[str, object], store: BundleStore) -> dict[str, object]:
    """Give the body that starts a job: the configured one, and in its `input` the versions known here.

    A worker that begins with an empty disk would number its bundles from 1, and nothing here goes back in version.
    """
    known = {str(symbol): newest_known(store, Symbol(symbol)) for symbol in store.symbols()}
    given = configured.get("input")
    if not isinstance(given, Mapping) or not known or KNOWN_VERSIONS in given:
        return dict(configured)
    return {**configured, "input": {**given, KNOWN_VERSIONS: known}}


def _fetched(target: Target, folder: Path, sha256: str, settings: RunpodSettings, clock: Clock) -> Path:
    """Download the archive, again when it breaks off: the job that made it need not run twice."""
    bounds = Transfer(settings.download_timeout_sec, _max_bytes(settings))
    for attempt in range(1, DOWNLOADS + 1):
        path = folder / f"models-{attempt}.zip"
        try:
            size = download(target, path, bounds)
        except TransferFailed as error:
            if attempt == DOWNLOADS:
                raise
            log.warning("download tried again: %s", error)
            clock.sleep_until(clock.now() + timedelta(seconds=settings.poll_interval_sec))
        else:
            break
    digest = _digest(path)
    if sha256 and digest != sha256:
        raise TransferFailed(f"{target.host} sent another archive than the job announced")
    log.info("archive fetched host=%s bytes=%s sha256=%s", target.host, size, digest)
    return path


def _max_bytes(settings: RunpodSettings) -> int:
    return int(settings.max_archive_mb * MEGABYTE)


@contextmanager
def _staging(place: Path) -> Iterator[Path]:
    """Give an empty folder for the block; one at a time, and what a crash left behind goes first."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(f"{place}: another archive is being taken in") from None
        for leftover in place.iterdir():
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix="archive-", dir=place) as folder:
            yield Path(folder)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
