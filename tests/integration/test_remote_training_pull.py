"""Fetching bundles from remote training: the service may say anything, and only signed bundles come in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.errors import BnMlError, ConfigError, LockHeld, ModelError
from ml_engine.bundle_adoption import ADOPTED, UP_TO_DATE
from ml_engine.bundle_archive import pack
from ml_engine.bundle_signing import local_public_key
from ml_engine.bundle_store import BundleStore
from scripts.archive_transfer import Transfer, TransferFailed, download, require_allowed
from scripts.model_sync_runpod import _staging, runpod_pull
from scripts.remote_training_job import RemoteJobFailed
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, a_bundle
from tests.fakes.loopback_service import LoopbackService, Reply
from tests.fakes.remote_trainer import JOB, KEY, Bucket, Jobs, runpod_settings

ZIP = "/models.zip"


class HastyClock(SystemClock):
    """Sleeps a hundredth of what it is asked for, so that polling takes no time; deadlines count what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s = 0.0

    def sleep_until(self, instant: datetime) -> None:
        left = (instant - self.now()).total_seconds()
        self.slept_s += max(left, 0.0)
        super().sleep_until(self.now() + timedelta(seconds=left / 100))

    def monotonic(self) -> float:
        return super().monotonic() + self.slept_s


@pytest.fixture
def trainer(tmp_path: Path) -> BundleStore:
    store = BundleStore(tmp_path / "trainer", feature_hash=FEATURE_HASH)
    store.save(a_bundle(), {"rf.joblib": b"for users"})
    return store


def public(trainer: BundleStore) -> str:
    return local_public_key(trainer.models_dir / ".keys" / "signing.key")


def archive_of(trainer: BundleStore) -> bytes:
    target = trainer.models_dir.parent / "made.zip"
    return pack(trainer.models_dir, trainer.symbols(), target, [public(trainer)]).path.read_bytes()


class Receiver:
    """A machine that fetches; jobs and bucket are two hosts."""

    def __init__(self, folder: Path, trainer: BundleStore, jobs: LoopbackService, bucket: LoopbackService) -> None:
        self.trusted = (public(trainer),)
        self.store = BundleStore(folder / "client", feature_hash=FEATURE_HASH, trusted_keys=self.trusted)
        self.jobs, self.bucket = jobs, bucket
        self.clock = HastyClock()

    def pull(self, **more: object) -> list[str]:
        settings = runpod_settings(self.jobs.url, **more)  # type: ignore[arg-type]
        taken = runpod_pull(settings, KEY, self.store, trusted=self.trusted, clock=self.clock)
        return [item.result for item in taken]

    @property
    def leftovers(self) -> list[str]:
        return [path.name for path in self.store.models_dir.glob(".arrivals/*") if path.name != ".lock"]


@contextmanager
def a_receiver(folder: Path, trainer: BundleStore, jobs: Jobs, bucket: Bucket) -> Iterator[Receiver]:
    with LoopbackService(jobs) as at_jobs, LoopbackService(bucket, name="localhost") as at_bucket:
        bucket.content.setdefault(ZIP, archive_of(trainer))
        yield Receiver(folder, trainer, at_jobs, at_bucket)


def done(url: str, *, field: str = "models_archive_url", **more: object) -> dict[str, object]:
    return {"id": JOB, "status": "COMPLETED", "output": {field: url, **more}}


@contextmanager
def told(folder: Path, trainer: BundleStore, states: Sequence[object] = (), **more: object) -> Iterator[Receiver]:
    """A receiver whose job goes through `states` and then names the archive in the bucket."""
    jobs = Jobs(states=states, **more)  # type: ignore[arg-type]
    with a_receiver(folder, trainer, jobs, Bucket()) as receiver:
        jobs.states = [*states, done(f"{receiver.bucket.url}{ZIP}")]
        yield receiver


