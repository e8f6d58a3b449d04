"""`bnml-doctor init` writes what is absent and nothing else; `bnml-doctor config` tells every value and its source."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from bn_ml.config import load_settings
from bn_ml.env import parse_env
from bn_ml.settings import Settings
from bn_ml.settings_base import plain_value, walk_keys
from scripts import doctor
from tests.fakes.live_command import CLEAN

CANARY = "canary0fa3cret0that0must0never0be0seen"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", dict(CLEAN))


def configured(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert doctor.main(["config", "--json", *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "bnml.doctor.config/1"
    data: dict[str, Any] = told["data"]
    return data


def test_init_writes_a_configuration_that_loads_as_the_defaults_and_a_private_env_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(["init"]) == 0
    said = capsys.readouterr().out
    loaded = load_settings(tmp_path / "configs" / "bot.yaml", environ={})
    assert plain_value(loaded.settings) == plain_value(load_settings(None, environ={}).settings)
    assert loaded.warnings == ()
    env = tmp_path / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert {name: value for name, value in parse_env(env.read_text()).items() if "KEY" in name or "TOKEN" in name} == {
        name: "" for name in parse_env(env.read_text()) if "KEY" in name or "TOKEN" in name
    }
    assert "bnml-doctor check" in said
    assert "bnml-bot --paper" in said


def test_what_init_writes_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = configured(capsys)["hash"]
    doctor.main(["init"])
    capsys.readouterr()
    after = configured(capsys)
    assert after["hash"] == before
    # No variable of the file stands above what the configuration says.
    assert {row["source"] for row in after["keys"]} == {"yaml", "env"}
    assert [row["key"] for row in after["keys"] if row["source"] == "env"] == ["exchange.testnet"]


def test_init_never_touches_a_file_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_text(f"BINANCE_API_KEY={CANARY}\n")
    (tmp_path / ".env").chmod(0o644)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "bot.yaml").write_text("risk: {max_open_positions: 3}\n")
    assert doctor.main(["init", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [item["made"] for item in told["data"]["files"]] == [False, False]
    assert "chmod 600" in told["warnings"][0]
    assert (tmp_path / ".env").read_text() == f"BINANCE_API_KEY={CANARY}\n"
    assert (tmp_path / "configs" / "bot.yaml").read_text() == "risk: {max_open_positions: 3}\n"


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    assert doctor.main(["init"]) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_init_refuses_a_folder_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "configs").write_text("a file in the way")
    assert doctor.main(["init"]) == 1
    said = capsys.readouterr()
    assert "FAIL configs/bot.yaml cannot be written" in said.out
    assert "Traceback" not in said.err
    # The other file is written all the same.
    assert (tmp_path / ".env").is_file()


def test_a_configuration_elsewhere_is_written_and_named_in_the_next_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(["init", "--config", "mine/bot.yaml"]) == 0
    assert (tmp_path / "mine" / "bot.yaml").is_file()
    assert "bnml-doctor check --config mine/bot.yaml" in capsys.readouterr().out


def test_every_key_is_told_with_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bot.yaml").write_text("risk:\n  max_positions: 3\n\nscanner:\n  top_n: 7\n")
    (tmp_path / ".env").write_text("BNML_API_PORT=8123\n")
    rows = {row["key"]: row for row in configured(capsys, "--config", "bot.yaml")["keys"]}
    assert set(rows) == {name for name, _ in walk_keys(Settings)}
    assert rows["scanner.top_n"] | {"default": 10} == rows["scanner.top_n"]
    assert (rows["scanner.top_n"]["value"], rows["scanner.top_n"]["source"]) == (7, "yaml")
    assert rows["scanner.top_n"]["place"] == "line 5"
    old = rows["risk.max_open_positions"]
    assert (old["value"], old["place"]) == (3, "line 2, the old name risk.max_positions")
    assert (rows["public_api.port"]["value"], rows["public_api.port"]["source"]) == (8123, "env")
    assert rows["public_api.port"]["place"] == "BNML_API_PORT"
    assert (rows["log_level"]["source"], rows["log_level"]["place"]) == ("default", "")


def test_a_part_of_the_configuration_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [row["key"] for row in configured(capsys, "risk.circuit_breakers")["keys"]]
    assert keys
    assert all(key.startswith("risk.circuit_breakers.") for key in keys)
    assert [row["key"] for row in configured(capsys, "log_level")["keys"]] == ["log_level"]
    assert doctor.main(["config", "risk.max_drawdwon_pct"]) == 2
    assert "did you mean risk.max_drawdown_pct?" in capsys.readouterr().err


def test_the_schema_knows_every_key_with_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(Settings.model_fields)
    orders = schema["$defs"]["OrdersSettings"]["properties"]
    assert orders["limit_timeout_sec"] | {"minimum": 5, "maximum": 600} == orders["limit_timeout_sec"]
    assert orders["max_notional_per_day_usdt"]["exclusiveMinimum"] == 0
    assert schema["$defs"]["EmailSettings"]["properties"]["from"]["description"]


def test_secrets_are_told_as_set_or_not_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text(f"BINANCE_API_KEY={CANARY}\nGRAFANA_ADMIN_PASSWORD={CANARY}\n")
    (tmp_path / "secret").write_text(CANARY)
    monkeypatch.setattr("os.environ", {**CLEAN, "BINANCE_API_SECRET_FILE": str(tmp_path / "secret")})
    assert doctor.main(["config"]) == 0
    text = capsys.readouterr().out
    assert doctor.main(["config", "--json"]) == 0
    document = capsys.readouterr().out
    assert CANARY not in text + document
    rows = {row["name"]: row for row in json.loads(document)["data"]["variables"]}
    assert rows["BINANCE_API_KEY"] == {"name": "BINANCE_API_KEY", "set": True, "source": ".env"}
    assert rows["BINANCE_API_SECRET"]["source"] == "environment (BINANCE_API_SECRET_FILE)"
    assert rows["TELEGRAM_BOT_TOKEN"]["set"] is False
    assert "not set" in text


def test_a_configuration_that_cannot_be_used_is_refused_with_every_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bot.yaml").write_text("risk: {max_drawdwon_pct: 1, fees_pct: 5}\n")
    assert doctor.main(["config", "--config", "bot.yaml"]) == 2
    said = capsys.readouterr().err
    assert "risk.max_drawdwon_pct" in said
    assert "risk.fees_pct" in said
