"""The texts generated from the settings: the commented `bot.yaml`, `.env.example` and the configuration reference."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from bn_ml.config_aliases import ALIASES, REFUSED, REMOVED
from bn_ml.settings import Settings
from bn_ml.settings_base import FRACTION, QUOTE_MARK, Section, facts_of, plain_value, section_type

_BENCHMARKS = frozenset({"benchmark_symbol", "volatility_benchmark_symbol"})
_BARE_WORD = re.compile(r"[A-Za-z_./<][\w./<>-]*")
_WIDTH = 118


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable: its default, its meaning and whether `<NAME>_FILE` is understood too."""

    name: str
    default: str
    meaning: str
    secret: bool = False

    @property
    def active(self) -> bool:
        """Whether the example sets it; what would silently override the YAML file is commented out."""
        return self.secret or not self.name.startswith("BNML_")


VARIABLES = (
    Variable("BINANCE_API_KEY", "", "venue key; needed for live only, paper ignores it", secret=True),
    Variable("BINANCE_API_SECRET", "", "venue secret; needed for live only, paper ignores it", secret=True),
    Variable("BINANCE_TESTNET", "false", "true trades on the venue's test network, with keys of that network"),
    Variable(
        "RUNPOD_API_KEY", "", "remote training; another name may be set by model_sync.runpod.api_key_env", secret=True
    ),
    Variable("TELEGRAM_BOT_TOKEN", "", "Telegram alerts: token of the bot", secret=True),
    Variable("TELEGRAM_CHAT_ID", "", "Telegram alerts: chat to write to", secret=True),
    Variable("TELEGRAM_CONTROL", "false", "true lets that chat ask, pause and kill the bot; it can never go on or buy"),
    Variable("EMAIL_SMTP_HOST", "", "email alerts: server", secret=True),
    Variable("EMAIL_SMTP_PORT", "587", "email alerts: port of the server"),
    Variable("EMAIL_USERNAME", "", "email alerts: login", secret=True),
    Variable("EMAIL_PASSWORD", "", "email alerts: password", secret=True),
    Variable("BNML_ALERT_WEBHOOK_URL", "", "webhook alerts: address", secret=True),
    Variable(
        "BNML_APPRISE_URLS",
        "",
        "more alert channels: addresses of the package apprise (extra alerts), separated by spaces",
        secret=True,
    ),
    Variable("BNML_HEARTBEAT_URL", "", "address pinged while the bot is alive", secret=True),
    Variable(
        "BNML_API_CORS_ORIGINS", "", "comma list of origins; * opens the public market routes only, never with a token"
    ),
    Variable("BNML_API_WS_POLL_SEC", "2.0", "seconds between websocket messages, 0.5-10"),
    Variable("BNML_API_HOST", "127.0.0.1", "address the API listens on"),
    Variable("BNML_API_PORT", "8000", "port the API listens on"),
    Variable("BNML_API_TOKEN", "", "bearer token of at least 32 bytes; required when not on loopback", secret=True),
    Variable("BNML_API_LOOPBACK_PUBLISHED", "", "container only: the port is published on the host's loopback address"),
    Variable("BNML_API_ALLOWED_HOSTS", "", "comma list added to public_api.allowed_hosts"),
    Variable("BNML_CONFIG_PATH", "", "configuration file used when --config is not given"),
    Variable("BNML_MODELS_DIR", "models", "folder of the bundles"),
    Variable("BNML_FALLBACK_LOGS_DIR", "", "folder of logs when the configured one cannot be written"),
    Variable("BNML_SIGNING_KEY_FILE", "", "file of the key the trainer signs bundles with"),
    Variable("BNML_UPLOAD_URL", "", "address the training archive is uploaded to", secret=True),
    Variable("BNML_ARCHIVE_URL", "", "address the uploaded archive is fetched from, where it is another", secret=True),
    Variable("CLOUDFLARED_URL", "", "local address the tunnel publishes; empty is no tunnel"),
    Variable("GRAFANA_ADMIN_PASSWORD", "", "required by the grafana service"),
)


def bot_yaml() -> str:
    """Give the commented configuration file holding every key at its default."""
    head = [
        "# Configuration of BN-ML. Every key is shown with its default; leave out what you do not change.",
        "# Fractions are fractions: 0.02 is 2 %. Amounts named _usdt are in the quote asset.",
        f"# {QUOTE_MARK} stands for base_quote. Secrets belong in the environment (.env), never in this file.",
        "",
    ]
    return "\n".join(head + _yaml_lines(Settings(), "")) + "\n"


