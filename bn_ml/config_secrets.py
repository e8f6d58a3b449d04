"""Finding secrets where they must not be: in the configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bn_ml.config_aliases import leaves
from bn_ml.settings import Settings
from bn_ml.settings_base import walk_keys
from bn_ml.settings_problems import KeyPath, Raw

_SECRET_NAME = re.compile(
    r"(?i)(^|[_\-.])(api[_-]?key|apikey|(api[_-]?)?secret(s|[_-]?key)?|token|bot[_-]?token|access[_-]?token|passw(or)?d"
    r"|passphrase|private[_-]?key|signing[_-]?key|authorization|credentials?|x-mbx-apikey|chat[_-]?id)$"
)
_SECRET_VALUE = re.compile(
    r"\d{6,}:[A-Za-z0-9_-]{30,}"  # bot token
    r"|[A-Za-z0-9]{64}"  # venue key
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"
    r"|(?i:bearer\s+\S+)"
    r"|\w+://[^/\s:@]+:[^/\s@]+@\S*"
)
_VARIABLES: Mapping[str, str] = {
    "telegram": "TELEGRAM_BOT_TOKEN",
    "chat": "TELEGRAM_CHAT_ID",
    "runpod": "RUNPOD_API_KEY",
    "email": "EMAIL_PASSWORD",
    "public_api": "BNML_API_TOKEN",
    "secret": "BINANCE_API_SECRET",
    "exchange": "BINANCE_API_KEY",
}
_MAY_LOOK_SECRET = ("model.trusted_keys",)


def refused_secrets(tree: Raw) -> tuple[list[str], list[KeyPath]]:
    """Give one line per secret found, never showing its value, and the paths to take out."""
    known = {dotted for dotted, _ in walk_keys(Settings)}
    lines: list[str] = []
    paths: list[KeyPath] = []
    for dotted, value in leaves(tree):
        by_name = dotted not in known and _SECRET_NAME.search(dotted)
        by_value = not dotted.startswith(_MAY_LOOK_SECRET) and _holds_secret(value)
        if by_name or by_value:
            variable = next((name for word, name in _VARIABLES.items() if word in dotted.lower()), "a variable")
            lines.append(
                f"{dotted}: secrets are not allowed in the file; set {variable} in the environment, remove this"
            )
            paths.append(_path_of(tree, dotted))
    return lines, paths


def _holds_secret(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_secret(item) for item in value)
    return isinstance(value, str) and bool(_SECRET_VALUE.fullmatch(value.strip()))


def _path_of(tree: Raw, dotted: str) -> KeyPath:
    """Split a dotted key along the mapping, whose own keys may hold dots."""
    for name, value in tree.items():
        if dotted == name:
            return (name,)
        if dotted.startswith(f"{name}.") and isinstance(value, Mapping):
            return (name, *_path_of(value, dotted[len(name) + 1 :]))
    return (dotted,)
