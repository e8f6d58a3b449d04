"""Bundles through a Git repository: publish what was trained here, adopt what was trained elsewhere."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.errors import ConfigError, ModelError
from ml_engine.bundle import MANIFEST_FILE
from ml_engine.bundle_adoption import Adoption, adopt_all, bundle_directories
from ml_engine.bundle_files import BundlePaths, read_verified
from ml_engine.bundle_signing import local_public_key
from ml_engine.bundle_store import BundleStore
from scripts.git_repository import GitRepository, RepositoryError

log = logging.getLogger("bnml.model_sync")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A repository, the folder of the bundles in it, and whether uncommitted changes there are no hindrance."""

    repository: GitRepository
    subdir: str
    allow_dirty: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the bundles; raises `RepositoryError` when it leads out of the working copy."""
        top = self.repository.folder
        path = top
        for part in Path(self.subdir).parts:
            path = path / part
            if path.is_symlink():
                raise RepositoryError(f"{path} is a link; bundles are exchanged through real folders only")
        return path

    def make_ready(self) -> None:
        """Undo what a run that died left behind; raises `RepositoryError` unless the working copy may be used."""
        self.repository.mend(self.subdir)
        self.repository.require_ready(allow_dirty=self.allow_dirty)


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a publication: symbols written, left as they were, not published and why, and the commit."""

    published: tuple[str, ...]
    unchanged: tuple[str, ...]
    left_out: Mapping[str, str]
    commit: str


def open_exchange(repo_dir: str, *, remote: str, branch: str, subdir: str, allow_dirty: bool = False) -> Exchange:
    """Give the exchange the settings name; raises `ConfigError` for what cannot be one."""
    if not repo_dir.strip():
        raise ConfigError(["model_sync.repo_dir: is empty; name a working copy of the exchange repository"])
    inside = Path(subdir)
    if not inside.parts or inside.is_absolute() or any(part in ("..", ".git") for part in inside.parts):
        raise ConfigError([f"model_sync.repo_models_subdir: {subdir!r} is not a folder inside the repository"])
    repository = GitRepository(Path(repo_dir).expanduser(), remote=remote, branch=branch)
    return Exchange(repository, subdir, allow_dirty)


def pull(exchange: Exchange, store: BundleStore, *, over_pins: bool = False) -> tuple[Adoption, ...]:
    """Bring the working copy up to date and offer its bundles to the store one by one."""
    repository = exchange.repository
    exchange.make_ready()
    repository.pull()
    return adopt_all(store, bundle_directories(exchange.folder), over_pins=over_pins)


def publish(
    exchange: Exchange, models_dir: Path, trusted: Sequence[str], signing_key: Path, message: str = ""
) -> Published:
    """Mirror the verified bundles of `models_dir` into the repository, commit those and push.

    A publication the remote does not take leaves the working copy as it was. Raises `RepositoryError`.
    """
    repository = exchange.repository
    exchange.make_ready()
    if repository.has_remote_branch():
        repository.pull()
    keys = (*trusted, *((local_public_key(signing_key),) if signing_key.exists() else ()))
    folder = exchange.folder
    with repository.writing(exchange.subdir):
        mirrored = _mirror(models_dir, folder, keys)
        paths = [f"{exchange.subdir}/{Symbol(name).key}" for name in mirrored.published]
        commit = repository.commit(paths, message or _message(mirrored.published)) if paths else ""
    try:
        repository.push()
    except RepositoryError:
        if commit:
            repository.take_back(commit)
        raise
    return Published(mirrored.published, mirrored.unchanged, mirrored.left_out, commit)


def _mirror(models_dir: Path, folder: Path, keys: tuple[str, ...]) -> Published:
    published: list[str] = []
    unchanged: list[str] = []
    left_out: dict[str, str] = {}
    paths = BundlePaths(models_dir)
    for symbol in paths.symbols():
        try:
            written = _mirror_one(paths, symbol, folder / symbol.key, keys)
        except ModelError as error:
            log.warning("not published symbol=%s why=%s", symbol, error)
            left_out[symbol] = str(error)
        else:
            (published if written else unchanged).append(symbol)
    return Published(tuple(published), tuple(unchanged), left_out, "")


def _mirror_one(paths: BundlePaths, symbol: Symbol, target: Path, keys: tuple[str, ...]) -> bool:
    """Write one bundle into the working copy unless it is there already; never over a newer one."""
    files = read_verified(paths.served(symbol), keys, keep_all=True)
    if files.manifest.symbol != symbol:
        raise ModelError(f"{symbol}: the bundle belongs to {files.manifest.symbol}", reason="bundle_refused")
    there = _version_there(target)
    if there > files.manifest.version:
        raise ModelError(f"{symbol}: the repository has version {there}, here is {files.manifest.version}")
    if there == files.manifest.version and _is_whole(target, keys):
        if (target / MANIFEST_FILE).read_bytes() == files.content[MANIFEST_FILE]:
            return False
        raise ModelError(f"{symbol}: the repository has another version {there}; train again to get a newer one")
    _replace(target, files.content)
    return True


def _replace(target: Path, content: Mapping[str, bytes]) -> None:
    part = target.with_name(f".{target.name}.part")
    for leftover in (part, target):
        if leftover.is_symlink() or leftover.is_file():
            leftover.unlink()
        elif leftover.exists():
            shutil.rmtree(leftover)
    part.mkdir(parents=True)
    for name, data in content.items():
        (part / name).write_bytes(data)
    part.rename(target)


def _version_there(target: Path) -> int:
    try:
        return int(json.loads((target / MANIFEST_FILE).read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _is_whole(target: Path, keys: tuple[str, ...]) -> bool:
    try:
        read_verified(target, keys)
    except ModelError:
        return False
    return True


def _message(symbols: Sequence[str]) -> str:
    named = ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")
    return f"Publish models: {named}"