def env_example() -> str:
    """Give the commented `.env.example`."""
    lines = [
        "# Copy to .env and run: chmod 600 .env",
        "# Lines that start with # show a default; take the # away to override the configuration file.",
        "# Variables marked [file] may also be given as <NAME>_FILE=path of a file that holds the value.",
        "",
    ]
    for variable in VARIABLES:
        lines += [
            f"# {variable.meaning}{' [file]' if variable.secret else ''}",
            f"{'' if variable.active else '# '}{variable.name}={variable.default}",
            "",
        ]
    return "\n".join(lines[:-1]) + "\n"


def configuration_md() -> str:
    """Give the reference of all keys, old names and variables as Markdown."""
    lines = [
        "# Configuration",
        "",
        "Generated from the settings models; run `python -m scripts.generate_reference` after changing them.",
        "",
        "Precedence: flag, environment, YAML, default. The file is `--config`, else `$BNML_CONFIG_PATH`, else",
        "`configs/bot.yaml`, else the defaults below. All problems are listed at once and nothing starts.",
        f"Fractions are written as fractions (`0.02` is 2 %); `{QUOTE_MARK}` in a symbol stands for `base_quote`.",
    ]
    lines += _section_tables(Settings, "")
    lines += _alias_tables()
    lines += ["", "## Environment", "", "| Variable | Default | Meaning | `_FILE` |", "|---|---|---|---|"]
    lines += [
        f"| `{item.name}` | {item.default or 'empty'} | {item.meaning} | {'yes' if item.secret else ''} |"
        for item in VARIABLES
    ]
    return "\n".join(lines) + "\n"


def _yaml_lines(section: Section, indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        written = field.alias or name
        if isinstance(value, Section):
            doc = (section_type(field) or Section).__doc__ or ""
            lines += [] if indent else [""]
            lines += [f"{indent}{written}:  # {_first_sentence(doc)}", *_yaml_lines(value, indent + "  ")]
        else:
            lines += _key_lines(f"{indent}{written}: {_yaml_value(_default(name, value))}", indent, _comment(field))
    return lines


def _key_lines(assignment: str, indent: str, comment: str) -> list[str]:
    """Put the comment behind the key, or above it where the line would be too long."""
    line = f"{assignment}  # {comment}"
    return [line] if len(line) <= _WIDTH else [f"{indent}# {comment}", assignment]


def _comment(field: FieldInfo) -> str:
    facts = facts_of(field)
    return f"{facts.meaning}{f' ({facts.unit})' if facts.unit else ''} [{facts.allowed}]"


def _default(name: str, value: object) -> object:
    return f"BTC/{QUOTE_MARK}" if name in _BENCHMARKS else plain_value(value)


def _plain_default(section: type[Section], name: str) -> object:
    return getattr(section(), name)


def _yaml_value(value: object) -> str:
    """Write a plain value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_yaml_value(name)}: {_yaml_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return value if _BARE_WORD.fullmatch(value) else json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)


def _section_tables(section: type[Section], dotted: str) -> list[str]:
    """Give one table per section, the plain keys first."""
    plain = [(name, field) for name, field in section.model_fields.items() if not section_type(field)]
    lines = ["", f"## `{dotted}`" if dotted else "## Top level", "", _first_sentence(section.__doc__ or ""), ""]
    lines += ["| Key | Default | Allowed | Unit | Meaning |", "|---|---|---|---|---|"] if plain else []
    for name, field in plain:
        facts = facts_of(field)
        default = _yaml_value(_default(name, _plain_default(section, name))).replace("|", "\\|")
        allowed = facts.allowed.replace("|", "\\|")
        unit = facts.unit if facts.unit != FRACTION else "fraction"
        lines.append(f"| `{field.alias or name}` | `{default}` | {allowed} | {unit} | {facts.meaning} |")
    for name, field in section.model_fields.items():
        below = section_type(field)
        if below:
            lines += _section_tables(below, f"{dotted}.{name}" if dotted else name)
    return lines


def _alias_tables() -> list[str]:
    rows: list[Sequence[str]] = [
        *((alias.old, f"`{alias.new}`{' (unit or sense converted)' if alias.convert else ''}") for alias in ALIASES),
        ("model.santrade_intelligence.*", "`santrade_intelligence.*`"),
        (
            "scanner.dynamic_pair_filters.by_symbol.<S>.orderbook_depth_min_usdt",
            "`scanner.dynamic_pair_filters.by_symbol.<S>.depth_min_usdt`",
        ),
        *((old, f"removed with a warning: {why}") for old, why in REMOVED.items()),
        *((old, f"refused: set {variable} in the environment") for old, variable in REFUSED.items()),
    ]
    head = [
        "",
        "## Old names",
        "",
        "Read with a warning; together with a different value of the key of today: an error.",
        "",
    ]
    return [*head, "| Old | Today |", "|---|---|", *(f"| `{old}` | {new} |" for old, new in rows)]


def _first_sentence(doc: str) -> str:
    return doc.strip().splitlines()[0].rstrip(".")
