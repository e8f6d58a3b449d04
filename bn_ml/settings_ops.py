"""Sections for running the bot: model exchange, monitoring, API, storage, backtest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, JsonValue

from bn_ml.settings_base import (
    FRACTION,
    SHARE,
    DayTime,
    FilePath,
    Section,
    Texts,
    at_least,
    between,
    key,
    more_than,
)

_AT = 'time of day "HH:MM"'


class PublisherSettings(Section):
    """Publishing bundles to the repository."""

    schedule: DayTime = key("00:00", "daily time of publishing", allowed=_AT)
    train_before_push: bool = key(True, "train before publishing")


class ClientSettings(Section):
    """Fetching bundles from the repository."""

    schedule: DayTime = key("06:00", "daily time of fetching", allowed=_AT)


class RunpodClientSettings(Section):
    """Fetching bundles from remote training."""

    schedule: DayTime = key("03:00", "daily time of remote training", allowed=_AT)


class RunpodSettings(Section):
    """Remote training jobs."""

    enabled: bool = key(False, "use remote training")
    trigger_url: str = key("", "address that starts a job; there is no default")
    status_url_template: str = key("", "address of a job's state, with {job_id}")
    api_key_env: str = key("RUNPOD_API_KEY", "name of the environment variable that holds the key")
    trigger_method: Literal["POST", "GET", "PUT"] = key("POST", "HTTP method that starts a job")
    trigger_payload: Mapping[str, JsonValue] = key({"input": {"task": "train_only"}}, "JSON body that starts a job")
    headers: Mapping[str, str] = key({}, "extra HTTP headers, never secrets", allowed="mapping of text to text")
    allowed_download_hosts: Texts = key((), "hosts an archive may come from", allowed="list of host names")
    request_timeout_sec: float = key(20, "longest wait for an answer", between(1, 600), "seconds")
    poll_interval_sec: float = key(10, "time between looks at a job", between(1, 600), "seconds")
    job_timeout_sec: float = key(3600, "longest job", between(10, 86400), "seconds")
    download_timeout_sec: float = key(300, "longest download", between(1, 7200), "seconds")
    max_archive_mb: float = key(512, "largest archive", between(1, 10240), "megabytes")
    extract_subdir: str = key("models", "folder inside the archive")


class ModelSyncSettings(Section):
    """Exchange of bundles between machines."""

    enabled: bool = key(False, "exchange bundles")
    repo_dir: str = key("", "working copy of the exchange repository")
    remote: str = key("origin", "git remote")
    branch: str = key("main", "git branch")
    repo_models_subdir: str = key("models", "folder of the bundles in the repository")
    timezone: str = key("UTC", "time zone of the schedules")
    publisher: PublisherSettings = PublisherSettings()
    client: ClientSettings = ClientSettings()
    runpod_client: RunpodClientSettings = RunpodClientSettings()
    runpod: RunpodSettings = RunpodSettings()


class RealtimePricesSettings(Section):
    """Streamed quotes."""

    enabled: bool = key(True, "stream quotes of held symbols")
    include_scan_pairs: bool = key(True, "also stream the best scanned symbols")
    max_symbols: int = key(30, "most symbols streamed", between(1, 200), "symbols")
    reconnect_delay_sec: float = key(3, "first wait before connecting again", between(0.1, 300), "seconds")


class ChannelSettings(Section):
    """One alert channel; its address and secrets come from the environment."""

    enabled: bool = key(False, "use this channel")


class EmailSettings(ChannelSettings):
    """Alerts by email; server and login come from the environment."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    sender: str = key("", "sender address; empty is the login name", allowed="email address", alias="from")
    to: Texts = key((), "recipients", allowed="list of email addresses")
    use_tls: bool = key(True, "encrypt the connection")
    subject_prefix: str = key("[BN-ML]", "first words of the subject")


class AlertingSettings(Section):
    """Which alerts are sent, how often and where."""

    enabled: bool = key(True, "send alerts at all")
    min_level: Literal["INFO", "WARNING", "ERROR", "CRITICAL"] = key("INFO", "least level sent")
    dedupe_sec: float = key(300, "an equal alert is not repeated within this time", at_least(0), "seconds")
    timeout_sec: float = key(5, "longest wait for a channel", between(0.5, 60), "seconds")
    max_per_hour: int = key(20, "most alerts in an hour, critical ones aside", at_least(1), "alerts")
    daily_digest: DayTime = key("07:00", "UTC time of the daily summary", allowed=_AT)
    webhook: ChannelSettings = ChannelSettings()
    telegram: ChannelSettings = ChannelSettings()
    email: EmailSettings = EmailSettings()
    heartbeat_interval_sec: float = key(60, "time between pings of BNML_HEARTBEAT_URL", at_least(5), "seconds")


