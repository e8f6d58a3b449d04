"""All settings of the bot as one frozen tree; every section builds with its defaults and no arguments."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from bn_ml.errors import ConfigError
from bn_ml.settings_base import QUOTE_MARK, Section, is_asset, section_type
from bn_ml.settings_market import (
    DEFAULT_BASES,
    DataSettings,
    DiscoverySettings,
    ExchangeSettings,
    OrdersSettings,
    PairFilterSettings,
    ScannerSettings,
    ScoreWeights,
    SymbolFilter,
    UniverseSettings,
)
from bn_ml.settings_model import (
    AccelerationSettings,
    DriftSettings,
    EnsembleSettings,
    ExecutionSettings,
    FeatureSettings,
    HpoSettings,
    LabelingSettings,
    LgbSettings,
    LstmSettings,
    ModelSettings,
    MultiTimeframeSettings,
    RetrainingSettings,
    RfSettings,
    TrainingSettings,
    ValidationSettings,
    XgbSettings,
)
from bn_ml.settings_mood import ProfileNumbers, ProfilesSettings, SantradeIntelligenceSettings
from bn_ml.settings_ops import (
    AlertingSettings,
    BacktestSettings,
    BackupSettings,
    ChannelSettings,
    DashboardSettings,
    EmailSettings,
    ModelSyncSettings,
    MonitoringSettings,
    PublicApiSettings,
    RealtimePricesSettings,
    RetentionSettings,
    RunpodSettings,
    StorageSettings,
)
from bn_ml.settings_problems import Raw, problems_of, without
from bn_ml.settings_risk import CircuitBreakerSettings, RiskSettings
from bn_ml.settings_rules import broken_rules
from bn_ml.settings_tree import SettingsTree

__all__ = [
    "AccelerationSettings",
    "AlertingSettings",
    "BacktestSettings",
    "BackupSettings",
    "ChannelSettings",
    "CircuitBreakerSettings",
    "DashboardSettings",
    "DataSettings",
    "DiscoverySettings",
    "DriftSettings",
    "EmailSettings",
    "EnsembleSettings",
    "ExchangeSettings",
    "ExecutionSettings",
    "FeatureSettings",
    "HpoSettings",
    "LabelingSettings",
    "LgbSettings",
    "LstmSettings",
    "ModelSettings",
    "ModelSyncSettings",
    "MonitoringSettings",
    "MultiTimeframeSettings",
    "OrdersSettings",
    "PairFilterSettings",
    "ProfileNumbers",
    "ProfilesSettings",
    "PublicApiSettings",
    "RealtimePricesSettings",
    "RetentionSettings",
    "RetrainingSettings",
    "RfSettings",
    "RiskSettings",
    "RunpodSettings",
    "SantradeIntelligenceSettings",
    "ScannerSettings",
    "ScoreWeights",
    "Settings",
    "StorageSettings",
    "SymbolFilter",
    "TrainingSettings",
    "UniverseSettings",
    "ValidationSettings",
    "XgbSettings",
    "checked_settings",
    "model_section",
    "risk_section",
]


class Settings(SettingsTree):
    """The whole configuration."""

    @classmethod
    def from_mapping(cls, mapping: Raw) -> Settings:
        """Build settings from a partial nested mapping; missing keys take their defaults.

        Raises `ConfigError` listing every unknown key, wrong value and broken rule.
        """
        settings, problems = checked_settings(mapping)
        if problems:
            raise ConfigError(problems)
        return settings


def model_section(config: Settings | ModelSettings | Raw | None) -> ModelSettings:
    """Give the model settings of whatever a caller holds: all settings, the section, or a partial mapping of either.

    Raises `ConfigError` like `Settings.from_mapping`.
    """
    return config if isinstance(config, ModelSettings) else _whole(config, "model").model


def risk_section(config: Settings | RiskSettings | Raw | None) -> RiskSettings:
    """Give the risk settings of whatever a caller holds: all settings, the section, or a partial mapping of either.

    Raises `ConfigError` like `Settings.from_mapping`.
    """
    return config if isinstance(config, RiskSettings) else _whole(config, "risk").risk


def _whole(config: Settings | Raw | None, section: str) -> Settings:
    """Read a mapping as the whole configuration when it names any of its sections, else as one section."""
    if isinstance(config, Settings):
        return config
    mapping = config or {}
    is_whole = any(name in Settings.model_fields for name in mapping)
    return Settings.from_mapping(mapping if is_whole else {section: mapping})


def checked_settings(mapping: Raw) -> tuple[Settings, list[str]]:
    """Validate a nested mapping; gives the settings and all problems, one line each.

    Refused keys are left at their defaults so that the rules between the others can still be judged; such settings
    must not be used when there are problems.
    """
    filled = _with_quote(mapping)
    problems: list[str] = []
    for _ in range(20):
        try:
            settings = Settings.model_validate(filled)
        except ValidationError as error:
            found, paths = problems_of(error, Settings, filled)
            problems += [line for line in found if line not in problems]
            filled = without(filled, paths)
        else:
            refused = {line.partition(":")[0] for line in problems}
            return settings, problems + broken_rules(settings, refused)
    return Settings(), problems


_QUOTED_KEYS = (
    ("model", "drift", "benchmark_symbol"),
    ("santrade_intelligence", "benchmark_symbol"),
    ("risk", "circuit_breakers", "volatility_benchmark_symbol"),
)


def _with_quote(mapping: Raw) -> dict[str, object]:
    """Write the quote asset into symbol keys that were left out or hold `<quote>`."""
    written = str(mapping.get("base_quote", "USDC")).strip().upper()
    quote = written if is_asset(written) else "USDC"
    tree = _filled_sections(_marked(mapping, quote), Settings)
    for path in _QUOTED_KEYS:
        _fill(tree, path, f"BTC/{quote}")
    _fill(tree, ("universe", "training_symbols"), [f"{base}/{quote}" for base in DEFAULT_BASES])
    return tree


def _filled_sections(tree: Raw, section: type[Section]) -> dict[str, object]:
    """Read a section whose keys are all commented out, which YAML calls null, as empty."""
    filled = dict(tree)
    for name, field in section.model_fields.items():
        below = section_type(field)
        value = filled.get(name)
        if below and name in filled and value is None:
            filled[name] = {}
        elif below and isinstance(value, Mapping):
            filled[name] = _filled_sections(value, below)
    return filled


def _marked(mapping: Raw, quote: str) -> dict[str, object]:
    return {name: _replaced(value, quote) for name, value in mapping.items()}


def _replaced(value: object, quote: str) -> object:
    if isinstance(value, str):
        return value.replace(QUOTE_MARK, quote)
    if isinstance(value, Mapping):
        return {name: _replaced(item, quote) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(item, quote) for item in value]
    return value


def _fill(tree: dict[str, object], path: tuple[str, ...], value: object) -> None:
    """Set a key that is absent; leaves a branch that is not a mapping for validation to refuse."""
    node = tree
    for name in path[:-1]:
        below = node.setdefault(name, {})
        if not isinstance(below, dict):
            return
        node = below
    node.setdefault(path[-1], value)
