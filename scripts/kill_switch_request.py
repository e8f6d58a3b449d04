"""What is asked of the kill switch, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bn_ml.config import config_path, load_settings
from bn_ml.config_yaml import read_yaml
from bn_ml.domain.identity import BookIdentity
from bn_ml.domain.market import Symbol
from bn_ml.errors import ConfigError
from bn_ml.settings import ExchangeSettings, Settings
from trader.kill_switch import PATIENCE_S, SymbolResult

PAPER = "paper"
NEEDED = ("environment", "base_quote", "exchange", "storage", "universe")
"""The parts of a configuration that tell which book and which exchange."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. `live` is None when neither way was named; `by` says who pulls."""

    settings: Settings
    environ: Mapping[str, str]
    by: str
    live: bool | None = None
    symbol: Symbol | None = None
    yes: bool = False
    timeout_s: float = 60.0
    patience_s: float = PATIENCE_S

    @property
    def path(self) -> Path:
        """The book."""
        return Path(self.settings.storage.sqlite_path).absolute()

    @property
    def hurried(self) -> ExchangeSettings:
        """How the exchange is asked for what can be done without."""
        exchange = self.settings.exchange
        return exchange.model_copy(update={"timeout_ms": min(exchange.timeout_ms, 2000)})

    def covers(self, symbol: Symbol) -> bool:
        """Whether a symbol is to be flat."""
        return self.symbol is None or symbol == self.symbol

    def mode(self, identity: BookIdentity | None) -> str:
        """Give the mode of a book; of an unbound or unreadable one what was named, else what is configured."""
        if identity is not None:
            return identity.mode
        live = self.settings.environment == "live" if self.live is None else self.live
        return "live" if live else PAPER


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: exit code, a line per symbol, who did the work, and what else has to be told."""

    code: int
    results: tuple[SymbolResult, ...] = ()
    state: str = ""
    done_by: str = ""
    notes: tuple[str, ...] = field(default=())


def usable_settings(config: Path | None, environ: Mapping[str, str]) -> tuple[Settings, str]:
    """Load the configuration; of one that is refused only what tells the book and the exchange, with a warning.

    Raises `ConfigError` when that part is refused itself, or does not name the book.
    """
    try:
        return load_settings(config, environ=environ).settings, ""
    except ConfigError as refused:
        file = config_path(config, environ)
        written = read_yaml(file) if file else {}
        if "storage" not in written:
            raise
        with TemporaryDirectory() as folder:
            needed = Path(folder) / "needed.yaml"
            needed.write_text(json.dumps({name: written[name] for name in NEEDED if name in written}, default=str))
            try:
                settings = load_settings(needed, environ=environ).settings
            except ConfigError:
                raise refused from None
        problems = "\n  ".join(refused.problems)
        return settings, f"configuration refused, only {', '.join(NEEDED)} of it are used:\n  {problems}"


def require_mode(request: Request, identity: BookIdentity | None) -> None:
    """Refuse a book that is not of the mode named on the command line; raises `ConfigError`."""
    if identity is None or request.live is None or (identity.mode != PAPER) == request.live:
        return
    named = "--live" if request.live else "--paper"
    raise ConfigError([f"{named}: {request.path} is the {identity.mode} book of {identity.account}"])
