"""The containers as promised: every service, profile, port, user and command, and who may hold which secret."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from bn_ml.settings_reference import VARIABLES

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: Mapping[str, Mapping[str, object]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PAPER_AND_LIVE = ("paper", "live")
ARTIFACTS, MODELS = "bnml_artifacts:/app/artifacts", "bnml_models:/app/models"
EXCHANGE_KEYS = {"BINANCE_API_KEY", "BINANCE_API_KEY_FILE", "BINANCE_API_SECRET", "BINANCE_API_SECRET_FILE"}
FOREIGN_IMAGES = ("prometheus", "grafana", "cloudflared")


@dataclass(frozen=True, slots=True)
class Promise:
    profiles: tuple[str, ...]
    runs: str
    port: int | None = None


BOT = "--no-dashboard --disable-retrain"
PROMISES = {
    "volume-init": Promise((), "chown -R 10001:10001 /app/artifacts /app/models"),
    "bot-paper": Promise(("paper",), f"bnml-bot --paper {BOT}"),
    "bot-live": Promise(("live",), f"bnml-bot --live {BOT}"),
    "trainer-auto": Promise(PAPER_AND_LIVE, "bnml-trainer-auto"),
    "santrade-intelligence-paper": Promise(("paper",), "bnml-santrade-intel --paper"),
    "santrade-intelligence-live": Promise(("live",), "bnml-santrade-intel --live"),
    "dashboard": Promise(PAPER_AND_LIVE, "streamlit run monitoring/dashboard.py", 8501),
    "api": Promise(PAPER_AND_LIVE, "bnml-api", 8000),
    "prometheus": Promise(("ops",), "/bin/prometheus", 9090),
    "grafana": Promise(("ops",), "/run.sh", 3000),
    "model-sync-runpod": Promise(("runpod",), "bnml-model-sync daemon --role runpod_client"),
    "cloudflared": Promise(PAPER_AND_LIVE, "cloudflared tunnel"),
    "trainer": Promise(("ops",), "bnml-trainer"),
    "report": Promise(("ops",), "bnml-report --from-db"),
    "sandbox": Promise(("sandbox",), "bnml-sandbox", 9101),
}
OURS = tuple(name for name in PROMISES if name not in FOREIGN_IMAGES)


def words(name: str, key: str) -> list[str]:
    value = SERVICES[name].get(key, [])
    assert isinstance(value, list)
    return [str(item) for item in value]


def variables(name: str) -> Mapping[str, str]:
    value = SERVICES[name].get("environment", {})
    assert isinstance(value, dict)
    return value


def test_the_services_are_exactly_the_promised_ones() -> None:
    assert set(SERVICES) == set(PROMISES)


@pytest.mark.parametrize("name", PROMISES)
def test_a_service_belongs_to_its_profiles_alone(name: str) -> None:
    assert tuple(words(name, "profiles")) == PROMISES[name].profiles


@pytest.mark.parametrize("name", PROMISES)
def test_a_service_runs_what_is_promised(name: str) -> None:
    line = " ".join([*words(name, "entrypoint"), *words(name, "command")])
    assert PROMISES[name].runs in line


@pytest.mark.parametrize("name", PROMISES)
def test_ports_are_published_on_the_loopback_address_alone(name: str) -> None:
    port = PROMISES[name].port
    if name == "sandbox":
        # It serves loopback only, so there is nothing to publish: it shares the host's own.
        assert (SERVICES[name]["network_mode"], words(name, "ports")) == ("host", [])
        assert {"127.0.0.1", "9101"} <= set(words(name, "command"))
    else:
        assert words(name, "ports") == ([] if port is None else [f"127.0.0.1:{port}:{port}"])


@pytest.mark.parametrize("name", PROMISES)
def test_every_service_is_hardened_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(str(service["pids_limit"])) > 0
    assert re.fullmatch(r"\d+[mg]", str(service["mem_limit"]))
    assert "privileged" not in service
    assert service["healthcheck"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_as_the_same_user_without_rights(name: str) -> None:
    if name == "volume-init":
        assert (SERVICES[name]["user"], SERVICES[name]["cap_add"]) == ("0:0", ["CHOWN", "DAC_OVERRIDE"])
        assert SERVICES[name]["network_mode"] == "none"
    else:
        assert SERVICES[name]["user"] == "10001:10001"
        assert "cap_add" not in SERVICES[name]
        assert SERVICES[name]["depends_on"] == {"volume-init": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", FOREIGN_IMAGES)
def test_foreign_images_run_without_root_too(name: str) -> None:
    assert not str(SERVICES[name]["user"]).startswith("0")


@pytest.mark.parametrize("name", OURS)
def test_only_artifacts_and_models_are_writable(name: str) -> None:
    writable = {item for item in words(name, "volumes") if not item.endswith(":ro")}
    assert writable <= {ARTIFACTS, MODELS}
    assert set(words(name, "tmpfs")) <= {"/tmp:size=256m,mode=1777"}


@pytest.mark.parametrize("name", ["api", "dashboard", "report", "santrade-intelligence-live"])
def test_who_only_reads_bundles_cannot_write_them(name: str) -> None:
    assert f"{MODELS}:ro" in words(name, "volumes")


def test_the_volumes_are_exactly_the_promised_ones() -> None:
    assert set(COMPOSE["volumes"]) == {"bnml_artifacts", "bnml_models", "prometheus_data", "grafana_data"}


@pytest.mark.parametrize("name", ["bot-paper", "bot-live"])
def test_a_bot_gets_thirty_seconds_to_stop_and_comes_back(name: str) -> None:
    assert (SERVICES[name]["stop_grace_period"], SERVICES[name]["restart"]) == ("30s", "unless-stopped")


def test_only_the_live_bot_holds_exchange_keys() -> None:
    holders = {name for name in SERVICES if EXCHANGE_KEYS & set(variables(name))}
    assert holders == {"bot-live"}


def test_no_service_is_given_a_whole_env_file() -> None:
    assert [name for name, service in SERVICES.items() if "env_file" in service] == []


def test_the_token_and_the_remote_key_go_where_they_are_used() -> None:
    assert {name for name in SERVICES if "BNML_API_TOKEN" in variables(name)} == {"api", "prometheus", "cloudflared"}
    assert {name for name in SERVICES if "RUNPOD_API_KEY" in variables(name)} == {"model-sync-runpod"}


def test_secrets_are_never_written_into_the_file() -> None:
    secret = {item.name for item in VARIABLES if item.secret}
    for name in SERVICES:
        for variable, value in variables(name).items():
            if variable in secret or variable.removesuffix("_FILE") in secret:
                assert value in (f"${{{variable}:-}}",), (name, variable)


def test_variables_are_known_to_the_program_or_to_their_image() -> None:
    known = {item.name for item in VARIABLES} | {f"{item.name}_FILE" for item in VARIABLES if item.secret}
    for name in OURS:
        assert set(variables(name)) <= known, name


def test_commands_of_our_services_are_installed_commands() -> None:
    declared = re.findall(r"^(bnml-[a-z0-9-]+) = ", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    for name in OURS:
        first = words(name, "command")[0]
        assert first in declared or name in ("volume-init", "dashboard"), name


def test_commands_of_our_services_have_the_flags_they_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    from scripts import report, run_bot, run_santrade_intelligence, run_trainer, run_trainer_auto, sandbox

    mains = {
        "bot-paper": run_bot.main,
        "bot-live": run_bot.main,
        "trainer-auto": run_trainer_auto.main,
        "trainer": run_trainer.main,
        "report": report.main,
        "santrade-intelligence-paper": run_santrade_intelligence.main,
        "santrade-intelligence-live": run_santrade_intelligence.main,
        "sandbox": sandbox.main,
    }
    for name, main in mains.items():
        with pytest.raises(SystemExit):
            main(["--help"])
        shown = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
        assert {word for word in words(name, "command") if word.startswith("--")} <= shown, name


def shell_of(name: str, environ: Mapping[str, str], tmp_path: Path, programs: Sequence[str]) -> tuple[int, str]:
    """Run the shell line of a service as the container would, with stand-ins for the programs it ends in."""
    line = " ".join(words(name, "command")).replace("$$", "$")
    for program in programs:
        stand_in = tmp_path / Path(program).name
        stand_in.write_text('#!/bin/sh\necho "started $*"\n', encoding="utf-8")
        stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
        line = line.replace(f"exec {program}", f"exec {stand_in}")
    assert SERVICES[name]["entrypoint"] == ["/bin/sh", "-c"]
    path = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
    done = subprocess.run(["/bin/sh", "-c", line], env={**path, **environ}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "environ", [{}, {"CLOUDFLARED_URL": "http://api:8000"}, {"BNML_API_TOKEN": "t"}, {"CLOUDFLARED_URL": ""}]
)
def test_the_tunnel_ends_quietly_unless_address_and_token_are_set(environ: dict[str, str], tmp_path: Path) -> None:
    code, said = shell_of("cloudflared", environ, tmp_path, ["cloudflared"])
    assert code == 0
    assert said == "no tunnel: CLOUDFLARED_URL and BNML_API_TOKEN are not both set\n"


@pytest.mark.parametrize("token", ["BNML_API_TOKEN", "BNML_API_TOKEN_FILE"])
def test_the_tunnel_starts_with_both(token: str, tmp_path: Path) -> None:
    environ = {"CLOUDFLARED_URL": "http://api:8000", token: "x"}
    code, said = shell_of("cloudflared", environ, tmp_path, ["cloudflared"])
    assert (code, said) == (0, "started tunnel --no-autoupdate --url http://api:8000\n")


def test_grafana_does_not_start_without_a_password(tmp_path: Path) -> None:
    code, said = shell_of("grafana", {}, tmp_path, ["/run.sh"])
    assert code == 1
    assert "GRAFANA_ADMIN_PASSWORD is required" in said
    assert shell_of("grafana", {"GF_SECURITY_ADMIN_PASSWORD": "p"}, tmp_path, ["/run.sh"]) == (0, "started \n")


def stages() -> Mapping[str, str]:
    """The instructions of each build stage by its name."""
    parts = re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_last_stage_is_the_one_that_runs_and_holds_no_tools() -> None:
    assert list(stages())[-1] == "runtime"
    runtime = stages()["runtime"]
    assert not re.search(r"\bpip\b|gcc|build-essential|setuptools|\bgit\b", runtime)
    assert "USER 10001:10001" in runtime
    assert "HEALTHCHECK" in runtime
    assert runtime.index("USER 10001") < runtime.index("ENTRYPOINT")


def test_the_image_installs_from_locks_with_hashes_alone() -> None:
    installs = re.findall(r"pip install [^\n]*", stages()["build"])
    assert len(installs) == 3
    locked = [line for line in installs if "/wheels/" not in line]
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in locked)
    assert [line for line in installs if "/wheels/" in line] == ["pip install --quiet --no-deps /wheels/*.whl \\"]


def test_every_package_of_the_program_is_copied_and_allowed_into_the_build() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    copied = set(re.findall(r"^COPY (\w+) \w+$", stages()["build"], re.MULTILINE))
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert found <= copied
    assert {f"!{name}" for name in found | {"configs"}} <= set(allowed)


def test_secrets_state_and_history_never_enter_the_build() -> None:
    lines = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
    ]
    assert lines[0] == "*"
    readmitted = {line[1:] for line in lines if line.startswith("!")}
    assert readmitted.isdisjoint({".", ".env", ".git", "artifacts", "models", "tests"})
    assert {"**/.env", "**/*.key", "**/*.pem"} <= set(lines)
    assert not re.search(r"^(ENV|ARG) .*(KEY|SECRET|TOKEN|PASSWORD)", DOCKERFILE, re.MULTILINE)
