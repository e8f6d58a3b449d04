"""`bnml-model-sync` as users run it: clear answers, exit codes, and a daemon that ends when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_manager.feature_engineer import FeatureEngineer
from ml_engine.bundle_signing import local_public_key
from ml_engine.bundle_store import BundleStore
from scripts import cli, model_sync
from tests.fakes.bundle_builders import BTC, a_bundle
from tests.fakes.loopback_service import LoopbackService
from tests.fakes.remote_trainer import JOB, KEY, Bucket, Jobs

ROOT = Path(__file__).resolve().parents[2]
FEATURES = FeatureEngineer().feature_hash


class Desk:
    """A folder with a bundle, a working copy of a bare repository, and a client's own models folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models, self.client = folder / "models", folder / "client"
        self.store = BundleStore(self.models, feature_hash=FEATURES)
        self.save()
        self.public = local_public_key(self.models / ".keys" / "signing.key")
        for name, command in (
            ("bare", ["git", "init", "-q", "--bare"]),
            ("repo", ["git", "clone", "-q", str(folder / "bare")]),
        ):
            subprocess.run([*command, str(folder / name)], check=True, capture_output=True)
        self.config = self.configured()

    def save(self) -> None:
        self.store.save(a_bundle(feature_hash=FEATURES), {"rf.joblib": b"for users"})

    def configured(self, sync: str = "", **more: str) -> Path:
        path = self.folder / "bot.yaml"
        path.write_text(
            f"model: {{trusted_keys: ['{self.public}']}}\n"
            f"model_sync: {{repo_dir: {self.folder / 'repo'}{sync}}}\n"
            f"storage: {{sqlite_path: {self.folder / 'state' / 'bn_ml.db'}}}\n"
            f"monitoring: {{logs_dir: {self.folder / 'logs'}}}\n"
        )
        return path

    def run(self, command: str, *flags: str, models: Path | None = None) -> int:
        return model_sync.main(
            [command, "--config", str(self.config), "--models-dir", str(models or self.models), *flags]
        )


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n name = T\n email = t@example.org\n[init]\n defaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


