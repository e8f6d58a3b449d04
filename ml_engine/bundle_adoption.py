"""Taking bundles from elsewhere into service: one after the other, each by its own merits."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from ml_engine.bundle_files import BundlePaths
from ml_engine.bundle_store import BundleStore

log = logging.getLogger(__name__)

ADOPTED, UP_TO_DATE, REFUSED, PINNED = "adopted", "up_to_date", "refused", "pinned"


@dataclass(frozen=True, slots=True)
class Adoption:
    """What became of one bundle offered: `result` adopted, up_to_date, pinned or refused, and why not adopted."""

    symbol: str
    result: str
    version: int = 0
    reason: str = ""


def bundle_directories(folder: Path) -> tuple[Path, ...]:
    """Give the directories below a folder that are named like a symbol's bundle, sorted; links are left out."""
    if folder.is_symlink() or not folder.is_dir():
        return ()
    keys = [path for path in folder.iterdir() if not path.is_symlink() and path.is_dir()]
    return tuple(sorted(path for path in keys if _symbol_of(path) is not None))


def adopt_all(store: BundleStore, directories: Iterable[Path], *, over_pins: bool = False) -> tuple[Adoption, ...]:
    """Offer each directory to the store; one that is refused does not stop the others."""
    return tuple(adopt(store, path, over_pins=over_pins) for path in directories)


def adopt(store: BundleStore, directory: Path, *, over_pins: bool = False) -> Adoption:
    """Verify one bundle and put it in service when it is newer than what was ever served here.

    A version somebody put back here stays until `over_pins`: a comparison made elsewhere was not with it, whatever its
    number.
    """
    symbol = _symbol_of(directory)
    if symbol is None:
        return Adoption(directory.name, REFUSED, reason="not the folder of a symbol")
    try:
        return _offered(store, directory, symbol, over_pins=over_pins)
    except ModelError as error:
        log.warning("bundle refused symbol=%s reason=%s why=%s", symbol, error.reason, error)
        return Adoption(symbol, REFUSED, reason=str(error))


def newest_known(store: BundleStore, symbol: Symbol) -> int:
    """Give the highest version of a symbol ever published in a store's folder, 0 when none was."""
    on_disk = [fact.version for fact in store.versions(symbol)]
    return max([BundlePaths(store.models_dir).newest(symbol), *on_disk])


def _offered(store: BundleStore, directory: Path, symbol: Symbol, *, over_pins: bool) -> Adoption:
    offer = store.examine(directory)
    if offer.metadata.symbol != symbol:
        return Adoption(symbol, REFUSED, offer.version, f"the bundle belongs to {offer.metadata.symbol}")
    known = newest_known(store, symbol)
    if offer.version <= known:
        return Adoption(symbol, UP_TO_DATE, offer.version, f"version {known} is known here")
    pinned = _pinned_version(store, symbol)
    if pinned and not over_pins:
        return Adoption(symbol, PINNED, offer.version, f"version {pinned} was put back and stays")
    bundle = store.install(directory)
    log.info("bundle adopted symbol=%s version=%s trained_by=%s", symbol, bundle.version, bundle.metadata.trained_by)
    return Adoption(symbol, ADOPTED, bundle.version)


def _pinned_version(store: BundleStore, symbol: Symbol) -> int:
    """Give the version in service when it was put back by hand, 0 otherwise."""
    try:
        served = store.load(symbol)
    except ModelError:
        # What cannot serve does not stand in the way of what can.
        return 0
    return served.version if served.metadata.pinned is not None else 0


def _symbol_of(path: Path) -> Symbol | None:
    try:
        symbol = Symbol.from_key(path.name)
    except ValueError:
        return None
    return symbol if symbol.key == path.name else None
