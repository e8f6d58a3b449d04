"""Every bad configuration is refused with the key, the value and what to do; nothing secret is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from bn_ml.config import load_settings
from bn_ml.errors import ConfigError

VENUE_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
BOT_TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawx"


def problems_of(folder: Path, text: str, **environ: str) -> tuple[str, ...]:
    path = folder / "bot.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        load_settings(path, environ=environ)
    return refusal.value.problems


BAD_VALUES = [
    ("environment: demo", "environment: 'demo' is not allowed; allowed: paper, live (default 'paper')"),
    ("environment: true", "environment: true is not allowed"),
    ("base_quote: 7", "base_quote: 7 is not allowed; allowed: asset code such as USDC"),
    ("base_quote: 'US D'", "base_quote: 'US D' is not allowed"),
    ("log_level: LOUD", "log_level: 'LOUD' is not allowed; allowed: DEBUG, INFO, WARNING, ERROR"),
    ("exchange: {name: kraken}", "exchange.name: 'kraken' is not allowed; allowed: binance"),
    ("exchange: {testnet: 'yes please'}", "exchange.testnet: 'yes please' is not allowed; allowed: true, false, null"),
    ("exchange: {rate_limit_ms: 5}", "exchange.rate_limit_ms: 5 is not allowed; allowed: whole number 10-5000"),
    ("exchange: {timeout_ms: 1e4}", "exchange.timeout_ms: 10000.0 is not allowed; allowed: whole number 1000-60000"),
    ("exchange: {retry_attempts: -1}", "exchange.retry_attempts: -1 is not allowed; allowed: whole number 0-10"),
    ("exchange: {weight_budget_pct: 70}", "write the fraction 0.7"),
    ("exchange: {base_url: 'https://evil.example'}", "exchange.base_url: 'https://evil.example' is neither a loopback"),
    ("exchange: {base_url: 'http://api.binance.com'}", "exchange.base_url: 'http://api.binance.com' is neither"),
    ("exchange: {ws_url: 'http://127.0.0.1:1'}", "exchange.ws_url: 'http://127.0.0.1:1' is neither"),
    ("exchange: {orders: {max_orders_per_min: 11}}", "exchange.orders.max_orders_per_min: 11 is not allowed"),
    ("exchange: {orders: {entry_slippage_cap_pct: 0.5}}", "write the fraction 0.005"),
    ("exchange: {orders: {max_notional_per_day_usdt: 0}}", "allowed: number > 0 quote units"),
    ("data: {paper_market_data_mode: fake}", "allowed: live, synthetic, replay, auto"),
    ("data: {replay_speed: 0.5}", "data.replay_speed: 0.5 is not allowed; allowed: max, number 1-10000"),
    ("data: {replay_from: soon}", "data.replay_from: 'soon' is not allowed; allowed: ISO 8601 time, null"),
    ("data: {replay_from: 2023-02-01, replay_to: 2023-01-01}", "data.replay_from: must be before data.replay_to"),
    ("data: {max_gap_bars: 51}", "data.max_gap_bars: 51 is not allowed; allowed: whole number 0-50 bars"),
    ("data: {synthetic_strength: 0.6}", "data.synthetic_strength: 0.6 is not allowed; allowed: number 0-0.5"),
    ("universe: {training_symbols: BTC/USDC}", "universe.training_symbols: 'BTC/USDC' is not allowed"),
    ("universe: {training_symbols: [BTCUSDC]}", "universe.training_symbols: ['BTCUSDC'] is not allowed"),
    ("universe: {training_symbols: [BTC/USDT]}", "BTC/USDT is not quoted in base_quote USDC; write BTC/USDC"),
    ("universe: {training_symbols: []}", "universe.training_symbols: is empty"),
    ("universe: {training_symbols: [BTC/USDC], exclude: [BTC/USDC]}", "universe.exclude: leaves nothing"),
    ("model: {multi_timeframe: {timeframes: [1h, 4h, 1h]}}", "model.multi_timeframe.timeframes: names something twice"),
    ("model: {features: {families: [trend, trend]}}", "model.features.families: names something twice"),
    ("model: {features: {families: []}}", "model.features.families: is empty"),
    ("universe: {discovery: {refresh_sec: 1}}", "universe.discovery.refresh_sec: 1 is not allowed"),
    ("scanner: {min_score: 60}", "scanner.min_score: 60 is not allowed; allowed: number 0-10 points"),
    ("scanner: {spread_max_pct: 0.15}", "scanner.spread_max_pct: 0.15 is not allowed; allowed: number 0-0.05"),
    ("scanner: {spread_max_pct: 0.15}", "it looks like a percent: write the fraction 0.0015"),
    ("scanner: {min_confidence: 42}", "write the fraction 0.42"),
    ("scanner: {weights: {ml: 0.6}}", "scanner.weights.ml: plus scanner.weights.technical"),
    ("scanner: {dynamic_pair_filters: {by_symbol: {btc: {}}}}", "by_symbol.btc: "),
    (
        "scanner: {dynamic_pair_filters: {by_symbol: {BTC/USDC: {spread_max: 1}}}}",
        "did you mean scanner.dynamic_pair_filters.by_symbol.<name>.spread_max_pct?",
    ),
    ("model: {min_train_rows: 499}", "model.min_train_rows: 499 is not allowed; allowed: whole number >= 500 rows"),
    ("model: {train_ohlcv_limit: 500}", "allowed: whole number 0 or >= 1000 bars"),
    ("model: {features: {families: [trend, magic]}}", "model.features.families: ['trend', 'magic'] is not allowed"),
    ("model: {multi_timeframe: {timeframes: [2h]}}", "model.multi_timeframe.timeframes: ['2h'] is not allowed"),
    ("model: {multi_timeframe: {max_bars_per_timeframe: 100}}", "must not be above"),
    ("model: {labeling: {min_move_pct: 0.03}}", "model.labeling.min_move_pct: must not be above"),
    ("model: {validation: {purge_bars: some}}", "allowed: auto, whole number >= 0 bars"),
    ("model: {acceleration: {cpu_n_jobs: 0}}", "allowed: auto, whole number -1 or 1-64 cores"),
    ("model: {ensemble: {min_buy_proba: 42}}", "write the fraction 0.42"),
    ("model: {drift: {benchmark_symbol: BTC/EUR}}", "model.drift.benchmark_symbol: BTC/EUR is not quoted"),
    ("santrade_intelligence: {profile: bold}", "allowed: aggressive, neutral, defensive"),
    ("santrade_intelligence: {profiles: {bold: {}}}", "santrade_intelligence.profiles.bold: unknown key"),
    ("santrade_intelligence: {profiles: {neutral: {min_pairs: 0}}}", "profiles.neutral.min_pairs: 0 is not allowed"),
    ("model_sync: {publisher: {schedule: 25:00}}", "model_sync.publisher.schedule: '25:00' is not allowed"),
    ("risk: 5", "risk: 5 is not allowed; allowed: a mapping of keys"),
    ("risk: {capital_total: much}", "risk.capital_total: 'much' is not allowed; allowed: number > 0, auto"),
    ("risk: {capital_total: .nan}", "risk.capital_total: nan is not allowed"),
    ("risk: {max_drawdown_pct: .inf}", "risk.max_drawdown_pct: inf is not allowed"),
    ("risk: {max_drawdown_pct: 5}", "risk.max_drawdown_pct: 5 is not allowed"),
    ("risk: {max_drawdown_pct: 5}", "it looks like a percent: write the fraction 0.05"),
    ("risk: {fees_pct: 0.1}", "it looks like a percent: write the fraction 0.001"),
    ("risk: {slippage_pct: 0.05}", "it looks like a percent: write the fraction 0.0005"),
    ("risk: {min_net_profit_pct: 0.3}", "it looks like a percent: write the fraction 0.003"),
    ("risk: {stop_loss_pct: 1.5}", "it looks like a percent: write the fraction 0.015"),
    ("risk: {max_open_positions: 2.5}", "risk.max_open_positions: 2.5 is not allowed; allowed: whole number 1-50"),
    ("risk: {max_open_positions: true}", "risk.max_open_positions: true is not allowed"),
    ("risk: {max_open_positions: '5'}", "risk.max_open_positions: '5' is not allowed"),
    ("risk: {max_open_postions: 5}", "risk.max_open_postions: unknown key; did you mean risk.max_open_positions?"),
    ("risks: {max_open_positions: 5}", "risks: unknown key; did you mean risk?"),
    ("min_score: 5", "min_score: unknown key; did you mean scanner.min_score?"),
    ("zzz: 1", "zzz: unknown key; remove it"),
    ("risk: {stop_loss_pct: 0.02}", "risk.stop_loss_pct: 0.02 must be below risk.take_profit_1_pct 0.02"),
    ("risk: {take_profit_2_pct: 0.02}", "risk.take_profit_1_pct: 0.02 must be below risk.take_profit_2_pct 0.02"),
    ("risk: {stop_loss_atr_mult: 3.0}", "risk.stop_loss_atr_mult: 3 must be below risk.take_profit_1_atr_mult 2"),
    ("risk: {take_profit_1_fraction: 0.7}", "risk.take_profit_1_fraction: plus risk.take_profit_2_fraction is 1"),
    ("risk: {max_position_size_usdt: 4}", "is below the venue's minimum notional 5; raise it"),
    ("risk: {capital_total: 150}", "lower the position size to 75"),
    (
        "risk: {reserve_ratio: 0.4}",
        "risk.capital_active_ratio: plus risk.reserve_ratio plus risk.cash_buffer_ratio is 1.1",
    ),
    ("risk: {min_net_profit_pct: 0.018}", "less costs of both sides leaves 0.017"),
    ("risk: {max_daily_risk_pct: 0.07}", "risk.max_daily_risk_pct: must not be above risk.max_weekly_risk_pct"),
    ("risk: {max_loss_per_day: 0.07}", "risk.max_loss_per_day: must not be above risk.max_loss_per_week"),
    ("risk: {max_symbol_exposure_pct: 0.6}", "risk.max_symbol_exposure_pct: must not be above risk.max_exposure_pct"),
    ("risk: {min_position_pct_active: 0.3}", "risk.min_position_pct_active: must not be above"),
    ("monitoring: {alerting: {daily_digest: 7am}}", "allowed: time of day \"HH:MM\" (default '07:00')"),
    ("monitoring: {dashboard: {port: 70000}}", "allowed: whole number 1-65535"),
    ("public_api: {ws_poll_sec: 0.4}", "public_api.ws_poll_sec: 0.4 is not allowed; allowed: number 0.5-10 seconds"),
    ("storage: {backup: {keep_last: 0}}", "storage.backup.keep_last: 0 is not allowed"),
    ("backtest: {latency_bars: 6}", "backtest.latency_bars: 6 is not allowed; allowed: whole number 0-5 bars"),
]


@pytest.mark.parametrize(
    ("text", "expected"), BAD_VALUES, ids=[f"{place}-{text}" for place, (text, _) in enumerate(BAD_VALUES)]
)
def test_bad_configuration_is_refused_in_words(tmp_path: Path, text: str, expected: str) -> None:
    problems = problems_of(tmp_path, text)
    assert len(problems) == 1
    assert expected in problems[0]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("exchange: {enableRateLimit: false}", "exchange.enableRateLimit"),
        ("model: {ensemble: {skill_gate: false}}", "model.ensemble.skill_gate"),
        ("model: {ensemble: {ev_gate: false}}", "model.ensemble.ev_gate"),
        ("model: {ensemble: {outlier_gate: false}}", "model.ensemble.outlier_gate"),
        ("data: {allow_synthetic_fallback: true}", "data.allow_synthetic_fallback"),
    ],
)
def test_what_paper_may_switch_off_live_may_not(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "bot.yaml"
    path.write_text(text, encoding="utf-8")
    load_settings(path, environ={})
    problems = problems_of(tmp_path, f"environment: live\n{text}")
    assert [line.partition(":")[0] for line in problems] == [key]
    assert "refused in live" in problems[0]


SECRETS = [
    f"exchange: {{api_key: {VENUE_KEY}}}",
    f"exchange: {{apiKey: {VENUE_KEY}}}",
    f"exchange: {{secret: {VENUE_KEY}}}",
    f"api_secret: {VENUE_KEY}",
    f"exchange: {{name: {VENUE_KEY}}}",
    f"monitoring: {{alerting: {{telegram_bot_token: '{BOT_TOKEN}'}}}}",
    f"monitoring: {{alerting: {{telegram: {{token: '{BOT_TOKEN}'}}}}}}",
    "monitoring: {alerting: {webhook_url: 'https://hooks.example/s3cr3tpath'}}",
    "monitoring: {alerting: {email: {smtp_password: s3cr3tpath}}}",
    "monitoring: {alerting: {email: {password: s3cr3tpath}}}",
    "model_sync: {runpod: {api_key: s3cr3tpath}}",
    "model_sync: {runpod: {headers: {Authorization: Bearer s3cr3tpath}}}",
    "model_sync: {runpod: {trigger_url: 'https://user:s3cr3tpath@host.example/run'}}",
    "public_api: {token: s3cr3tpath}",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    problems = problems_of(tmp_path, text)
    assert len(problems) == 1
    assert "environment" in problems[0]
    assert not any(value in problems[0] for value in (VENUE_KEY, BOT_TOKEN, "s3cr3tpath"))


def test_name_of_a_variable_that_holds_a_key_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "bot.yaml"
    path.write_text("model_sync: {runpod: {api_key_env: MY_KEY}}\nmodel: {trusted_keys: [" + "a" * 64 + "]}", "utf-8")
    assert load_settings(path, environ={}).settings.model_sync.runpod.api_key_env == "MY_KEY"


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    text = (
        "risk: {fees_pct: 0.1, max_open_position: 3, stop_loss_pct: 0.03, max_positions: 99}\n"
        "scanner: {weights: {ml: 0.9}}\nexchange: {api_key: x}\nlog_level: LOUD\n"
    )
    keys = {line.partition(":")[0] for line in problems_of(tmp_path, text)}
    assert keys == {
        "risk.fees_pct",
        "risk.max_open_position",
        "risk.stop_loss_pct",
        "risk.max_open_positions",
        "scanner.weights.ml",
        "exchange.api_key",
        "log_level",
    }


def test_rule_is_not_judged_on_a_refused_key(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "risk: {take_profit_1_pct: 3, stop_loss_pct: 0.019}")
    assert [line.partition(":")[0] for line in problems] == ["risk.take_profit_1_pct"]


BROKEN_FILES = [
    ("risk:\n  a: [1\nscanner: {}\n", "line 3"),
    ("risk:\n\tmax_open_positions: 3\n", "line 2"),
    ("risk:\n  max_open_positions: 3\n  fees_pct: 0.001\n  max_open_positions: 4\n", "line 4: key max_open_positions"),
    ("risk: {}\nrisk: {}\n", "line 2: key risk is written twice (first on line 1); keep one"),
    ("- a\n- b\n", "must be a mapping of sections, got list"),
    ("just text\n", "must be a mapping of sections, got str"),
    ("? [a, b]\n: 1\n", "line 1"),
    ("a: !!python/object/apply:os.system ['true']\n", "line 1"),
    ("a: 1\n---\nb: 2\n", "line 2"),
    ("a: \x00\n", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "expected"), BROKEN_FILES)
def test_broken_file_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    problems = problems_of(tmp_path, text)
    assert expected in problems[0]
    assert "bot.yaml" in problems[0]


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bot.yaml"
    path.write_bytes(b"log_level: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings(path, environ={})


def test_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config: no file at"):
        load_settings(tmp_path / "absent.yaml", environ={})
    with pytest.raises(ConfigError, match="BNML_CONFIG_PATH: no file at"):
        load_settings(environ={"BNML_CONFIG_PATH": str(tmp_path / "absent.yaml")})


def test_bad_variable_is_named(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path, "{}", BNML_API_PORT="eighty", BINANCE_TESTNET="perhaps", BNML_API_WS_POLL_SEC="nan"
    )
    assert any("public_api.port: 'eighty'" in line and "(from BNML_API_PORT)" in line for line in problems)
    assert any(line.startswith("BINANCE_TESTNET: 'perhaps' is not allowed") for line in problems)
    assert any("public_api.ws_poll_sec: nan" in line and "(from BNML_API_WS_POLL_SEC)" in line for line in problems)


def test_testnet_in_file_and_environment_must_agree(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "exchange: {testnet: false}", BINANCE_TESTNET="true")
    assert problems == ("exchange.testnet: false disagrees with BINANCE_TESTNET=true; make them equal",)


def test_any_origin_is_refused_together_with_a_token(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "{}", BNML_API_CORS_ORIGINS="*", BNML_API_TOKEN="t" * 40)
    assert "public_api.cors_origins" in problems[0]
    assert "t" * 40 not in problems[0]