def test_publish_and_pull_bring_a_bundle_to_another_machine(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run("publish", "--skip-training", "--commit-message", "hello") == cli.DONE
    assert "1 published, 0 unchanged, 0 left out, commit" in capsys.readouterr().out
    assert desk.run("pull", "--json", models=desk.client) == cli.DONE
    shown = json.loads(capsys.readouterr().out)
    assert [row["result"] for row in shown["bundles"]] == ["adopted"]
    assert BundleStore(desk.client, feature_hash=FEATURES, trusted_keys=[desk.public]).load(BTC).version == 1


def test_list_verify_rollback_and_key(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.save()
    assert desk.run("list", "--json") == cli.DONE
    (row,) = json.loads(capsys.readouterr().out)["bundles"]
    assert (row["symbol"], row["version"], row["kept"], row["state"]) == ("BTC/USDC", 2, "1, 2", "ok")
    assert desk.run("verify") == cli.DONE
    assert capsys.readouterr().out == "OK   BTC/USDC\n"
    assert desk.run("rollback", "--symbol", "btc/usdc") == cli.DONE
    assert "version 1 is back as version 3" in capsys.readouterr().out
    assert desk.run("key") == cli.DONE
    assert capsys.readouterr().out.strip() == desk.public


def test_verify_names_what_does_not_hold(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (desk.models / BTC.key / "rf.joblib").write_bytes(b"spoilt")
    assert desk.run("verify") == cli.FAILED
    captured = capsys.readouterr()
    assert captured.out.startswith("FAIL BTC/USDC  bundle_refused")
    assert "refused, HOLD until renewed: BTC/USDC" in captured.err
    assert desk.run("list") == cli.DONE
    assert "refused: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        ("daemon", ["--role", "client"], "model_sync.enabled: is false"),
        ("daemon", ["--role", "runpod_client"], "model_sync.runpod.enabled: is false"),
        ("pull", ["--remote=--force"], "model_sync.remote"),
        ("runpod-pull", [], "model_sync.runpod.allowed_download_hosts: is empty"),
        ("runpod-pull", ["--headers-json", '{"Authorization": "Bearer abc"}'], "secrets are not allowed"),
        ("runpod-pull", ["--trigger-payload-json", "[1]"], "write a JSON object"),
        ("rollback", ["--symbol", "BTC"], "must look like BTC/USDC"),
    ],
)
def test_what_cannot_work_is_told_with_exit_code_2(
    desk: Desk, capsys: pytest.CaptureFixture[str], command: str, flags: list[str], words: str
) -> None:
    assert desk.run(command, *flags) == cli.USAGE
    assert words in capsys.readouterr().err


def test_a_machine_that_trusts_nobody_is_told_before_anything_is_fetched(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.config.write_text(
        f"model_sync: {{repo_dir: {desk.folder / 'repo'}}}\nmonitoring: {{logs_dir: {desk.folder}}}\n"
    )
    assert desk.run("pull", models=desk.client) == cli.USAGE
    assert "model.trusted_keys: is empty" in capsys.readouterr().err


def test_flags_of_the_remote_training_reach_the_service(
    desk: Desk, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_RUNPOD_KEY", KEY)
    desk.config = desk.configured(", runpod: {allowed_download_hosts: [localhost]}")
    jobs = Jobs(states=[{"id": JOB, "status": "FAILED", "error": "no bars"}])
    with LoopbackService(jobs) as service, LoopbackService(Bucket(), name="localhost"):
        code = desk.run(
            "runpod-pull", "--trigger-url", f"{service.url}/run",
            "--status-url-template", f"{service.url}/status/{{job_id}}",
            "--api-key-env", "MY_RUNPOD_KEY", "--trigger-method", "PUT",
            "--trigger-payload-json", '{"input": {"task": "train_only", "quick": true}}',
            "--headers-json", '{"X-Region": "eu"}', "--request-timeout-sec", "2", "--poll-interval-sec-runpod", "1",
            "--job-timeout-sec", "10", "--download-timeout-sec", "2", "--extract-subdir", "models",
            models=desk.client,
        )  # fmt: skip
        start = service.asked[0]
        assert code == cli.FAILED
        assert (start.method, start.headers["x-region"]) == ("PUT", "eu")
        assert start.headers["authorization"] == f"Bearer {KEY}"
        assert json.loads(start.body) == {"input": {"task": "train_only", "quick": True}}
    captured = capfd.readouterr()
    assert "the job ended as FAILED: no bars" in captured.err
    assert KEY not in captured.err + captured.out
    assert KEY not in "".join(path.read_text() for path in (desk.folder / "logs").iterdir())


def test_a_daemon_adopts_at_its_start_and_ends_in_order_on_a_signal(desk: Desk) -> None:
    assert desk.run("publish", "--skip-training") == cli.DONE
    desk.config = desk.configured(", enabled: true")
    command = [
        sys.executable, "-m", "scripts.model_sync", "daemon", "--role", "client", "--run-on-start", "--at", "06:00",
        "--config", str(desk.config), "--models-dir", str(desk.client), "--poll-interval-sec", "5",
    ]  # fmt: skip
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=desk.folder, env=environ, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        lines = []
        for line in daemon.stderr:
            lines.append(line)
            if "next run" in line and len([text for text in lines if "next run" in text]) == 2:
                break
        daemon.send_signal(signal.SIGTERM)
        rest = daemon.stderr.read()
        assert daemon.wait(20) == 0
    told = "".join(lines) + rest
    assert "1 of 1 bundles adopted: BTC/USDC" in told
    assert "stopped role=client" in told
    assert "Traceback" not in told
    assert BundleStore(desk.client, feature_hash=FEATURES, trusted_keys=[desk.public]).load(BTC).version == 1
