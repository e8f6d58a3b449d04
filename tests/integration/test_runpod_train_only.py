"""Training for another machine: the archive is handed over and comes back through `runpod-pull` without hand work."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol
from bn_ml.errors import ConfigError, MarketDataError
from bn_ml.settings_model import ModelSettings
from ml_engine.bundle_adoption import ADOPTED
from ml_engine.bundle_signing import ensure_key, public_text
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from ml_engine.training_progress import TrainingFinished
from scripts import cli, runpod_train_only, training_command, training_flags
from scripts.model_sync_runpod import runpod_pull
from scripts.remote_worker import asked_for, handler_of
from scripts.training_command import Run
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, NOW, a_bundle, a_row
from tests.fakes.loopback_service import LoopbackService, Reply
from tests.fakes.remote_trainer import JOB, KEY, Bucket, Jobs, runpod_settings

ROOT = Path(__file__).resolve().parents[2]
SIGNATURE = "X-Amz-Signature=s3cr3t-canary-1"
ETH = Symbol("ETH/USDC")


class Worker:
    """A machine that trains: its training saves a small bundle for each symbol it is asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models = folder / "worker" / "models"
        self.key = folder / "worker.key"
        self.public = public_text(ensure_key(self.key))
        self.archive = folder / "worker" / "out" / "models.zip"
        self.outcome: TrainingFinished | Exception | None = None
        self._monkeypatch = monkeypatch
        monkeypatch.chdir(folder)
        monkeypatch.setenv("BNML_SIGNING_KEY_FILE", str(self.key))
        monkeypatch.setattr(training_command, "run_once", self._trained)
        monkeypatch.setattr(training_command, "prepare", lambda arguments: None)
        monkeypatch.delenv("BNML_UPLOAD_URL", raising=False)

    def _trained(self, arguments: argparse.Namespace, settings: object, *, trained_by: str) -> Run:
        assert trained_by == "bnml-runpod-train-only"
        if isinstance(self.outcome, Exception):
            raise self.outcome
        store = BundleStore(self.models, feature_hash=FEATURE_HASH, signing_key=self.key)
        for name in arguments.symbol:
            store.save(a_bundle(symbol=name, model_key=Symbol(name).key), {"rf.joblib": b"for users"})
        finished = self.outcome or TrainingFinished("completed", tuple(arguments.symbol))
        return Run((), finished, "tests")

    def uploads_to(self, url: str) -> None:
        self._monkeypatch.setenv("BNML_UPLOAD_URL", url)

    def flags(self, *more: str) -> list[str]:
        own = ["--models-dir", str(self.models), "--archive-path", str(self.archive)]
        return [*own, "--symbol", "BTC/USDC", *more]

    def arguments(self) -> argparse.Namespace:
        parsed = training_flags.parser("x", "y").parse_args(["--models-dir", str(self.models), "--symbol", "BTC/USDC"])
        return argparse.Namespace(**vars(parsed), archive_path=self.archive, upload_url_env="BNML_UPLOAD_URL")

    def run(self, *more: str) -> int:
        return runpod_train_only.main(self.flags(*more))


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(tmp_path, monkeypatch)


@pytest.fixture
def bucket() -> Iterator[LoopbackService]:
    with LoopbackService(Bucket(signature=SIGNATURE), name="localhost") as service:
        yield service


def presigned(bucket: LoopbackService) -> str:
    return f"{bucket.url}/exports/models.zip?{SIGNATURE}"


