"""The environment: `.env` files, variables, and the secrets they hold, which are never printed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from bn_ml.errors import ConfigError

ENV_FILE = ".env"
DEFAULT_SMTP_PORT = 587
TELEGRAM_CONTROL = "TELEGRAM_CONTROL"
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """Keys, tokens and private addresses; an empty text means: not given."""

    binance_api_key: str = ""
    binance_api_secret: str = ""
    runpod_api_key: str = ""
    telegram_bot_token: str = ""
    telegram_chat_id: str = ""
    email_smtp_host: str = ""
    email_smtp_port: int = DEFAULT_SMTP_PORT
    email_username: str = ""
    email_password: str = ""
    alert_webhook_url: str = ""
    apprise_urls: str = ""
    heartbeat_url: str = ""
    api_token: str = ""
    upload_url: str = ""
    signing_key_file: Path | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, runpod_variable: str = "RUNPOD_API_KEY") -> Secrets:
        """Read every secret from `NAME` or the file named by `NAME_FILE`.

        Raises `ConfigError` listing unreadable files, names given both ways and a port that is no number.
        """
        problems: list[str] = []
        given = {
            name: _secret(environ, runpod_variable if name == "runpod_api_key" else variable, problems)
            for name, variable in _VARIABLES.items()
        }
        port = _port(environ, problems)
        if problems:
            raise ConfigError(problems)
        key_file = environ.get("BNML_SIGNING_KEY_FILE", "").strip()
        return cls(**given, email_smtp_port=port, signing_key_file=Path(key_file) if key_file else None)

    def hidden(self) -> tuple[str, ...]:
        """Give every text that must not appear in logs, alerts or answers."""
        names = (name for name in _VARIABLES if name not in _NOT_SECRET)
        values = (str(getattr(self, name)) for name in names)
        return tuple(value for value in (*values, *self.apprise_urls.split()) if value)

    def __repr__(self) -> str:
        """Say which secrets are set, never their values."""
        given = ", ".join(f.name for f in fields(self) if f.name in _VARIABLES and getattr(self, f.name))
        return f"Secrets(set: {given or 'none'})"


_VARIABLES: Mapping[str, str] = {
    "binance_api_key": "BINANCE_API_KEY",
    "binance_api_secret": "BINANCE_API_SECRET",
    "runpod_api_key": "RUNPOD_API_KEY",
    "telegram_bot_token": "TELEGRAM_BOT_TOKEN",
    "telegram_chat_id": "TELEGRAM_CHAT_ID",
    "email_smtp_host": "EMAIL_SMTP_HOST",
    "email_username": "EMAIL_USERNAME",
    "email_password": "EMAIL_PASSWORD",
    "alert_webhook_url": "BNML_ALERT_WEBHOOK_URL",
    "apprise_urls": "BNML_APPRISE_URLS",
    "heartbeat_url": "BNML_HEARTBEAT_URL",
    "api_token": "BNML_API_TOKEN",
    "upload_url": "BNML_UPLOAD_URL",
}
_NOT_SECRET = frozenset({"email_smtp_host", "email_username"})


def load_env(folder: Path, environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Give the process environment laid over the `.env` file of a folder.

    `environ` defaults to the process's own. Raises `ConfigError` for a line that cannot be read.
    """
    path = folder / ENV_FILE
    process = os.environ if environ is None else environ
    if not path.is_file():
        return dict(process)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read ({type(error).__name__}); make it a UTF-8 file you own"]) from error
    return {**parse_env(text, name=str(path)), **process}


def parse_env(text: str, *, name: str = ENV_FILE) -> dict[str, str]:
    """Read `NAME=value` lines; `export`, quotes and trailing comments are understood, the last of equals wins.

    Raises `ConfigError` naming the lines (never their values) that cannot be read.

    >>> parse_env("export A='x # y'  # note")
    {'A': 'x # y'}
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = _value(match.group(2)) if match else None
        if match is None or value is None:
            problems.append(f"{name} line {number}: write NAME=value, with both quotes or none")
        else:
            found[match.group(1)] = value
    if problems:
        raise ConfigError(problems)
    return found


def wants_telegram_control(environ: Mapping[str, str]) -> bool:
    """Tell whether the Telegram chat may ask and tighten: only when switched on by name.

    Raises `ConfigError` for a word that is neither yes nor no.
    """
    text = environ.get(TELEGRAM_CONTROL, "").strip()
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("", "false", "0", "no", "off"):
        return False
    raise ConfigError([f"{TELEGRAM_CONTROL}: {text!r} is not allowed; allowed: true, false (default false)"])


def loose_permissions(path: Path) -> str | None:
    """Say how to mend a file others may read; None when only its owner may, or when it is absent."""
    if os.name != "posix" or not path.is_file():
        return None
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{path} has mode {mode:04o}; run: chmod 600 {path}" if mode & 0o177 else None


def _value(text: str) -> str | None:
    """Take quotes and a trailing comment off; None when they do not match."""
    if text[:1] == "'":
        inner, closed, rest = text[1:].partition("'")
        return inner if closed and _is_rest(rest) else None
    if text[:1] == '"':
        match = re.match(r'"((?:[^"\\]|\\.)*)"(.*)', text, re.DOTALL)
        return _unescaped(match.group(1)) if match and _is_rest(match.group(2)) else None
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()


def _is_rest(text: str) -> bool:
    return not text.strip() or bool(re.match(r"\s+#", text))


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(1)), text)


def _secret(environ: Mapping[str, str], variable: str, problems: list[str]) -> str:
    """Read one secret; a missing one is empty."""
    direct = environ.get(variable, "").strip()
    file_name = environ.get(f"{variable}_FILE", "").strip()
    if not file_name:
        return direct
    if direct:
        problems.append(f"{variable}: given together with {variable}_FILE; keep one of them")
        return direct
    try:
        return Path(file_name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{variable}_FILE: {file_name} cannot be read ({type(error).__name__}); name a readable file")
        return ""


def _port(environ: Mapping[str, str], problems: list[str]) -> int:
    text = environ.get("EMAIL_SMTP_PORT", "").strip() or str(DEFAULT_SMTP_PORT)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        problems.append(f"EMAIL_SMTP_PORT: {text!r} is not allowed; allowed: whole number 1-65535 (default 587)")
        return DEFAULT_SMTP_PORT
    return int(text)
