"""Loading the configuration: flags over environment over YAML over defaults, checked as a whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bn_ml.config_aliases import ABSENT, Tree, leaves, put, translate, value_at
from bn_ml.config_secrets import refused_secrets
from bn_ml.config_yaml import read_yaml
from bn_ml.errors import ConfigError
from bn_ml.settings import Settings, checked_settings
from bn_ml.settings_base import Section, plain_value, walk_keys
from bn_ml.settings_problems import Raw, nearest_key, without
from bn_ml.settings_rules import warnings_of

DEFAULT_PATH = Path("configs/bot.yaml")
PATH_VARIABLE = "BNML_CONFIG_PATH"
DEFAULT, YAML, ENV, FLAG = "default", "yaml", "env", "flag"


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Checked settings, what to warn of, where each dotted key's value came from, and the file (None: no file).

    `hash` identifies the effective values, whatever their source. `places` says more of a value that does not stand
    under its own name in the file: the variable, the flag or the old name that gave it.
    """

    settings: Settings
    warnings: tuple[str, ...]
    sources: Mapping[str, str]
    path: Path | None
    hash: str
    places: Mapping[str, str] = field(default_factory=dict)


def load_settings(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Raw | None = None,
) -> LoadedSettings:
    """Load and check the configuration.

    The file is `path`, else the one named by `BNML_CONFIG_PATH`, else `configs/bot.yaml`, else none (defaults only).
    `environ` defaults to the process environment; `overrides` maps dotted keys to values given as flags.
    Raises `ConfigError` listing every problem at once.
    """
    loaded, problems = examined_settings(path, environ=environ, overrides=overrides)
    if problems:
        raise ConfigError(problems)
    return loaded


def examined_settings(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, overrides: Raw | None = None
) -> tuple[LoadedSettings, tuple[str, ...]]:
    """Load the configuration like `load_settings` and give every problem beside it, instead of refusing.

    What was refused stands at its default: settings with problems are there to be looked at, never to trade on.
    """
    variables = os.environ if environ is None else environ
    file, tree, unread = _file(path, variables)
    draft = _Draft(tree, problems=unread)
    draft.translate()
    draft.apply_environ(variables)
    for dotted, value in (overrides or {}).items():
        draft.set(dotted, value, FLAG, "the command line")
    settings, problems = checked_settings(draft.tree)
    problems = draft.problems + [draft.placed(line) for line in problems]
    warnings = tuple(draft.warnings + warnings_of(settings))
    loaded = LoadedSettings(settings, warnings, draft.sources(), file, settings_hash(settings), draft.places())
    return loaded, tuple(dict.fromkeys(problems))