@pytest.mark.parametrize("field", ["models_archive_url", "model_archive_url", "download_url"])
@pytest.mark.parametrize("success", ["COMPLETED", "SUCCEEDED", "SUCCESS", "completed"])
def test_a_job_that_succeeds_is_adopted(tmp_path: Path, trainer: BundleStore, field: str, success: str) -> None:
    with told(tmp_path, trainer) as receiver:
        url = f"{receiver.bucket.url}{ZIP}"
        jobs = receiver.jobs.answer
        jobs.states = [{"status": "IN_PROGRESS"}, {"status": success, "output": {field: url}}]  # type: ignore[attr-defined]
        assert receiver.pull() == [ADOPTED]
        assert receiver.store.load(BTC).version == 1
        assert receiver.leftovers == []


@pytest.mark.parametrize("name", ["id", "job_id", "requestId"])
def test_the_job_is_found_under_each_name_of_its_id(tmp_path: Path, trainer: BundleStore, name: str) -> None:
    with told(tmp_path, trainer, start={name: JOB}) as receiver:
        assert receiver.pull() == [ADOPTED]
        assert receiver.jobs.asked[1].path == f"/status/{JOB}"


def test_an_address_at_the_top_level_and_a_job_done_at_once_are_understood(
    tmp_path: Path, trainer: BundleStore
) -> None:
    with told(tmp_path, trainer) as receiver:
        url = f"{receiver.bucket.url}{ZIP}"
        receiver.jobs.answer.start = {"status": "COMPLETED", "download_url": url}  # type: ignore[attr-defined]
        assert receiver.pull() == [ADOPTED]
        assert len(receiver.jobs.asked) == 1


@pytest.mark.parametrize("failure", ["FAILED", "ERROR", "CANCELED", "CANCELLED", "TIMED_OUT", "TIMEOUT", "failed"])
def test_a_job_that_fails_is_told_with_its_reason(tmp_path: Path, trainer: BundleStore, failure: str) -> None:
    state = {"status": failure, "error": f"no market data at https://x.example/?k=1 {'y' * 500}"}
    with told(tmp_path, trainer, [state]) as receiver:
        with pytest.raises(RemoteJobFailed, match="no market data at <address>") as error:
            receiver.pull()
        assert failure.upper() in str(error.value)
        assert len(str(error.value)) < 300
        assert receiver.bucket.asked == []


@pytest.mark.parametrize(
    "unusable",
    [Reply(500), Reply(429), Reply(503, b"busy"), Reply(200, b"<html>"), Reply(200, b"[1]"), Reply(200, b"[" * 5000)],
)
def test_answers_that_say_nothing_are_passed_over(tmp_path: Path, trainer: BundleStore, unusable: Reply) -> None:
    with told(tmp_path, trainer, [unusable, unusable]) as receiver:
        assert receiver.pull() == [ADOPTED]


