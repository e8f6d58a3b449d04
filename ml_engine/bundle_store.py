"""The bundles of one models folder: verified reads, atomic saves, versions that never go back."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bn_ml.domain.market import Symbol, from_iso, iso
from bn_ml.errors import ModelError
from ml_engine.bundle import (
    CORE_FILES,
    MANIFEST_FILE,
    METADATA_FILE,
    SIGNATURE_FILE,
    ModelBundle,
    check_consistency,
    check_vectors,
    core_files,
    manifest_of,
    read_core,
)
from ml_engine.bundle_files import (
    BundlePaths,
    Contents,
    Identity,
    VerifiedFiles,
    contents,
    identity,
    prune,
    read_served,
    read_verified,
    stage,
    swap_in,
)
from ml_engine.bundle_metadata import PinPart
from ml_engine.bundle_signing import ensure_key, key_file, local_public_key, sign


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a version was refused, and the files and trusted keys it was judged by."""

    path: Path
    files: Contents
    keys: tuple[str, ...]
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class VersionFact:
    """One version of a symbol on disk and since when it may be used."""

    version: int
    valid_from: datetime
    path: Path


class BundleStore:
    """Reads and writes the bundles below `models_dir`.

    `feature_hash` is the feature schema bundles must have been trained on (None checks none, for tools that only look).
    `trusted_keys` are public keys beside the local one. `keep_versions` counts the version in service; None keeps all.
    """

    def __init__(
        self,
        models_dir: Path | str,
        *,
        feature_hash: str | None = None,
        trusted_keys: Sequence[str] = (),
        keep_versions: int | None = 3,
        signing_key: Path | None = None,
    ) -> None:
        """Name the folder; nothing is read or created yet."""
        self.models_dir = Path(models_dir)
        self.feature_hash = feature_hash
        self._paths = BundlePaths(self.models_dir)
        self._trusted_keys = tuple(trusted_keys)
        self._keep_versions = keep_versions
        self._signing_key = signing_key or key_file(self.models_dir, {})
        self._local: tuple[Identity, str] | None = None
        self._seen: dict[Symbol, Identity | None] = {}
        self._highest: dict[Symbol, int] = {}
        self._index: dict[Symbol, tuple[VersionFact, ...]] = {}
        self._history: dict[tuple[Symbol, int], ModelBundle] = {}
        self._refusals: dict[tuple[Symbol, int], _Refusal] = {}

    def symbols(self) -> tuple[Symbol, ...]:
        """Give the symbols that have a bundle directory, sorted; not yet verified."""
        return self._paths.symbols()

    def load(self, symbol: Symbol) -> ModelBundle:
        """Give the verified bundle in service.

        Raises `ModelError`: `no_bundle` when there is none, `feature_mismatch` when it was trained on other features,
        `bundle_refused` when anything else differs from what was signed or a newer version was seen before.
        """
        newest = max(self._highest.get(symbol, 0), self._paths.newest(symbol))
        bundle = self._checked(symbol, read_served(self._paths, symbol, self._trust()))
        if bundle.version < newest:
            raise _refused(symbol, f"version {bundle.version} is older than version {newest} seen before")
        self._highest[symbol] = bundle.version
        return bundle

    def as_of(self, symbol: Symbol, when: datetime) -> ModelBundle:
        """Give the highest version with `valid_from <= when`; raises `ModelError` like `load`.

        A version is read once, one that was refused again only when a file of it or the trusted keys change.
        """
        usable = [fact for fact in self.versions(symbol) if fact.valid_from <= when]
        if not usable:
            raise ModelError(f"{symbol}: no bundle valid at {iso(when)}", reason="no_bundle")
        newest = max(usable, key=lambda fact: fact.version)
        kept = self._history.get((symbol, newest.version))
        if kept is None:
            kept = self._history[symbol, newest.version] = self._first_read(symbol, newest)
        return kept

    def versions(self, symbol: Symbol) -> tuple[VersionFact, ...]:
        """Give all versions on disk in ascending order, as their metadata says; cached until `poll_changes`."""
        known = self._index.get(symbol)
        if known is None:
            paths = [*self._paths.earlier(symbol).values(), self._paths.current(symbol)]
            facts = [fact for path in paths if (fact := _version_fact(path)) is not None]
            known = tuple(sorted(facts, key=lambda fact: fact.version))
            self._index[symbol] = known
        return known

    def poll_changes(self) -> tuple[Symbol, ...]:
        """Give the symbols whose directory appeared, changed or went since the last call; one `stat` per symbol."""
        present = {symbol: identity(self._paths.current(symbol)) for symbol in self.symbols()}
        names = sorted({*present, *self._seen})
        changed = [name for name in names if name not in self._seen or self._seen[name] != present.get(name)]
        for symbol in changed:
            self._index.pop(symbol, None)
        self._seen = dict(present)
        return tuple(changed)

    def verify(self, symbol: Symbol) -> str:
        """Give the public key that signed the bundle in service, all vectors reproduced; raises like `load`."""
        files = read_served(self._paths, symbol, self._trust())
        check_vectors(self._checked(symbol, files))
        return files.key

    def save(self, bundle: ModelBundle, attachments: Mapping[str, bytes] | None = None) -> ModelBundle:
        """Sign and publish a bundle under the next version; the present one is kept aside.

        `attachments` are further files (the members' `*.joblib`). Raises `ModelError` (`bundle_refused`) when the
        bundle contradicts itself or does not reproduce its test vectors; then nothing changes on disk.
        """
        check_consistency(bundle)
        check_vectors(bundle)
        extra = dict(attachments or {})
        _check_names(extra)
        symbol = Symbol(bundle.metadata.symbol)
        with self._locked():
            version = self._newest_known(symbol) + 1
            saved = replace(bundle, metadata=bundle.metadata.model_copy(update={"version": version}))
            files = {**core_files(saved), **extra}
            manifest = manifest_of(saved.metadata, files).to_bytes()
            signature = sign(ensure_key(self._signing_key), manifest)
            self._publish(symbol, version, {**files, MANIFEST_FILE: manifest, SIGNATURE_FILE: signature})
        self._highest[symbol] = version
        return saved

    def examine(self, directory: Path) -> ModelBundle:
        """Verify a bundle directory from elsewhere; it is not put in service. Raises `ModelError` like `load`."""
        files = read_verified(directory, self._trust())
        try:
            symbol = Symbol(files.manifest.symbol)
        except ValueError as error:
            raise ModelError(f"{directory.name}: {error}", reason="bundle_refused") from error
        return self._checked(symbol, files)

    def install(self, directory: Path) -> ModelBundle:
        """Verify a bundle directory from elsewhere and put it in service under its own, newer, version."""
        files = read_verified(directory, self._trust(), keep_all=True)
        symbol = Symbol(files.manifest.symbol)
        bundle = self._checked(symbol, files)
        check_vectors(bundle)
        with self._locked():
            newest = self._newest_known(symbol)
            if bundle.version <= newest:
                raise _refused(symbol, f"version {bundle.version} is not newer than version {newest}")
            self._publish(symbol, bundle.version, files.content)
        return bundle

    def rollback(
        self, symbol: Symbol, now: datetime, *, version: int | None = None, reason: str = "rolled back"
    ) -> ModelBundle:
        """Publish an earlier version's content again under a new version, valid from `now` and pinned.

        Without `version` the newest earlier one that verifies is taken. A pinned bundle gives way only to a challenger
        that was compared with it. Raises `ModelError` when there is no such version or it does not verify.
        """
        path = self._return_point(symbol, version)
        files = read_verified(path, self._trust(), keep_all=True)
        bundle = self._checked(symbol, files)
        pin = PinPart(content_of=bundle.version, instead_of=self._newest_known(symbol), at=now, reason=reason)
        metadata = bundle.metadata.model_copy(update={"valid_from": now, "pinned": pin})
        own = {*CORE_FILES, MANIFEST_FILE, SIGNATURE_FILE}
        extra = {name: data for name, data in files.content.items() if name not in own}
        return self.save(replace(bundle, metadata=metadata), extra)

    def _return_point(self, symbol: Symbol, version: int | None) -> Path:
        """Give the directory of an earlier version: the one named, else the newest that verifies."""
        earlier = self._paths.earlier(symbol)
        if version is not None:
            if version not in earlier:
                raise ModelError(f"{symbol}: version {version} is not kept, there are {sorted(earlier)}", "no_bundle")
            return earlier[version]
        refusal = ""
        for number in sorted(earlier, reverse=True):
            try:
                self._read(symbol, earlier[number])
            except ModelError as error:
                refusal = refusal or f" that may serve; version {number}: {error}"
            else:
                return earlier[number]
        raise ModelError(f"{symbol}: no earlier version to return to{refusal}", reason="no_bundle")

    def _first_read(self, symbol: Symbol, fact: VersionFact) -> ModelBundle:
        files, keys = contents(fact.path), self._trust()
        known = self._refusals.get((symbol, fact.version))
        if known is not None and (known.path, known.files, known.keys) == (fact.path, files, keys):
            raise ModelError(known.message, reason=known.reason)
        try:
            bundle = self._read(symbol, fact.path)
        except ModelError as error:
            self._refusals[symbol, fact.version] = _Refusal(fact.path, files, keys, str(error), error.reason)
            raise
        self._refusals.pop((symbol, fact.version), None)
        return bundle

    def _read(self, symbol: Symbol, path: Path) -> ModelBundle:
        return self._checked(symbol, read_verified(path, self._trust()))

    def _checked(self, symbol: Symbol, files: VerifiedFiles) -> ModelBundle:
        manifest = files.manifest
        if manifest.symbol != symbol:
            raise _refused(symbol, f"the bundle belongs to {manifest.symbol}")
        if self.feature_hash is not None and manifest.feature_hash != self.feature_hash:
            raise ModelError(
                f"{symbol}: trained on features {manifest.feature_hash[:12]}, present {self.feature_hash[:12]}",
                reason="feature_mismatch",
            )
        bundle = read_core(files.content)
        metadata = bundle.metadata
        said = (metadata.symbol, metadata.version, metadata.feature_hash, metadata.schema_version)
        if said != (manifest.symbol, manifest.version, manifest.feature_hash, manifest.schema_version):
            raise _refused(symbol, "metadata and manifest disagree")
        return bundle

    def _trust(self) -> tuple[str, ...]:
        try:
            facts = self._signing_key.stat()
        except OSError:
            return self._trusted_keys
        mark = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        if self._local is None or self._local[0] != mark:
            self._local = (mark, local_public_key(self._signing_key))
        return (self._local[1], *self._trusted_keys)

    def _newest_known(self, symbol: Symbol) -> int:
        fact = _version_fact(self._paths.current(symbol))
        return max(self._highest.get(symbol, 0), fact.version if fact else 0, self._paths.newest(symbol))

    def _publish(self, symbol: Symbol, version: int, files: Mapping[str, bytes]) -> None:
        self._finish_interrupted(symbol)
        stage(self._paths, symbol, files)
        present = _version_fact(self._paths.current(symbol))
        swap_in(self._paths, symbol, present.version if present else None)
        self._paths.remember_newest(symbol, version)
        if self._keep_versions is not None:
            prune(self._paths, symbol, self._keep_versions - 1)
        self._index.pop(symbol, None)

    def _finish_interrupted(self, symbol: Symbol) -> None:
        """Complete a swap that a crash cut between its two renames."""
        if self._paths.incoming(symbol).is_dir() and not self._paths.current(symbol).exists():
            swap_in(self._paths, symbol, None)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.models_dir.mkdir(parents=True, exist_ok=True)
        with (self.models_dir / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _version_fact(path: Path) -> VersionFact | None:
    try:
        content = json.loads((path / METADATA_FILE).read_bytes())
        return VersionFact(int(content["version"]), from_iso(content["valid_from"]), path)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_names(names: Mapping[str, bytes]) -> None:
    taken = {*CORE_FILES, MANIFEST_FILE, SIGNATURE_FILE}
    wrong = [name for name in names if name in taken or "/" in name or name.startswith(".") or not name.isascii()]
    if wrong:
        raise ModelError(f"attachments may not be called {wrong}", reason="bundle_refused")


def _refused(symbol: Symbol, message: str) -> ModelError:
    return ModelError(f"{symbol}: {message}", reason="bundle_refused")