def config_path(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Give the file to load, None when there is none; raises `ConfigError` when a named file is absent."""
    named = environ.get(PATH_VARIABLE, "").strip()
    chosen = path or (Path(named) if named else None)
    if chosen is None:
        return DEFAULT_PATH if DEFAULT_PATH.is_file() else None
    if not chosen.is_file():
        origin = "--config" if path else PATH_VARIABLE
        raise ConfigError([f"{origin}: no file at {chosen}; name an existing file or run: bnml-doctor init"])
    return chosen


def lookup(settings: Section, dotted: str) -> object:
    """Give the value or section under a dotted key; raises `ConfigError` naming the nearest key.

    >>> lookup(Settings(), "risk.max_open_positions")
    5
    """
    node: object = settings
    for name in dotted.split("."):
        fields = type(node).model_fields if isinstance(node, Section) else {}
        attribute = next((own for own, field in fields.items() if name in (own, field.alias)), None)
        if attribute is None:
            near = nearest_key(dotted, type(settings))
            raise ConfigError([f"{dotted}: unknown key" + (f"; did you mean {near}?" if near else "")])
        node = getattr(node, attribute)
    return node


def settings_hash(settings: Settings) -> str:
    """Give the SHA-256 of the effective values, independent of their order and source."""
    text = json.dumps(plain_value(settings), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, Tree, list[str]]:
    """Give the file to load and what it says, or no file and why it could not be read."""
    try:
        file = config_path(path, environ)
        return file, read_yaml(file) if file else {}, []
    except ConfigError as error:
        return None, {}, list(error.problems)


@dataclass(slots=True)
class _Draft:
    """The configuration while its sources are laid over each other."""

    tree: Tree
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _origin: dict[str, tuple[str, str]] = field(default_factory=dict)

    def translate(self) -> None:
        """Take old names and secrets out of what the file said."""
        done = translate(self.tree)
        secret_lines, paths = refused_secrets(done.tree)
        self.tree = without(done.tree, paths)
        self.warnings += done.warnings
        self.problems += done.problems + secret_lines
        for dotted, _ in leaves(self.tree):
            old = done.written.get(dotted)
            self._origin[dotted] = (YAML, f"the old name {old}" if old else "")

    def set(self, dotted: str, value: object, source: str, place: str) -> None:
        """Lay one value over the tree."""
        if put(self.tree, dotted, value):
            self._origin[dotted] = (source, place)

    def apply_environ(self, environ: Mapping[str, str]) -> None:
        """Lay the variables that are configuration over the tree."""
        for variable, (dotted, parse) in ENV_KEYS.items():
            text = environ.get(variable, "").strip()
            if text:
                self.set(dotted, parse(text), ENV, variable)
        hosts = _as_list(environ.get("BNML_API_ALLOWED_HOSTS", ""))
        if hosts:
            self._add_hosts(hosts)
        self._settle_testnet(environ.get("BINANCE_TESTNET", "").strip())
        origins = value_at(self.tree, "public_api.cors_origins")
        if isinstance(origins, list) and "*" in origins and environ.get("BNML_API_TOKEN", "").strip():
            self.problems.append(
                'public_api.cors_origins: "*" is refused together with BNML_API_TOKEN; name the origins'
            )

    def placed(self, line: str) -> str:
        """Add to a problem where its value was written, when that is not under its own name in the file."""
        _, place = self._origin.get(line.partition(":")[0], ("", ""))
        return f"{line} (from {place})" if place else line

    def sources(self) -> dict[str, str]:
        """Give the source of every known key."""
        found: dict[str, str] = {}
        for dotted, _ in walk_keys(Settings):
            below = f"{dotted}."
            origin = self._origin.get(dotted)
            inside = any(path.startswith(below) for path in self._origin)
            found[dotted] = origin[0] if origin else YAML if inside else DEFAULT
        return found

    def places(self) -> dict[str, str]:
        """Give where a value was written, for those that do not stand under their own name in the file."""
        return {dotted: place for dotted, (_, place) in self._origin.items() if place}

    def _add_hosts(self, hosts: list[str]) -> None:
        known = value_at(self.tree, "public_api.allowed_hosts")
        base = list(Settings().public_api.allowed_hosts) if known is ABSENT else known
        if isinstance(base, list):
            merged = list(dict.fromkeys([*base, *hosts]))
            self.set("public_api.allowed_hosts", merged, ENV, "BNML_API_ALLOWED_HOSTS")

    def _settle_testnet(self, text: str) -> None:
        """Let a null `exchange.testnet` follow the variable and refuse a disagreement."""
        written = value_at(self.tree, "exchange.testnet")
        wanted = _as_bool(text) if text else False
        if not isinstance(wanted, bool):
            self.problems.append(f"BINANCE_TESTNET: {text!r} is not allowed; allowed: true, false (default false)")
        elif written is ABSENT or written is None:
            self.set("exchange.testnet", wanted, ENV if text else DEFAULT, "BINANCE_TESTNET" if text else "")
        elif text and isinstance(written, bool) and written != wanted:
            self.problems.append(
                f"exchange.testnet: {str(written).lower()} disagrees with BINANCE_TESTNET={text}; make them equal"
            )


def _as_bool(text: str) -> object:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    return known.get(text.lower(), text)


def _as_number(text: str) -> object:
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        return text


def _as_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _as_text(text: str) -> object:
    return text


ENV_KEYS = {
    "BNML_MODELS_DIR": ("model.models_dir", _as_text),
    "BNML_API_HOST": ("public_api.host", _as_text),
    "BNML_API_PORT": ("public_api.port", _as_number),
    "BNML_API_WS_POLL_SEC": ("public_api.ws_poll_sec", _as_number),
    "BNML_API_CORS_ORIGINS": ("public_api.cors_origins", _as_list),
}