def result_of(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_the_whole_loop_closes_again_and_again_with_a_worker_that_begins_empty(
    tmp_path: Path, worker: Worker, bucket: LoopbackService
) -> None:
    worker.uploads_to(presigned(bucket))
    handler = handler_of(worker.arguments())
    jobs = Jobs()
    client = BundleStore(tmp_path / "client", feature_hash=FEATURE_HASH, trusted_keys=[worker.public])
    predictor = MLEnsemblePredictor(ModelSettings(), client)
    assert predictor.without_bundle(BTC, NOW) is not None
    with LoopbackService(jobs) as service:

        def work() -> Mapping[str, object]:
            started = json.loads([asked for asked in service.asked if asked.path == "/run"][-1].body)
            return {"id": JOB, "status": "COMPLETED", "output": handler({"id": JOB, **started})}

        jobs.states = [{"status": "IN_PROGRESS"}, work]
        for version in (1, 2, 3):
            jobs.looks = 0
            settings = runpod_settings(service.url, poll_interval_sec=1)
            taken = runpod_pull(settings, KEY, client, trusted=(worker.public,), clock=SystemClock())
            assert [(item.result, item.version) for item in taken] == [(ADOPTED, version)]
            assert predictor.adopt(NOW) == ((BTC, version),)
            assert predictor.signal(a_row(), NOW).bundle_version == version
            for file in sorted(worker.models.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
        assert KEY in service.said
        assert KEY not in bucket.said
        assert "s3cr3t-canary" not in service.said


def test_the_command_trains_uploads_and_prints_where_the_archive_is(
    worker: Worker, bucket: LoopbackService, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    worker.uploads_to(presigned(bucket))
    assert worker.run("--result-json", str(tmp_path / "deep" / "result.json")) == cli.DONE
    captured = capfd.readouterr()
    shown = json.loads(captured.out)
    content = worker.archive.read_bytes()
    assert shown == {
        "status": "completed",
        "mode": "train_only",
        "models_archive_url": f"{bucket.url}/exports/models.zip",
        "archive_sha256": hashlib.sha256(content).hexdigest(),
        "archive_bytes": len(content),
        "archive_files": 7,
        "archive_path": str(worker.archive),
        "symbols_trained": ["BTC/USDC"],
        "symbols_failed": [],
    }
    assert json.loads((tmp_path / "deep" / "result.json").read_text()) == shown
    (put,) = bucket.asked
    assert (put.method, put.body, put.headers["content-length"]) == ("PUT", content, str(len(content)))
    assert "content-type" not in put.headers
    assert "s3cr3t-canary" not in captured.out + captured.err


def test_a_private_bucket_is_given_back_by_the_address_for_fetching(
    worker: Worker, bucket: LoopbackService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.uploads_to(presigned(bucket))
    monkeypatch.setenv("BNML_ARCHIVE_URL", "https://bucket.example/models.zip?get=1")
    assert worker.run() == cli.DONE
    assert result_of(capsys)["models_archive_url"] == "https://bucket.example/models.zip?get=1"


def test_without_an_upload_address_the_archive_stays_and_the_result_says_so(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worker.run() == cli.DONE
    shown = result_of(capsys)
    assert shown["models_archive_url"] == ""
    assert "BNML_UPLOAD_URL" in str(shown["note"])
    assert str(worker.archive) in str(shown["note"])
    assert worker.archive.is_file()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://bucket.example/x?sig=s3cr3t-canary-1", "http is allowed to this machine only"),
        ("https://u:s3cr3t-canary-1@bucket.example/x", "not supported"),
        ("http://127.0.0.1:1/x?sig=s3cr3t-canary-1", "broke off"),
    ],
)
def test_an_upload_that_cannot_be_made_fails_and_tells_no_secret(
    worker: Worker, capfd: pytest.CaptureFixture[str], url: str, words: str
) -> None:
    worker.uploads_to(url)
    assert worker.run() == cli.FAILED
    captured = capfd.readouterr()
    shown = json.loads(captured.out)
    assert (shown["status"], shown["models_archive_url"]) == ("failed", "")
    assert words in shown["error"]
    assert "s3cr3t-canary" not in captured.out + captured.err
    assert worker.archive.is_file()


def test_an_upload_that_is_refused_is_told_with_a_hint(
    worker: Worker, bucket: LoopbackService, capsys: pytest.CaptureFixture[str]
) -> None:
    worker.uploads_to(f"{bucket.url}/exports/models.zip?old")
    assert worker.run() == cli.FAILED
    assert "answered 403 to the upload; has the address expired?" in str(result_of(capsys)["error"])


def test_an_upload_that_breaks_off_is_made_again(
    worker: Worker, bucket: LoopbackService, capsys: pytest.CaptureFixture[str]
) -> None:
    worker.uploads_to(presigned(bucket))
    bucket.answer.first_replies = [Reply(503)]  # type: ignore[attr-defined]
    assert worker.run() == cli.DONE
    assert [asked.method for asked in bucket.asked] == ["PUT", "PUT"]


def test_a_symbol_that_failed_makes_the_exit_code_1_and_the_others_are_handed_over(
    worker: Worker, bucket: LoopbackService, capsys: pytest.CaptureFixture[str]
) -> None:
    worker.uploads_to(presigned(bucket))
    worker.outcome = TrainingFinished("completed_with_errors", ("BTC/USDC",), ("ETH/USDC",))
    assert worker.run() == cli.FAILED
    shown = result_of(capsys)
    assert (shown["status"], shown["symbols_failed"]) == ("completed_with_errors", ["ETH/USDC"])
    assert shown["models_archive_url"]


def test_a_job_of_a_worker_answers_errors_instead_of_raising_them(worker: Worker, bucket: LoopbackService) -> None:
    worker.uploads_to(presigned(bucket))
    worker.outcome = MarketDataError(f"nothing from {presigned(bucket)}")
    answer = handler_of(worker.arguments())({"id": "1", "input": {"task": "train_only"}})
    assert answer["status"] == "failed"
    assert "MarketDataError" in str(answer["error"])
    assert "s3cr3t-canary" not in str(answer)


@pytest.mark.parametrize(
    "given",
    [
        None,
        "train",
        {"task": "trade"},
        {"models_dir": "/etc"},
        {"upload_url": "https://x.example"},
        {"symbols": []},
        {"symbols": "BTC/USDC"},
        {"symbols": ["../x"]},
        {"train_all": "yes"},
        {"train_all": True, "train_missing_only": True},
        {"known_versions": []},
        {"known_versions": {"BTC/USDC": -1}},
        {"known_versions": {"BTC/USDC": True}},
        {"known_versions": {"BTC/USDC": 10**9}},
        {"known_versions": {"../../x": 1}},
    ],
)
def test_a_job_can_ask_for_nothing_but_training(worker: Worker, given: object) -> None:
    with pytest.raises(ConfigError):
        asked_for({"input": given}, worker.arguments())
    answer = handler_of(worker.arguments())({"input": given})
    assert answer["error"]
    assert not worker.models.exists()


def test_what_a_job_may_ask_for_is_understood(worker: Worker) -> None:
    given = {"task": "train_only", "symbols": ["eth/usdc"], "quick": True, "known_versions": {"ETH/USDC": 7}}
    asked, known = asked_for({"input": given}, worker.arguments())
    assert (asked.symbol, asked.quick, asked.train_all, known) == (["ETH/USDC"], True, False, {ETH: 7})


def test_the_serverless_form_gives_its_handler_to_the_package(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Mapping[str, object]] = []
    package = SimpleNamespace(serverless=SimpleNamespace(start=given.append))
    monkeypatch.setitem(sys.modules, "runpod", package)  # type: ignore[arg-type]
    assert worker.run("--serverless") == cli.DONE
    ((name, handler),) = given[0].items()
    assert name == "handler"
    assert handler({"id": "1", "input": {}})["symbols_trained"] == ["BTC/USDC"]  # type: ignore[operator]


def test_the_serverless_form_without_the_package_says_what_to_install(
    worker: Worker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "runpod", None)  # type: ignore[arg-type]
    assert worker.run("--serverless") == cli.FAILED
    assert "pip install runpod" in capsys.readouterr().err


def test_remote_training_imports_no_exchange_and_nothing_that_trades() -> None:
    code = (
        "import sys\nimport scripts.remote_training, scripts.remote_worker, scripts.training_once\n"
        "names = ('trader', 'scanner', 'bn_ml.live_exchange', 'scripts.accounts')\n"
        "found = [name for name in sys.modules if name in names or name.startswith(('trader.', 'scanner.'))]\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
