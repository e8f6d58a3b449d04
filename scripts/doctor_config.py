"""`bnml-doctor config`: every value in effect, where it comes from, and which variables are set."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.config import DEFAULT, YAML, LoadedSettings, load_settings, lookup
from bn_ml.config_yaml import key_lines
from bn_ml.domain.market import iso
from bn_ml.env import Secrets, load_env
from bn_ml.redaction import Redactor
from bn_ml.settings import Settings
from bn_ml.settings_base import Section, plain_value, walk_keys
from bn_ml.settings_reference import VARIABLES
from scripts import cli

SCHEMA = "bnml.doctor.config/1"
_OLD_NAME = "the old name "
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OWN_WORDS = frozenset({"span", "allowed", "unit"})


@dataclass(frozen=True, slots=True)
class Row:
    """One key: its value and default in plain types, whose value it is, and the place that gave it."""

    key: str
    value: object
    default: object
    source: str
    place: str


@dataclass(frozen=True, slots=True)
class VariableRow:
    """One environment variable: whether it is set, and by what; never its value."""

    name: str
    is_set: bool
    source: str
    meaning: str


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration, or the part below a key; raises `ConfigError` when it cannot be used."""
    if arguments.schema:
        print(json.dumps(json_schema(), indent=None if arguments.json else 1))
        return cli.DONE
    environ = load_env(Path.cwd())
    loaded = load_settings(arguments.config, environ=environ)
    secrets = Secrets.from_environ(environ, runpod_variable=loaded.settings.model_sync.runpod.api_key_env)
    below = arguments.key or ""
    if below:
        lookup(loaded.settings, below)
    shown = [row for row in rows(loaded) if row.key == below or row.key.startswith(f"{below}." if below else "")]
    variables = [] if below else variable_rows(environ)
    document = {
        "schema": SCHEMA,
        "generated_at": iso(SystemClock().now()),
        "ok": True,
        "exit_code": cli.DONE,
        "data": {
            "path": str(loaded.path) if loaded.path else None,
            "hash": loaded.hash,
            "keys": [_fields(row) for row in shown],
            "variables": [{"name": item.name, "set": item.is_set, "source": item.source} for item in variables],
        },
        "warnings": list(loaded.warnings),
    }
    # A key may hold an address with a password in it, whatever the rules say.
    clean = Redactor(secrets.hidden()).clean
    text = clean(as_text(loaded, shown, variables))
    cli.show(_cleaned_map(document, clean), as_json=arguments.json, text=text)
    return cli.DONE


def json_schema() -> dict[str, object]:
    """Give the JSON Schema of the configuration file, from which editors complete and check it."""
    schema = _with_limits(Settings.model_json_schema(by_alias=True))
    return {"$schema": _DIALECT, **schema} if isinstance(schema, dict) else {}


def rows(loaded: LoadedSettings) -> list[Row]:
    """Give every key in the order of the reference."""
    values, defaults = dict(leaves(loaded.settings)), dict(leaves(Settings()))
    lines = key_lines(loaded.path) if loaded.path else {}
    return [
        Row(key, values[key], defaults[key], loaded.sources[key], _place(loaded, key, lines))
        for key, _ in walk_keys(Settings)
    ]


def leaves(section: Section, prefix: str = "") -> list[tuple[str, object]]:
    """List every plain key below a section with its value in plain types."""
    found: list[tuple[str, object]] = []
    for name, field in type(section).model_fields.items():
        value, path = getattr(section, name), f"{prefix}{field.alias or name}"
        found += leaves(value, f"{path}.") if isinstance(value, Section) else [(path, plain_value(value))]
    return found


def variable_rows(environ: Mapping[str, str]) -> list[VariableRow]:
    """Tell of every known variable whether it is set: in the process, in `.env`, or through a file."""
    found = []
    for item in VARIABLES:
        by_file = item.secret and bool(environ.get(f"{item.name}_FILE", "").strip())
        name = f"{item.name}_FILE" if by_file else item.name
        is_set = bool(environ.get(name, "").strip())
        origin = ("environment" if name in os.environ else ".env") if is_set else ""
        source = f"{origin} ({name})" if by_file and origin else origin
        found.append(VariableRow(item.name, is_set, source, item.meaning))
    return found


def as_text(loaded: LoadedSettings, shown: list[Row], variables: list[VariableRow]) -> str:
    """Give one line per key and one per variable."""
    origin = str(loaded.path) if loaded.path else "no file, defaults"
    lines = [f"configuration: {origin}, hash {loaded.hash[:12]}"]
    lines += [_line(row) for row in shown]
    if variables:
        width = max(len(item.name) for item in variables)
        states = (f"set, {item.source}" if item.is_set else "not set" for item in variables)
        lines += ["", "variables:"]
        lines += [f"{item.name:<{width}}  {state}" for item, state in zip(variables, states, strict=True)]
    return "\n".join([*lines, *(f"warning: {text}" for text in loaded.warnings)])


def _with_limits(part: object) -> object:
    """Write the intervals of keys the way schemas do; one that admits a value outside itself has no such way."""
    if isinstance(part, list):
        return [_with_limits(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    kept = {name: _with_limits(item) for name, item in part.items() if name not in _OWN_WORDS}
    span = part.get("span")
    if isinstance(span, Mapping) and span.get("also") is None:
        low, high = span.get("low"), span.get("high")
        kept |= {} if low is None else {"exclusiveMinimum" if span.get("above") else "minimum": low}
        kept |= {} if high is None else {"maximum": high}
    return kept


def _line(row: Row) -> str:
    line = f"{row.key} = {json.dumps(row.value)}  [{row.source}{f' {row.place}' if row.place else ''}]"
    return line if row.value == row.default else f"{line} (default {json.dumps(row.default)})"


def _place(loaded: LoadedSettings, key: str, lines: Mapping[str, int]) -> str:
    """Say where a value is written: the line of the file, the variable, the flag."""
    source, place = loaded.sources[key], loaded.places.get(key, "")
    if source == DEFAULT:
        return ""
    if source != YAML:
        return place
    written = place.removeprefix(_OLD_NAME) if place.startswith(_OLD_NAME) else key
    line = f"line {lines[written]}" if written in lines else ""
    return ", ".join(part for part in (line, place) if part)


def _cleaned_map(content: Mapping[str, object], clean: Callable[[str], str]) -> dict[str, object]:
    return {name: _cleaned(item, clean) for name, item in content.items()}


def _cleaned(value: object, clean: Callable[[str], str]) -> object:
    """Take secrets out of every text of a document."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return _cleaned_map(value, clean)
    return [_cleaned(item, clean) for item in value] if isinstance(value, (list, tuple)) else value


def _fields(row: Row) -> dict[str, object]:
    return {"key": row.key, "value": row.value, "default": row.default, "source": row.source, "place": row.place}