def test_a_question_that_is_not_answered_is_asked_again(tmp_path: Path, trainer: BundleStore) -> None:
    with told(tmp_path, trainer, [Reply(manner="hangs")]) as receiver:
        assert receiver.pull() == [ADOPTED]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (Reply(401, b"no"), "is RUNPOD_API_KEY right"),
        (Reply(500, b"no"), "answered 500"),
        (Reply(302, b"", {"Location": "http://localhost:9/"}), "answered 302"),
        (Reply(200, b"hello"), "other than a JSON object"),
        (Reply(manner="hangs"), "may not have started"),
        (Reply(manner="drips"), "may not have started"),
        ({"status": "IN_QUEUE"}, "names no job"),
        ({"id": "../../admin"}, "names no job"),
        ({"id": "a/b"}, "names no job"),
        ({"id": ["x"]}, "names no job"),
        ({"id": JOB, "status": "FAILED", "error": "quota"}, "ended as FAILED: quota"),
    ],
)
def test_a_start_that_does_not_start_a_job_is_told(
    tmp_path: Path, trainer: BundleStore, start: object, words: str
) -> None:
    with told(tmp_path, trainer, start=start) as receiver:
        with pytest.raises(RemoteJobFailed, match=words) as error:
            receiver.pull()
        assert KEY not in str(error.value)
        assert len(receiver.jobs.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refused_question_ends_the_wait(tmp_path: Path, trainer: BundleStore, status: int) -> None:
    with told(tmp_path, trainer, [Reply(status)]) as receiver:
        with pytest.raises(RemoteJobFailed, match=f"answered {status}"):
            receiver.pull()


def test_a_job_that_does_not_end_is_given_up_at_its_limit(tmp_path: Path, trainer: BundleStore) -> None:
    with a_receiver(tmp_path, trainer, Jobs(states=[{"status": "IN_PROGRESS"}]), Bucket()) as receiver:
        with pytest.raises(RemoteJobFailed, match="did not end within 10 s"):
            receiver.pull()
        assert 8 <= len(receiver.jobs.asked) <= 12


@pytest.mark.parametrize("output", [None, "done", {}, {"models_archive_url": ""}, {"models_archive_url": 7}, [1]])
def test_a_finished_job_without_an_archive_is_told(tmp_path: Path, trainer: BundleStore, output: object) -> None:
    jobs = Jobs(states=[{"status": "COMPLETED", "output": output}])
    with a_receiver(tmp_path, trainer, jobs, Bucket()) as receiver:
        with pytest.raises(RemoteJobFailed, match="names no archive"):
            receiver.pull()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://storage.example/models.zip", "http is allowed to this machine only"),
        ("https://storage.example/models.zip?sig=s3cr3t", "storage.example is not in"),
        ("file:///etc/passwd", "cannot be read"),
        ("ftp://localhost/x", "cannot be read"),
        ("https://user:s3cr3t@localhost/x", "are not supported"),
        ("https://localhost.evil.example/x", "is not in"),
        ("http://127.0.0.1:1/x", "is not in"),
        ("models.zip", "cannot be read"),
        ("http://localhost\r\nX: y/", "cannot be read"),
    ],
)
def test_an_archive_is_fetched_from_listed_hosts_over_tls_only(
    tmp_path: Path, trainer: BundleStore, url: str, words: str
) -> None:
    with a_receiver(tmp_path, trainer, Jobs(states=[done(url)]), Bucket()) as receiver:
        with pytest.raises(TransferFailed, match=words) as error:
            receiver.pull()
        assert "s3cr3t" not in str(error.value)
        assert receiver.bucket.asked == []


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(404), "answered 404"),
        (Reply(302, b"", {"Location": "http://127.0.0.1:9/x"}), "redirects are not followed"),
        (Reply(206, b"PK"), "answered 206"),
        (Reply(200, b"PK\x05\x06", {"Content-Encoding": "gzip"}), "nobody asked for"),
        (Reply(200, b"", {"Content-Length": str(2 << 20)}), "announces 2097152 bytes"),
        (Reply(200, b"half", manner="short"), "4 of 104 bytes"),
        (Reply(manner="endless"), "sent more than 1048576 bytes"),
    ],
)
def test_a_download_that_is_not_as_it_must_be_leaves_nothing(
    tmp_path: Path, trainer: BundleStore, reply: Reply, words: str
) -> None:
    with told(tmp_path, trainer) as receiver:
        receiver.bucket.answer.first_replies = [reply] * 3  # type: ignore[attr-defined]
        with pytest.raises(TransferFailed, match=words):
            receiver.pull(max_archive_mb=1)
        assert receiver.store.symbols() == ()
        assert receiver.leftovers == []


@pytest.mark.parametrize("manner", ["hangs", "drips"])
def test_a_download_is_cut_when_its_time_is_up(tmp_path: Path, manner: str) -> None:
    with LoopbackService(lambda _: Reply(manner=manner)) as service:
        target = require_allowed(f"{service.url}{ZIP}?sig=s3cr3t", ["127.0.0.1"])
        began = SystemClock().monotonic()
        with pytest.raises(TransferFailed, match=r"127.0.0.1: not done within 0.3 s"):
            download(target, tmp_path / "x.zip", Transfer(0.3, 1 << 20))
        assert SystemClock().monotonic() - began < 3
        assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_repeated_without_another_job(tmp_path: Path, trainer: BundleStore) -> None:
    with told(tmp_path, trainer) as receiver:
        receiver.bucket.answer.first_replies = [Reply(503), Reply(200, b"half", manner="short")]  # type: ignore[attr-defined]
        assert receiver.pull() == [ADOPTED]
        assert [asked.path for asked in receiver.jobs.asked].count("/run") == 1


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04" + bytes(500)])
def test_content_that_is_no_archive_loads_nothing(tmp_path: Path, trainer: BundleStore, content: bytes) -> None:
    with told(tmp_path, trainer) as receiver:
        receiver.bucket.answer.content[ZIP] = content  # type: ignore[attr-defined]
        with pytest.raises(ModelError) as error:
            receiver.pull()
        assert error.value.reason == "bundle_refused"
        assert receiver.leftovers == []