class DashboardSettings(Section):
    """The dashboard."""

    auto_launch: bool = key(True, "start it with the bot")
    script: FilePath = key(Path("monitoring/dashboard.py"), "file it runs")
    address: str = key("127.0.0.1", "address it listens on")
    port: int = key(8501, "port it listens on", between(1, 65535))
    auto_refresh_sec: float = key(5, "time between refreshes", between(1, 60), "seconds")
    full_screen_default: bool = key(True, "start in full width")
    timeframe_default: Literal["15m", "1h", "4h", "1d", "1w", "all"] = key("4h", "period shown first")
    live_market_enabled: bool = key(True, "show streamed prices")
    scan_stale_sec: float = key(900, "an older scan is marked stale", at_least(1), "seconds")
    theme: Literal["dark", "light"] = key("dark", "colours")


class MonitoringSettings(Section):
    """Logs, metrics, alerts and the dashboard."""

    logs_dir: FilePath = key(Path("artifacts/logs"), "folder of the logs")
    metrics_dir: FilePath = key(Path("artifacts/metrics"), "folder of the exports")
    log_format: Literal["text", "json"] = key("text", "form of log lines")
    log_max_mb: float = key(10, "a log file is rotated at this size", between(0.1, 1024), "megabytes")
    log_backups: int = key(5, "rotated log files kept", between(0, 100), "files")
    realtime_prices: RealtimePricesSettings = RealtimePricesSettings()
    alerting: AlertingSettings = AlertingSettings()
    dashboard: DashboardSettings = DashboardSettings()


class PublicApiSettings(Section):
    """The HTTP interface."""

    host: str = key("127.0.0.1", "address it listens on")
    port: int = key(8000, "port it listens on", between(1, 65535))
    cors_origins: Texts = key((), "origins browsers may call from", allowed="list of origins")
    public_market: bool = key(False, "market routes need no token")
    ws_poll_sec: float = key(2.0, "time between websocket messages", between(0.5, 10), "seconds")
    default_limit: int = key(50, "rows answered when none are asked for", between(1, 500), "rows")
    allowed_hosts: Texts = key(("localhost", "127.0.0.1"), "host names it answers to", allowed="list of host names")


class RetentionSettings(Section):
    """How long records are kept; trades, positions and ledgers stay for ever."""

    cycles: int = key(180, "cycles", at_least(1), "days")
    model_metrics: int = key(365, "training figures", at_least(1), "days")
    telemetry: int = key(30, "runtime figures", at_least(1), "days")


class BackupSettings(Section):
    """Copies of state and bundles."""

    enabled: bool = key(True, "make backups")
    base_dir: FilePath = key(Path("artifacts/backups"), "folder of the backups")
    interval_minutes: float = key(60, "time between backups", at_least(1), "minutes")
    keep_last: int = key(48, "newest backups kept", at_least(1), "backups")
    keep_daily: int = key(30, "days of which one backup is kept", at_least(0), "days")
    include_state_db: bool = key(True, "copy the database")
    include_metrics: bool = key(True, "copy the exports")
    include_logs: bool = key(False, "copy the logs")
    include_models: bool = key(True, "copy bundles that changed")


class StorageSettings(Section):
    """The database and its copies."""

    sqlite_path: FilePath = key(Path("artifacts/state/bn_ml.db"), "file of the database")
    retention_days: RetentionSettings = RetentionSettings()
    min_free_disk_mb: float = key(500, "no entries with less free disk", at_least(0), "megabytes")
    backup: BackupSettings = BackupSettings()


class BacktestSettings(Section):
    """Replaying history."""

    ohlcv_limit: int = key(0, "longest span of a backtest, counted from its end; 0 is no limit", at_least(0), "bars")
    initial_capital: float = key(1000, "capital at the start of a backtest", more_than(0), "quote units")
    latency_bars: int = key(
        0, "how old decisions are when a replay acts on them; above 2 all are stale and HOLD", between(0, 5), "bars"
    )
    max_participation_pct: float = key(0.01, "most of a bar's volume one order takes", SHARE, FRACTION)
    random_entry_runs: int = key(200, "runs of the random-entry control", between(1, 10000), "runs")
