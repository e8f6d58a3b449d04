"""Reading the YAML file: plain types only, no duplicate keys, problems with their line."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path

import yaml

from bn_ml.errors import ConfigError

LARGEST_FILE_BYTES = 1_000_000


def read_yaml(path: Path) -> dict[str, object]:
    """Read a configuration file into a nested mapping; an empty file is an empty mapping.

    Times such as 07:00 and dates stay text, `1e-4` is a number. Raises `ConfigError`.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ConfigError([f"{path}: larger than {LARGEST_FILE_BYTES} bytes; this is no configuration file"])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror or error}); name a readable file"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text; save it as UTF-8"]) from error
    return parse_yaml(text, name=str(path))


def parse_yaml(text: str, *, name: str = "configuration") -> dict[str, object]:
    """Parse YAML text; see `read_yaml`."""
    problems: list[str] = []
    try:
        tree = _parsed(text, problems)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise ConfigError(
            [f"{name}{place}: not valid YAML: {error.problem or error.context}; mend this line"]
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError([f"{name}: not valid YAML: {first}"]) from error
    if problems:
        raise ConfigError([f"{name} {problem}" for problem in problems])
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError([f"{name}: must be a mapping of sections, got {type(tree).__name__}"])
    return tree


def key_lines(path: Path) -> dict[str, int]:
    """Give the line, counted from 1, on which each dotted key of a file is written; empty for an unreadable file."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return dict(_lines(root, ""))


def _lines(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, int]]:
    for key_node, below in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key_node, yaml.ScalarNode):
            dotted = f"{prefix}{key_node.value}"
            yield dotted, key_node.start_mark.line + 1
            yield from _lines(below, f"{dotted}.")


def _parsed(text: str, problems: list[str]) -> object:
    """Parse one document, adding duplicate and non-text keys to the problems."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        problems += loader.problems
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Safe loader that collects duplicate and non-text keys instead of swallowing them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Build a mapping, noting keys written twice and keys that are not text."""
        seen: dict[object, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(f"line {line}: a key must be text")
                continue
            if key_node.value in seen and key_node.tag != "tag:yaml.org,2002:merge":
                first = seen[key_node.value]
                self.problems.append(
                    f"line {line}: key {key_node.value} is written twice (first on line {first}); keep one"
                )
            seen.setdefault(key_node.value, line)
            if key_node.tag not in {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}:
                key_node.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)


def _plain_resolvers() -> dict[str, list[tuple[str, object]]]:
    """Copy the resolvers without dates and base-60 numbers, with decimal-point-free exponents."""
    number = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
    whole = re.compile(r"[-+]?\d+")
    left_out = {"timestamp", "int", "float"}
    kept = {
        first: [pair for pair in pairs if pair[0].rpartition(":")[2] not in left_out]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+0123456789.":
        kept.setdefault(first, [])
        kept[first] += [
            ("tag:yaml.org,2002:int", re.compile(f"(?:{whole.pattern})$")),
            ("tag:yaml.org,2002:float", re.compile(f"(?:{number.pattern})$")),
        ]
    return kept


_Loader.yaml_implicit_resolvers = _plain_resolvers()
