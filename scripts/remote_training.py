"""Training for another machine: train, pack the signed bundles, hand the archive over, and say what became of it."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bn_ml.domain.market import Symbol
from bn_ml.durable_files import write_durably
from bn_ml.env import Secrets, load_env
from bn_ml.errors import ConfigError, ModelError
from bn_ml.redaction import Redactor
from bn_ml.settings import Settings
from ml_engine.bundle_archive import Packed, pack
from ml_engine.bundle_files import BundlePaths
from ml_engine.bundle_signing import key_file, local_public_key
from ml_engine.training_progress import COMPLETED, FAILED, WITH_ERRORS, TrainingFinished
from scripts import cli, training_command
from scripts.archive_transfer import Transfer, TransferFailed, upload

log = logging.getLogger("bnml.trainer")

MODE = "train_only"
TRAINED_BY = "bnml-runpod-train-only"
ARCHIVE_URL = "BNML_ARCHIVE_URL"
UPLOAD_TIMEOUT_S = 1800.0
UPLOADS = 3
_NO_TARGET = "no upload address is set ({name}): the archive stays on this machine at {path}"


@dataclass(frozen=True, slots=True)
class RemoteResult:
    """What a remote training answers; `note` and `error` are a sentence each, empty where there is nothing to say."""

    status: str
    models_archive_url: str
    archive_sha256: str
    archive_bytes: int
    archive_files: int
    symbols_trained: tuple[str, ...]
    symbols_failed: tuple[str, ...]
    archive_path: str = ""
    note: str = ""
    error: str = ""
    mode: str = MODE

    def as_dict(self) -> dict[str, object]:
        """Give the answer as plain values; an empty note or error is left out."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in plain.items() if value or name not in ("note", "error")}


@dataclass(frozen=True, slots=True)
class HandOver:
    """Where the archive goes: the presigned address it is put to, and the one it can be fetched from; both secret."""

    put_url: str
    get_url: str
    variable: str

    @classmethod
    def of(cls, environ: Mapping[str, str], variable: str) -> HandOver:
        """Read the addresses; without one to fetch from it is the upload's, without its query.

        Raises `ConfigError` for a secret file that cannot be read.
        """
        put_url = secret(environ, variable)
        return cls(put_url, secret(environ, ARCHIVE_URL) or without_query(put_url), variable)

    def hidden(self) -> tuple[str, ...]:
        """Give the texts no message may hold: the addresses and their queries."""
        queries = (urlsplit(url).query for url in (self.put_url, self.get_url) if url)
        return tuple(text for text in (self.put_url, *queries) if text)


def run(arguments: argparse.Namespace) -> int:
    """Train once and show the result; 1 when a symbol failed, nothing could be packed, or the upload was not taken."""
    training_command.prepare(arguments)
    settings = training_command.load(arguments)
    result = train_and_hand_over(arguments, settings)
    content = result.as_dict()
    if arguments.result_json is not None:
        arguments.result_json.parent.mkdir(parents=True, exist_ok=True)
        write_durably(arguments.result_json, json.dumps(content, sort_keys=True).encode() + b"\n")
    print(json.dumps(content, sort_keys=True))
    if result.error:
        return cli.complain(result.error, cli.FAILED)
    if result.symbols_failed:
        return cli.complain(f"failed: {', '.join(result.symbols_failed)}", cli.FAILED)
    return cli.DONE


def train_and_hand_over(
    arguments: argparse.Namespace, settings: Settings, known: Mapping[Symbol, int] | None = None
) -> RemoteResult:
    """Train, pack and upload; what goes wrong after the training is told in the result.

    `known` are versions the receiver has seen: what is trained here gets higher ones. Raises what training raises.
    """
    environ = load_env(Path.cwd())
    target = HandOver.of(environ, arguments.upload_url_env)
    redactor = Redactor((*Secrets.from_environ(environ).hidden(), *target.hidden()))
    models_dir = Path(settings.model.models_dir)
    continue_versions(models_dir, known or {})
    finished = training_command.run_once(arguments, settings, trained_by=TRAINED_BY).finished
    packed: Packed | None = None
    error = finished.error
    try:
        packed = _packed(arguments, settings, models_dir, finished)
        if target.put_url:
            _uploaded(target, packed)
    except (ModelError, TransferFailed, OSError) as failure:
        error = redactor.clean(f"{failure}")
        log.error("the archive was not handed over: %s", error)
    return _result(finished, packed, target, error)


def continue_versions(models_dir: Path, known: Mapping[Symbol, int]) -> None:
    """Remember the highest versions the receiver has, so that what is trained here is newer."""
    paths = BundlePaths(models_dir)
    for symbol, version in known.items():
        if version > paths.newest(symbol):
            paths.remember_newest(symbol, version)


def without_query(url: str) -> str:
    """Give an address without query and fragment.

    >>> without_query("https://bucket.example/models.zip?X-Amz-Signature=abc")
    'https://bucket.example/models.zip'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def secret(environ: Mapping[str, str], variable: str) -> str:
    """Read a variable, or the file `<NAME>_FILE` names; empty without either."""
    direct = environ.get(variable, "").strip()
    file_name = environ.get(f"{variable}_FILE", "").strip()
    if direct or not file_name:
        return direct
    try:
        return Path(file_name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{variable}_FILE: {file_name} cannot be read ({type(error).__name__})"]) from error


def _packed(arguments: argparse.Namespace, settings: Settings, models_dir: Path, finished: TrainingFinished) -> Packed:
    """Pack what was trained first, then the others asked for, as far as there is room."""
    wanted: Sequence[Symbol] = training_command.symbols_of(arguments, settings)
    fresh = [symbol for symbol in wanted if symbol in finished.trained]
    key = key_file(models_dir, os.environ)
    trusted = (*settings.model.trusted_keys, *((local_public_key(key),) if key.exists() else ()))
    packed = pack(models_dir, tuple(dict.fromkeys((*fresh, *wanted))), arguments.archive_path, trusted)
    for symbol, why in packed.left_out.items():
        log.warning("not in the archive symbol=%s why=%s", symbol, why)
    return packed


def _uploaded(target: HandOver, packed: Packed) -> None:
    for attempt in range(1, UPLOADS + 1):
        try:
            upload(target.put_url, packed.path, Transfer(UPLOAD_TIMEOUT_S, packed.size))
        except TransferFailed as error:
            if attempt == UPLOADS:
                raise
            log.warning("upload tried again: %s", error)
        else:
            return


def _result(finished: TrainingFinished, packed: Packed | None, target: HandOver, error: str) -> RemoteResult:
    status = finished.status if finished.status in (COMPLETED, WITH_ERRORS) and not error else FAILED
    note = ""
    if packed is not None and not target.put_url:
        note = _NO_TARGET.format(name=target.variable, path=packed.path)
    left_out = "" if packed is None or not packed.left_out else "; ".join(map(str, packed.left_out))
    return RemoteResult(
        status=status,
        models_archive_url=target.get_url if packed is not None and target.put_url and not error else "",
        archive_sha256="" if packed is None else packed.sha256,
        archive_bytes=0 if packed is None else packed.size,
        archive_files=0 if packed is None else packed.files,
        symbols_trained=finished.trained,
        symbols_failed=finished.failed,
        archive_path="" if packed is None else str(packed.path),
        note="; ".join(part for part in (note, left_out and f"not in the archive: {left_out}") if part),
        error=error,
    )
