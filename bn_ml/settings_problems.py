"""Validation findings in the user's words: dotted key, value, what is allowed, what was probably meant."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from bn_ml.settings_base import FRACTION, Section, facts_of, mapped_section, plain_value, section_type, walk_keys

Raw = Mapping[str, object]
KeyPath = tuple[str, ...]


def problems_of(error: ValidationError, root: type[Section], tree: Raw) -> tuple[list[str], list[KeyPath]]:
    """Give one line per key of the tree that was refused, and the paths of those keys."""
    lines: dict[str, str] = {}
    paths: list[KeyPath] = []
    for finding in error.errors(include_url=False, include_context=False):
        path, field = _known_part(finding["loc"], root)
        dotted = ".".join(path)
        if dotted in lines:
            continue
        paths.append(path)
        if finding["type"] == "extra_forbidden":
            lines[dotted] = _unknown(dotted, path, root)
        else:
            lines[dotted] = refused_value(dotted, _value_at(tree, path), field)
    return list(lines.values()), paths


def refused_value(dotted: str, value: object, field: FieldInfo | None) -> str:
    """Say that a value is not allowed, what is, and how to write a percent as a fraction."""
    if field is None:
        return f"{dotted}: {shown(value)} is not allowed; expected a mapping of keys"
    facts = facts_of(field)
    unit = f" {facts.unit}" if facts.unit and facts.unit != FRACTION else ""
    below = section_type(field)
    allowed = "a mapping of keys" if below else facts.allowed + unit
    line = f"{dotted}: {shown(value)} is not allowed; allowed: {allowed}"
    default = "" if below else f" (default {shown(plain_value(field.default))})"
    hint = _percent_hint(value, field)
    return line + default + (f"; {hint}" if hint else "")


def shown(value: object) -> str:
    """Write a value briefly, the way YAML shows it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest_key(dotted: str, root: type[Section]) -> str | None:
    """Give the known key a misspelt one most resembles; the same last word elsewhere counts too."""
    keys = walk_keys(root)
    known = [path for path, _ in keys] + _section_paths(root)
    mapped = [(path, mapped_section(field)) for path, field in keys]
    known += [f"{path}.<name>.{name}" for path, below in mapped if below for name in below.model_fields]
    close = difflib.get_close_matches(dotted, known, n=1, cutoff=0.75)
    if close:
        return close[0]
    last = {path.rpartition(".")[2]: path for path in reversed(known)}
    close = difflib.get_close_matches(dotted.rpartition(".")[2], list(last), n=1, cutoff=0.75)
    return last[close[0]] if close else None


def without(tree: Raw, paths: Sequence[KeyPath]) -> dict[str, object]:
    """Copy a nested mapping, leaving out the given paths."""
    heads = {path[0] for path in paths if len(path) == 1}
    kept: dict[str, object] = {}
    for name, value in tree.items():
        if name in heads:
            continue
        below = [path[1:] for path in paths if len(path) > 1 and path[0] == name]
        kept[name] = without(value, below) if below and isinstance(value, Mapping) else value
    return kept


def _known_part(loc: tuple[int | str, ...], root: type[Section]) -> tuple[KeyPath, FieldInfo | None]:
    """Cut a pydantic location to the key a user wrote; the rest names union branches and list places."""
    section: type[Section] | None = root
    within: type[Section] | None = None
    path: list[str] = []
    field: FieldInfo | None = None
    for part in (str(place) for place in loc):
        if part == "[key]" or (section is None and within is None):
            break
        path.append(part)
        if section is None:
            section, within = within, None
            continue
        fields = {item.alias or name: item for name, item in section.model_fields.items()}
        field = fields.get(part)
        section = section_type(field) if field else None
        within = mapped_section(field) if field else None
    return tuple(path), field


def _value_at(tree: Raw, path: KeyPath) -> object:
    node: object = tree
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _unknown(dotted: str, path: KeyPath, root: type[Section]) -> str:
    near = nearest_key(dotted, root)
    if near is not None and dotted.startswith(f"{near}."):
        near = None
    return f"{dotted}: unknown key" + (f"; did you mean {near}?" if near else "; remove it")


def _section_paths(section: type[Section], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, field in section.model_fields.items():
        below = section_type(field)
        if below:
            found += [f"{prefix}{name}", *_section_paths(below, f"{prefix}{name}.")]
    return found


def _percent_hint(value: object, field: FieldInfo) -> str:
    facts = facts_of(field)
    if facts.unit != FRACTION or facts.span is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    if not math.isfinite(value) or facts.span.holds(value) or not facts.span.holds(value / 100):
        return ""
    return f"it looks like a percent: write the fraction {value / 100:.10g}"
