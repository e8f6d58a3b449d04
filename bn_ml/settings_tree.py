"""The root of the settings tree: which section stands under which name."""

from __future__ import annotations

from typing import Literal

from bn_ml.settings_base import Asset, LogLevel, Section, key
from bn_ml.settings_market import DataSettings, ExchangeSettings, ScannerSettings, UniverseSettings
from bn_ml.settings_model import ModelSettings
from bn_ml.settings_mood import SantradeIntelligenceSettings
from bn_ml.settings_ops import (
    BacktestSettings,
    ModelSyncSettings,
    MonitoringSettings,
    PublicApiSettings,
    StorageSettings,
)
from bn_ml.settings_risk import RiskSettings


class SettingsTree(Section):
    """All sections with their defaults."""

    environment: Literal["paper", "live"] = key("paper", "paper books orders itself; live sends them to the venue")
    base_quote: Asset = key("USDC", "quote asset traded", allowed="asset code such as USDC")
    log_level: LogLevel = key("INFO", "least level logged")
    exchange: ExchangeSettings = ExchangeSettings()
    data: DataSettings = DataSettings()
    universe: UniverseSettings = UniverseSettings()
    scanner: ScannerSettings = ScannerSettings()
    model: ModelSettings = ModelSettings()
    santrade_intelligence: SantradeIntelligenceSettings = SantradeIntelligenceSettings()
    model_sync: ModelSyncSettings = ModelSyncSettings()
    risk: RiskSettings = RiskSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    public_api: PublicApiSettings = PublicApiSettings()
    storage: StorageSettings = StorageSettings()
    backtest: BacktestSettings = BacktestSettings()
