"""What each sub-command of `bnml-model-sync` does, with the settings and flags it was given."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.config_secrets import refused_secrets
from bn_ml.domain.market import Symbol
from bn_ml.env import Secrets, load_env
from bn_ml.errors import ConfigError
from bn_ml.settings import Settings
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.bundle_adoption import ADOPTED, REFUSED, Adoption
from ml_engine.bundle_signing import key_file, local_public_key
from ml_engine.bundle_store import BundleStore
from monitoring.alerter import Alerter, AlertSource
from monitoring.logger import add_log_file
from scripts import cli, model_sync_git, model_sync_shelf
from scripts.explain_sources import open_store
from scripts.model_sync_daemon import SyncDaemon, SyncIncomplete, schedule_of, stopped_by_signal
from scripts.model_sync_runpod import runpod_pull
from scripts.tables import table

LOG_FILE = "model_sync.log"
ALERTS_TOLD_S = 10.0

log = logging.getLogger("bnml.model_sync")


@dataclass(frozen=True, slots=True)
class Desk:
    """What each sub-command works with."""

    arguments: argparse.Namespace
    settings: Settings
    secrets: Secrets
    clock: SystemClock = field(default_factory=SystemClock)

    @property
    def models_dir(self) -> Path:
        """The folder of the bundles here."""
        return Path(self.settings.model.models_dir)

    @property
    def signing_key(self) -> Path:
        """The file of this machine's signing key; it may not exist."""
        return key_file(self.models_dir, os.environ)

    @property
    def trusted(self) -> tuple[str, ...]:
        """The public keys whose bundles may serve here."""
        own = (local_public_key(self.signing_key),) if self.signing_key.exists() else ()
        return (*own, *self.settings.model.trusted_keys)

    def store(self) -> BundleStore:
        """Open the bundles; those of other features are refused."""
        return open_store(self.settings, feature_hash=FeatureEngineer(self.settings.model).feature_hash)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; raises `BnMlError` or `OSError` for what the caller tells in a line."""
    logging.basicConfig(
        level=arguments.log_level or "INFO", stream=sys.stderr, format="%(levelname)s %(message)s", force=True
    )
    environ = load_env(Path.cwd())
    loaded = load_settings(arguments.config, environ=environ, overrides=overrides_of(arguments))
    settings = loaded.settings
    secrets = Secrets.from_environ(environ, runpod_variable=settings.model_sync.runpod.api_key_env)
    add_log_file(settings.monitoring, secrets=secrets.hidden(), file_name=LOG_FILE)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return _dispatched(Desk(arguments, settings, secrets))


def overrides_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Give the flags as settings; raises `ConfigError` for JSON that is no object, or that holds a secret."""
    chosen = {key: getattr(arguments, name, None) for name, key in _FLAGS.items()}
    given: dict[str, object] = {key: value for key, value in chosen.items() if value is not None}
    for key in ("model_sync.runpod.trigger_payload", "model_sync.runpod.headers"):
        if key in given:
            given[key] = _object(key, str(given[key]))
    return given


_FLAGS: Mapping[str, str] = {
    "models_dir": "model.models_dir",
    "repo_dir": "model_sync.repo_dir",
    "repo_models_subdir": "model_sync.repo_models_subdir",
    "remote": "model_sync.remote",
    "branch": "model_sync.branch",
    "trigger_url": "model_sync.runpod.trigger_url",
    "status_url_template": "model_sync.runpod.status_url_template",
    "api_key_env": "model_sync.runpod.api_key_env",
    "trigger_method": "model_sync.runpod.trigger_method",
    "trigger_payload_json": "model_sync.runpod.trigger_payload",
    "headers_json": "model_sync.runpod.headers",
    "request_timeout_sec": "model_sync.runpod.request_timeout_sec",
    "poll_interval_sec_runpod": "model_sync.runpod.poll_interval_sec",
    "job_timeout_sec": "model_sync.runpod.job_timeout_sec",
    "download_timeout_sec": "model_sync.runpod.download_timeout_sec",
    "extract_subdir": "model_sync.runpod.extract_subdir",
}


