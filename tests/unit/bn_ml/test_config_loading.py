"""Where values come from: precedence, sources, look-up, old names, generated files."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bn_ml.config import load_settings, lookup, settings_hash
from bn_ml.config_aliases import ALIASES, translate
from bn_ml.config_yaml import parse_yaml
from bn_ml.errors import ConfigError
from bn_ml.settings import Settings
from bn_ml.settings_base import walk_keys

ROOT = Path(__file__).resolve().parents[3]


def a_file(folder: Path, text: str) -> Path:
    path = folder / "bot.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = a_file(tmp_path, "public_api: {port: 8100, host: 127.0.0.2, ws_poll_sec: 3}")
    environ = {"BNML_API_PORT": "8200", "BNML_API_HOST": "127.0.0.3"}
    loaded = load_settings(path, environ=environ, overrides={"public_api.port": 8300})
    api = loaded.settings.public_api
    assert (api.port, api.host, api.ws_poll_sec, api.default_limit) == (8300, "127.0.0.3", 3.0, 50)
    names = ("port", "host", "ws_poll_sec", "default_limit")
    assert [loaded.sources[f"public_api.{name}"] for name in names] == ["flag", "env", "yaml", "default"]


def test_every_known_key_has_a_source() -> None:
    loaded = load_settings(environ={"BNML_CONFIG_PATH": str(ROOT / "configs/bot.yaml")})
    assert set(loaded.sources) == {name for name, _ in walk_keys(Settings)}


def test_search_order_is_argument_then_variable_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ={}).path is None
    (tmp_path / "configs").mkdir()
    a_file(tmp_path / "configs", "log_level: DEBUG")
    assert load_settings(environ={}).path == Path("configs/bot.yaml")
    named = a_file(tmp_path, "log_level: WARN")
    assert load_settings(environ={"BNML_CONFIG_PATH": str(named)}).settings.log_level == "WARNING"
    other = tmp_path / "other.yaml"
    other.write_text("", encoding="utf-8")
    assert load_settings(other, environ={"BNML_CONFIG_PATH": str(named)}).path == other


def test_no_file_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(environ={})
    assert loaded.settings == Settings.from_mapping({"exchange": {"testnet": False}})
    assert loaded.warnings == ()
    assert set(loaded.sources.values()) == {"default"}


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_null_testnet_follows_the_variable(tmp_path: Path, text: str, expected: bool) -> None:
    path = a_file(tmp_path, "exchange: {testnet: null}")
    assert load_settings(path, environ={"BINANCE_TESTNET": text}).settings.exchange.testnet is expected


def test_hosts_of_the_variable_are_added(tmp_path: Path) -> None:
    loaded = load_settings(a_file(tmp_path, ""), environ={"BNML_API_ALLOWED_HOSTS": "api, prometheus"})
    assert loaded.settings.public_api.allowed_hosts == ("localhost", "127.0.0.1", "api", "prometheus")


def test_origins_and_models_folder_come_from_variables(tmp_path: Path) -> None:
    environ = {"BNML_API_CORS_ORIGINS": "https://a.example,https://b.example", "BNML_MODELS_DIR": "bundles"}
    settings = load_settings(a_file(tmp_path, ""), environ=environ).settings
    assert settings.public_api.cors_origins == ("https://a.example", "https://b.example")
    assert settings.model.models_dir == Path("bundles")


def test_hash_depends_on_values_only(tmp_path: Path) -> None:
    plain = load_settings(a_file(tmp_path, ""), environ={})
    spelt = load_settings(a_file(tmp_path, "risk: {capital_total: 1000, max_open_positions: 5}"), environ={})
    other = load_settings(a_file(tmp_path, "risk: {max_open_positions: 4}"), environ={})
    assert plain.hash == spelt.hash == settings_hash(plain.settings)
    assert other.hash != plain.hash


def test_dotted_look_up_reaches_values_and_sections() -> None:
    settings = Settings()
    assert lookup(settings, "risk.max_open_positions") == 5
    assert lookup(settings, "risk") == settings.risk
    assert lookup(settings, "monitoring.alerting.email.from") == ""


def test_dotted_look_up_of_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean risk.max_open_positions"):
        lookup(Settings(), "risk.max_open_position")


def test_switched_off_gate_is_warned_of_in_paper(tmp_path: Path) -> None:
    loaded = load_settings(a_file(tmp_path, "model: {ensemble: {skill_gate: false}}"), environ={})
    assert [line.partition(":")[0] for line in loaded.warnings] == ["model.ensemble.skill_gate"]


def test_times_dates_and_exponents_are_read_as_meant() -> None:
    assert parse_yaml("a: 07:00\nb: 2023-01-01\nc: 1e-4\nd: 1_0\ne: 0.5\nf: -3\ng: yes\nh: ~\n") == {
        "a": "07:00",
        "b": "2023-01-01",
        "c": 1e-4,
        "d": "1_0",
        "e": 0.5,
        "f": -3,
        "g": True,
        "h": None,
    }


def test_replay_dates_become_utc_instants(tmp_path: Path) -> None:
    data = load_settings(
        a_file(tmp_path, "data: {replay_from: 2023-01-01, replay_to: '2023-02-01T01:00+01:00'}")
    ).settings.data
    assert data.replay_from is not None
    assert data.replay_to is not None
    assert (data.replay_from.isoformat(), data.replay_to.isoformat()) == (
        "2023-01-01T00:00:00+00:00",
        "2023-02-01T00:00:00+00:00",
    )


OLD_NAMES: list[tuple[str, object, str, object]] = [
    ("risk.max_positions", 3, "risk.max_open_positions", 3),
    ("risk.max_portfolio_exposure_pct", 0.4, "risk.max_exposure_pct", 0.4),
    ("risk.time_stop_hours", 12, "risk.max_holding_period", 12.0),
    ("risk.circuit_breakers.daily_drawdown_stop_pct", -5.0, "risk.max_loss_per_day", 0.05),
    ("risk.capital_total_fallback", 2000, "risk.capital_total", 2000.0),
    ("risk.drift_benchmark_symbol", "ETH/USDC", "model.drift.benchmark_symbol", "ETH/USDC"),
    ("universe.pairs", ["ETH/USDC"], "universe.training_symbols", ("ETH/USDC",)),
    ("universe.user_selected_pairs", ["ETH/USDC"], "universe.training_symbols", ("ETH/USDC",)),
    ("universe.user_selected_only", True, "universe.discovery.enabled", False),
    ("universe.dynamic_base_quote_pairs", True, "universe.discovery.enabled", True),
    ("universe.dynamic_refresh_sec", 600, "universe.discovery.refresh_sec", 600),
    ("universe.min_24h_volume_usdt", 5, "universe.discovery.min_24h_volume_usdt", 5.0),
    ("universe.train_dynamic_pairs", False, "universe.discovery.train", False),
    ("universe.max_pairs_scanned", 40, "scanner.max_pairs", 40),
    ("universe.train_max_pairs", 50, "universe.train_max_symbols", 50),
    ("universe.model_max_age_hours", 48, "model.retraining.max_model_age_hours", 48.0),
    ("model.acceleration.mode", "cpu", "model.acceleration.device", "cpu"),
    ("scanner.min_global_score", 65, "scanner.min_score", 6.5),
    ("scanner.min_ml_confidence", 55, "scanner.min_confidence", 0.55),
    ("scanner.orderbook_depth_min_usdt", 1000, "scanner.depth_min_usdt", 1000.0),
    ("model.feature_limit", 40, "model.features.limit", 40),
    ("model.backtest_ohlcv_limit", 5000, "backtest.ohlcv_limit", 5000),
    ("model.sequence_length", 32, "model.lstm.sequence_length", 32),
    ("model.labeling.horizon_candles", 8, "model.labeling.horizon_bars", 8),
    ("model.auto_retrain_enabled", False, "model.retraining.enabled", False),
    ("model.retrain_interval_hours", 12, "model.retraining.interval_hours", 12.0),
    ("model.retrain_check_interval_sec", 30, "model.retraining.check_interval_sec", 30),
    ("model.retrain_degradation_trigger_pct", 15, "model.retraining.degradation_trigger_pct", 0.15),
    ("model.auto_train_missing_models", False, "universe.auto_train_missing", False),
    ("model.auto_train_batch_size", 3, "universe.auto_train_batch", 3),
    ("model.auto_train_missing_batch_size", 3, "universe.auto_train_batch", 3),
    ("model.auto_train_missing_models_batch_size", 3, "universe.auto_train_batch", 3),
    ("model.auto_train_disable_hpo", True, "model.retraining.hpo", False),
    ("model.auto_train_missing_disable_hpo", True, "model.retraining.hpo", False),
    ("model.auto_train_missing_models_disable_hpo", True, "model.retraining.hpo", False),
    ("model.multi_timeframe.min_candles_per_timeframe", 150, "model.multi_timeframe.min_bars_per_timeframe", 150),
    ("model.multi_timeframe.max_candles_per_timeframe", 700, "model.multi_timeframe.max_bars_per_timeframe", 700),
    ("model.multi_timeframe.extra_candles_buffer", 10, "model.multi_timeframe.extra_bars_buffer", 10),
    ("model.santrade_intelligence.profile", "neutral", "santrade_intelligence.profile", "neutral"),
    ("monitoring.log_level", "DEBUG", "log_level", "DEBUG"),
    ("monitoring.alerts_enabled", False, "monitoring.alerting.enabled", False),
    ("monitoring.dashboard.auto_launch_with_bot", False, "monitoring.dashboard.auto_launch", False),
    ("public_api.models_dir", "bundles", "model.models_dir", Path("bundles")),
]


def nested(dotted: str, value: object) -> dict[str, object]:
    head, _, rest = dotted.partition(".")
    return {head: nested(rest, value) if rest else value}


def written(folder: Path, *trees: dict[str, object]) -> Path:
    lines: list[str] = []
    merged: dict[str, object] = {}
    for tree in trees:
        merge(merged, tree)
    for name, value in merged.items():
        lines.append(f"{name}: {flow(value)}")
    return a_file(folder, "\n".join(lines))


def merge(into: dict[str, object], tree: dict[str, object]) -> None:
    for name, value in tree.items():
        below = into.setdefault(name, {}) if isinstance(value, dict) else value
        if isinstance(below, dict) and isinstance(value, dict):
            merge(below, value)
        into[name] = below


def flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(("old", "value", "new", "expected"), OLD_NAMES, ids=[row[0] for row in OLD_NAMES])
def test_old_name_sets_the_key_of_today_with_a_warning(
    tmp_path: Path, old: str, value: object, new: str, expected: object
) -> None:
    loaded = load_settings(written(tmp_path, nested(old, value)), environ={})
    assert lookup(loaded.settings, new) == expected
    assert any(line.startswith(f"{old}: old name") and new in line for line in loaded.warnings)
    assert loaded.sources[new] == "yaml"


def test_every_alias_of_the_table_is_tried_above() -> None:
    assert {alias.old for alias in ALIASES} <= {row[0] for row in OLD_NAMES}


@pytest.mark.parametrize("alias", ALIASES, ids=[alias.old for alias in ALIASES])
def test_alias_leads_to_a_key_that_exists(alias: object) -> None:
    assert getattr(alias, "new") in {name for name, _ in walk_keys(Settings)}  # noqa: B009


def test_old_name_that_disagrees_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, nested("risk.max_positions", 3), nested("risk.max_open_positions", 4))
    with pytest.raises(
        ConfigError, match=r"risk.max_open_positions: 4 disagrees with its old name risk.max_positions 3"
    ):
        load_settings(path, environ={})


def test_old_name_that_agrees_is_a_warning(tmp_path: Path) -> None:
    path = written(tmp_path, nested("scanner.min_ml_confidence", 42), nested("scanner.min_confidence", 0.42))
    assert len(load_settings(path, environ={}).warnings) == 1


def test_first_of_two_old_names_wins_and_says_so(tmp_path: Path) -> None:
    path = a_file(tmp_path, "universe: {user_selected_pairs: [ADA/USDC], pairs: [ETH/USDC]}")
    loaded = load_settings(path, environ={})
    assert loaded.settings.universe.training_symbols == ("ETH/USDC",)
    assert any("ignored, universe.pairs wins" in line for line in loaded.warnings)


def test_unit_is_converted_only_under_the_old_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"scanner.min_confidence: 55 is not allowed"):
        load_settings(a_file(tmp_path, "scanner: {min_confidence: 55}"), environ={})


def test_fraction_under_a_percent_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write scanner.min_confidence: 0.55 instead"):
        load_settings(a_file(tmp_path, "scanner: {min_ml_confidence: 0.55}"), environ={})


@pytest.mark.parametrize("text", ["model: {lookback_days: 90}", "public_api: {enabled: true}"])
def test_removed_key_is_a_warning(tmp_path: Path, text: str) -> None:
    loaded = load_settings(a_file(tmp_path, text), environ={})
    assert "removed and ignored" in loaded.warnings[0]


def test_user_selected_only_false_is_ignored(tmp_path: Path) -> None:
    loaded = load_settings(a_file(tmp_path, "universe: {user_selected_only: false}"), environ={})
    assert loaded.settings.universe.discovery.enabled is False
    assert "false is ignored" in loaded.warnings[0]


def test_old_depth_key_of_a_symbol_is_read(tmp_path: Path) -> None:
    text = "scanner: {dynamic_pair_filters: {by_symbol: {BTC/USDC: {orderbook_depth_min_usdt: 7}}}}"
    loaded = load_settings(a_file(tmp_path, text), environ={})
    assert loaded.settings.scanner.dynamic_pair_filters.by_symbol["BTC/USDC"].depth_min_usdt == 7
    assert loaded.sources["scanner.dynamic_pair_filters.by_symbol"] == "yaml"


def test_bad_value_under_an_old_name_says_where_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"risk.max_open_positions: 99 .*\(from the old name risk.max_positions\)"):
        load_settings(a_file(tmp_path, "risk: {max_positions: 99}"), environ={})


def test_translation_leaves_the_given_tree_alone() -> None:
    tree = {"risk": {"max_positions": 3}}
    translate(tree)
    assert tree == {"risk": {"max_positions": 3}}


@pytest.mark.parametrize("name", ["configs/bot.yaml", ".env.example", "docs/configuration.md"])
def test_generated_file_equals_what_the_settings_say(name: str) -> None:
    generated = importlib.import_module("scripts.generate_reference").generated()
    assert (ROOT / name).read_text(encoding="utf-8") == generated[Path(name)]


def test_shipped_file_holds_exactly_the_defaults() -> None:
    shipped = load_settings(ROOT / "configs/bot.yaml", environ={})
    assert shipped.settings == Settings.from_mapping({"exchange": {"testnet": False}})
    assert shipped.warnings == ()