def test_an_archive_other_than_announced_is_refused(tmp_path: Path, trainer: BundleStore) -> None:
    with told(tmp_path, trainer) as receiver:
        url = f"{receiver.bucket.url}{ZIP}"
        receiver.jobs.answer.states = [done(url, archive_sha256="0" * 64)]  # type: ignore[attr-defined]
        with pytest.raises(TransferFailed, match="another archive"):
            receiver.pull()


def test_the_key_is_seen_by_the_host_that_starts_jobs_and_by_no_other(tmp_path: Path, trainer: BundleStore) -> None:
    jobs = Jobs()
    with LoopbackService(jobs) as elsewhere, told(tmp_path, trainer) as receiver:
        jobs.states = [{"status": "IN_PROGRESS"}, done(f"{receiver.bucket.url}{ZIP}")]
        assert receiver.pull(status=elsewhere.url) == [ADOPTED]
        assert receiver.jobs.asked[0].headers["authorization"] == f"Bearer {KEY}"
        assert len(elsewhere.asked) == 2
        assert KEY not in elsewhere.said
        assert KEY not in receiver.bucket.said
        assert not any("authorization" in asked.headers for asked in receiver.bucket.asked)


def test_a_redirect_from_the_starting_host_is_not_followed_with_the_key(tmp_path: Path, trainer: BundleStore) -> None:
    with told(tmp_path, trainer) as receiver:
        location = {"Location": f"{receiver.bucket.url}/steal"}
        receiver.jobs.answer.states = [Reply(307, b"", location)]  # type: ignore[attr-defined]
        with pytest.raises(RemoteJobFailed):
            receiver.pull()
        assert receiver.bucket.asked == []


def test_the_versions_known_here_go_with_the_job_so_that_a_new_worker_continues_them(
    tmp_path: Path, trainer: BundleStore
) -> None:
    with told(tmp_path, trainer) as receiver:
        assert receiver.pull() == [ADOPTED]
        assert receiver.pull() == [UP_TO_DATE]
        sent = [json.loads(asked.body) for asked in receiver.jobs.asked if asked.path == "/run"]
        assert sent[0] == {"input": {"task": "train_only"}}
        assert sent[1] == {"input": {"task": "train_only", "known_versions": {"BTC/USDC": 1}}}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("trigger_url", "", "is empty"),
        ("trigger_url", "http://api.example/run", "http is allowed to this machine only"),
        ("status_url_template", "", "is empty"),
        ("status_url_template", "http://127.0.0.1/status", "in the path or query"),
        ("status_url_template", "https://{job_id}.example/status", "in the path or query"),
        ("allowed_download_hosts", (), "is empty"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_sent(
    tmp_path: Path, trainer: BundleStore, field: str, value: object, words: str
) -> None:
    with told(tmp_path, trainer) as receiver:
        with pytest.raises(ConfigError, match=words):
            receiver.pull(**{field: value})
        assert receiver.jobs.asked == []


def test_two_archives_are_not_taken_in_at_once_and_leftovers_go(tmp_path: Path, trainer: BundleStore) -> None:
    with told(tmp_path, trainer) as receiver:
        place = receiver.store.models_dir / ".arrivals"
        (place / "archive-dead").mkdir(parents=True)
        with _staging(place):
            with pytest.raises(LockHeld):
                receiver.pull()
        assert receiver.pull() == [ADOPTED]
        assert receiver.leftovers == []


def test_every_error_of_an_exchange_is_one_the_command_can_tell() -> None:
    assert issubclass(RemoteJobFailed, BnMlError)
    assert issubclass(TransferFailed, BnMlError)