def _object(key: str, text: str) -> dict[str, object]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ConfigError([f"{key}: write a JSON object, such as {{}}"])
    _, secret_places = refused_secrets({key: content})
    if secret_places:
        raise ConfigError([f"{key}: secrets are not allowed here; set the key in the environment"])
    return content


def _dispatched(desk: Desk) -> int:
    arguments = desk.arguments
    now, as_json = desk.clock.now(), arguments.json
    match arguments.command:
        case "list":
            return model_sync_shelf.show_list(desk.store(), now, as_json=as_json)
        case "verify":
            return model_sync_shelf.verify_all(desk.store(), as_json=as_json)
        case "key":
            return model_sync_shelf.show_key(desk.models_dir, dict(os.environ), as_json=as_json)
        case "rollback":
            symbol = _symbol(arguments.symbol)
            version = arguments.to_version
            return model_sync_shelf.put_back(desk.store(), symbol, now, version=version, as_json=as_json)
        case "publish":
            return _publish_once(desk)
        case "daemon":
            return _daemon(desk)
        case _:
            return _pull_once(desk)


def _publish_once(desk: Desk) -> int:
    published, failed = publish(desk)
    text = f"{_said(published)}{_listed('; training failed', failed)}"
    cli.show({**asdict(published), "training_failed": failed}, as_json=desk.arguments.json, text=text)
    bad = [*failed, *published.left_out]
    return cli.complain(f"not all is well: {', '.join(bad)}", cli.FAILED) if bad else cli.DONE


def _pull_once(desk: Desk) -> int:
    is_remote = desk.arguments.command == "runpod-pull"
    over_pins = desk.arguments.over_pinned
    taken = pull_archive(desk, over_pins=over_pins) if is_remote else pull(desk, over_pins=over_pins)
    rows = [asdict(item) for item in taken]
    text = table(rows, terminal=sys.stdout.isatty()) if rows else "no bundles were offered"
    cli.show({"models_dir": str(desk.models_dir), "bundles": rows}, as_json=desk.arguments.json, text=text)
    refused = [item.symbol for item in taken if item.result == REFUSED]
    return cli.complain(f"refused: {', '.join(refused)}", cli.FAILED) if refused else cli.DONE


def publish(desk: Desk) -> tuple[model_sync_git.Published, tuple[str, ...]]:
    """Train unless it is not wanted, then publish; gives also the symbols whose training failed."""
    arguments, wanted = desk.arguments, desk.settings.model_sync
    exchange = _exchange(desk)
    # What would refuse the publication should do so before hours of training.
    exchange.make_ready()
    failed = _train(desk) if wanted.publisher.train_before_push and not arguments.skip_training else ()
    keys = tuple(desk.settings.model.trusted_keys)
    done = model_sync_git.publish(exchange, desk.models_dir, keys, desk.signing_key, arguments.commit_message)
    return done, failed


def pull(desk: Desk, *, over_pins: bool = False) -> tuple[Adoption, ...]:
    """Adopt what the repository has."""
    _require_trust(desk)
    return model_sync_git.pull(_exchange(desk), desk.store(), over_pins=over_pins)


def pull_archive(desk: Desk, *, over_pins: bool = False) -> tuple[Adoption, ...]:
    """Train remotely and adopt the archive."""
    _require_trust(desk)
    runpod = desk.settings.model_sync.runpod
    key = desk.secrets.runpod_api_key
    return runpod_pull(runpod, key, desk.store(), trusted=desk.trusted, clock=desk.clock, over_pins=over_pins)


def _require_trust(desk: Desk) -> None:
    """Raise `ConfigError` before anything is asked for when no bundle whatsoever could be adopted."""
    if not desk.trusted:
        raise ConfigError(
            ["model.trusted_keys: is empty; list the key `bnml-model-sync key` prints on the machine that trains"]
        )


def _exchange(desk: Desk) -> model_sync_git.Exchange:
    wanted = desk.settings.model_sync
    return model_sync_git.open_exchange(
        wanted.repo_dir,
        remote=wanted.remote,
        branch=wanted.branch,
        subdir=wanted.repo_models_subdir,
        allow_dirty=desk.arguments.allow_dirty_worktree,
    )


def _train(desk: Desk) -> tuple[str, ...]:
    """Train as `bnml-trainer` does with the same flags; gives the symbols that failed."""
    from scripts import training_command, training_flags

    given = desk.arguments
    flags = [part for name in given.symbol or () for part in ("--symbol", name)]
    flags += ["--train-missing-only"] if given.train_missing_only else []
    flags += ["--train-all"] if given.train_all else []
    flags += ["--max-model-age-hours", given.max_model_age_hours] if given.max_model_age_hours else []
    parsed = training_flags.parser("bnml-trainer", "").parse_args(flags)
    done = training_command.run_once(parsed, desk.settings, trained_by="bnml-trainer")
    return done.finished.failed


def _daemon(desk: Desk) -> int:
    """Exchange every day until a signal ends it; gives 0."""
    arguments, wanted = desk.arguments, desk.settings.model_sync
    role: str = arguments.role
    off = [] if wanted.enabled else ["model_sync.enabled: is false; set it to true to exchange models every day"]
    if role == "runpod_client" and not wanted.runpod.enabled:
        off.append("model_sync.runpod.enabled: is false; set it to true to use remote training")
    if off:
        raise ConfigError(off)
    schedules = {
        "publisher": wanted.publisher.schedule,
        "client": wanted.client.schedule,
        "runpod_client": wanted.runpod_client.schedule,
    }
    schedule = schedule_of(arguments.at or schedules[role], wanted.timezone)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped_by_signal(stop))
    alerts = _alerter(desk, role)
    alerts.start()
    clock = SystemClock(stop)
    daemon = SyncDaemon(lambda: _turn(desk, role), schedule, clock=clock, alerts=alerts, stop=stop, name=role)
    try:
        daemon.run(at_once=arguments.run_on_start, look_every=timedelta(seconds=arguments.poll_interval_sec))
    except KeyboardInterrupt:
        log.info("stopped role=%s; the bundles in service stay", role)
    finally:
        alerts.stop(ALERTS_TOLD_S)
    return cli.DONE


def _turn(desk: Desk, role: str) -> str:
    if role == "publisher":
        published, failed = publish(desk)
        if failed or published.left_out:
            raise SyncIncomplete(f"{_said(published)}; failed: {', '.join((*failed, *published.left_out))}")
        return _said(published)
    taken = pull(desk) if role == "client" else pull_archive(desk)
    refused = [f"{item.symbol} ({item.reason})" for item in taken if item.result == REFUSED]
    adopted = [item.symbol for item in taken if item.result == ADOPTED]
    said = f"{len(adopted)} of {len(taken)} bundles adopted{_listed('', adopted)}"
    if refused:
        raise SyncIncomplete(f"{said}; refused: {'; '.join(refused)}")
    return said


def _alerter(desk: Desk, role: str) -> Alerter:
    settings = desk.settings
    beside = Path(settings.storage.sqlite_path).with_name(f"model_sync_{role}.db")
    source = AlertSource(beside, settings.environment.upper(), settings.base_quote, watches=False)
    return Alerter(settings.monitoring.alerting, desk.secrets, SystemClock(), source)


def _said(published: model_sync_git.Published) -> str:
    parts: Sequence[tuple[str, int]] = (
        ("published", len(published.published)),
        ("unchanged", len(published.unchanged)),
        ("left out", len(published.left_out)),
    )
    commit = f", commit {published.commit[:12]}" if published.commit else ", nothing to commit"
    return ", ".join(f"{count} {name}" for name, count in parts) + commit


def _listed(words: str, names: Sequence[str]) -> str:
    return f"{words}: {', '.join(names)}" if names else ""


def _symbol(text: str) -> Symbol:
    try:
        return Symbol(text)
    except ValueError as error:
        raise ConfigError([f"--symbol: {error}"]) from error
