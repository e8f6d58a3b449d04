"""Exchange through real Git repositories: what is published is adopted, and nothing that is not signed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.errors import ConfigError
from ml_engine.bundle_adoption import ADOPTED, REFUSED, UP_TO_DATE
from ml_engine.bundle_signing import local_public_key
from ml_engine.bundle_store import BundleStore
from scripts.git_repository import GitRepository, RepositoryError
from scripts.model_sync_git import Exchange, Published, open_exchange, publish, pull
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, a_bundle

ETH = Symbol("ETH/USDC")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _own_git_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n name = Tester\n email = t@example.org\n[init]\n defaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


class Machines:
    """A trainer and a client, each with a working copy of one bare repository."""

    def __init__(self, folder: Path) -> None:
        self.bare = folder / "exchange.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(self.bare)], check=True)
        self.trainer = BundleStore(folder / "trainer", feature_hash=FEATURE_HASH)
        self.key_file = self.trainer.models_dir / ".keys" / "signing.key"
        self.save(BTC)
        self.public = local_public_key(self.key_file)
        self.client = BundleStore(folder / "client", feature_hash=FEATURE_HASH, trusted_keys=[self.public])
        self.ours, self.theirs = self.clone(folder / "ours"), self.clone(folder / "theirs")

    def clone(self, folder: Path) -> Path:
        subprocess.run(["git", "clone", "--quiet", str(self.bare), str(folder)], check=True, capture_output=True)
        return folder

    def save(self, symbol: Symbol, **changes: object) -> None:
        bundle = a_bundle(symbol=symbol, model_key=symbol.key, **changes)
        self.trainer.save(bundle, {"rf.joblib": b"for users"})

    def publish(self, repo: Path | None = None, *, dirty: bool = False, message: str = "") -> Published:
        exchange = exchange_at(repo or self.ours, dirty=dirty)
        return publish(exchange, self.trainer.models_dir, (), self.key_file, message)

    def pull(self) -> list[str]:
        return [item.result for item in pull(exchange_at(self.theirs), self.client)]


def exchange_at(repo: Path, *, dirty: bool = False) -> Exchange:
    return open_exchange(str(repo), remote="origin", branch="main", subdir="models", allow_dirty=dirty)


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def test_what_is_published_is_adopted_by_another_machine(machines: Machines) -> None:
    done = machines.publish(message="first")
    assert (done.published, done.unchanged, dict(done.left_out)) == ((BTC,), (), {})
    assert git(machines.bare, "log", "--format=%H %s", "main") == f"{done.commit} first"
    assert machines.pull() == [ADOPTED]
    ours, theirs = machines.trainer.models_dir / BTC.key, machines.client.models_dir / BTC.key
    assert {p.name: p.read_bytes() for p in ours.iterdir()} == {p.name: p.read_bytes() for p in theirs.iterdir()}
    assert machines.pull() == [UP_TO_DATE]


def test_publishing_again_without_anything_new_makes_no_commit(machines: Machines) -> None:
    first = machines.publish()
    again = machines.publish()
    assert (again.published, again.unchanged, again.commit) == ((), (BTC,), "")
    assert git(machines.bare, "rev-parse", "main") == first.commit


def test_newer_versions_follow_one_by_one(machines: Machines) -> None:
    machines.publish()
    machines.pull()
    machines.save(BTC, trained_by="second")
    machines.save(ETH)
    assert machines.publish().published == (BTC, ETH)
    assert machines.pull() == [ADOPTED, ADOPTED]
    assert machines.client.load(BTC).metadata.trained_by == "second"
    assert git(machines.bare, "log", "-1", "--format=%s", "main") == "Publish models: BTC/USDC, ETH/USDC"


def test_private_keys_and_earlier_versions_are_never_published(machines: Machines) -> None:
    machines.save(BTC)
    machines.publish()
    names = git(machines.bare, "ls-tree", "-r", "--name-only", "main").splitlines()
    assert names
    assert all(name.startswith("models/BTC_USDC/") for name in names)
    assert machines.key_file.read_bytes().strip() not in b"".join(
        path.read_bytes() for path in machines.ours.rglob("*") if path.is_file()
    )


def test_one_bad_bundle_does_not_keep_the_others_back(machines: Machines) -> None:
    machines.save(ETH)
    machines.publish()
    path = machines.ours / "models" / BTC.key / "metadata.json"
    path.write_bytes(path.read_bytes() + b" ")
    git(machines.ours, "commit", "-qam", "spoil")
    git(machines.ours, "push", "-q", "origin", "HEAD:main")
    assert machines.pull() == [REFUSED, ADOPTED]
    assert machines.client.symbols() == (ETH,)


def test_a_damaged_bundle_in_the_repository_is_mended_by_the_next_publication(machines: Machines) -> None:
    machines.publish()
    (machines.ours / "models" / BTC.key / "rf.joblib").unlink()
    git(machines.ours, "commit", "-qam", "spoil")
    assert machines.publish().published == (BTC,)
    assert machines.pull() == [ADOPTED]


def test_a_bundle_of_an_unknown_signer_and_links_are_not_adopted(machines: Machines, tmp_path: Path) -> None:
    machines.publish()
    stranger = BundleStore(tmp_path / "stranger", feature_hash=FEATURE_HASH)
    stranger.save(a_bundle(version=9))
    target = machines.ours / "models" / BTC.key
    for name in ("manifest.json", "manifest.sig", "metadata.json"):
        target.joinpath(name).write_bytes((stranger.models_dir / BTC.key / name).read_bytes())
    (machines.ours / "models" / ETH.key).symlink_to("/etc")
    git(machines.ours, "add", "-A")
    git(machines.ours, "commit", "-qm", "strange")
    git(machines.ours, "push", "-q", "origin", "HEAD:main")
    assert machines.pull() == [REFUSED]
    assert machines.client.symbols() == ()


def test_a_models_folder_that_is_a_link_is_never_written_through(machines: Machines, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (machines.ours / "models").symlink_to(outside)
    with pytest.raises(RepositoryError, match="is a link"):
        machines.publish(dirty=True)
    assert list(outside.iterdir()) == []


def test_uncommitted_changes_stop_the_exchange_unless_allowed_and_are_never_swept_in(machines: Machines) -> None:
    machines.publish()
    (machines.ours / "notes.txt").write_text("mine")
    machines.save(BTC)
    with pytest.raises(RepositoryError, match="uncommitted changes"):
        machines.publish()
    assert machines.publish(dirty=True).published == (BTC,)
    assert "notes.txt" not in git(machines.bare, "ls-tree", "-r", "--name-only", "main")
    assert (machines.ours / "notes.txt").read_text() == "mine"


def test_a_publication_the_remote_refuses_leaves_the_working_copy_as_it_was(machines: Machines) -> None:
    first = machines.publish()
    machines.save(BTC)
    hook = machines.bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho refused here >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(RepositoryError, match="refused here"):
        machines.publish()
    assert git(machines.ours, "rev-parse", "HEAD") == first.commit
    assert git(machines.ours, "status", "--porcelain") == ""
    hook.unlink()
    assert machines.publish().published == (BTC,)
    assert machines.pull() == [ADOPTED]


def test_a_commit_an_interrupted_run_left_behind_is_pushed_by_the_next(machines: Machines) -> None:
    machines.publish()
    machines.save(BTC)
    exchange = exchange_at(machines.ours)
    machines.pull()
    source = machines.trainer.models_dir / BTC.key
    for file in source.iterdir():
        (exchange.folder / BTC.key / file.name).write_bytes(file.read_bytes())
    left = exchange.repository.commit([f"models/{BTC.key}"], "left behind")
    assert machines.publish().unchanged == (BTC,)
    assert git(machines.bare, "rev-parse", "main") == left


def test_a_commit_that_is_refused_leaves_nothing_behind(machines: Machines) -> None:
    hook = machines.ours / ".git" / "hooks" / "pre-commit"
    for first in (True, False):
        hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
        hook.chmod(0o755)
        with pytest.raises(RepositoryError, match="not today"):
            machines.publish()
        assert git(machines.ours, "status", "--porcelain") == ""
        hook.unlink()
        assert machines.publish().published == (BTC,), first
        machines.save(BTC)


@pytest.mark.parametrize("published_before", [False, True])
def test_a_run_that_died_while_writing_is_mended_by_the_next(machines: Machines, published_before: bool) -> None:
    if published_before:
        machines.publish()
        machines.save(BTC)
    exchange = exchange_at(machines.ours)
    (machines.ours / ".git" / "bnml-publishing").touch()
    (machines.ours / "models" / ".BTC_USDC.part").mkdir(parents=True)
    (machines.ours / "models" / ".BTC_USDC.part" / "ensemble.bin").write_bytes(b"half")
    (exchange.folder / BTC.key).mkdir(exist_ok=True)
    (exchange.folder / BTC.key / "metadata.json").write_bytes(b"half")
    git(machines.ours, "add", "-A")
    assert machines.publish().published == (BTC,)
    assert machines.pull() == [ADOPTED]
    assert git(machines.ours, "status", "--porcelain") == ""


def test_histories_that_have_parted_are_told_and_not_mended_by_force(machines: Machines) -> None:
    machines.publish()
    machines.pull()
    (machines.theirs / "mine.txt").write_text("x")
    git(machines.theirs, "add", "-A")
    git(machines.theirs, "commit", "-qm", "mine")
    machines.save(BTC)
    published = machines.publish()
    with pytest.raises(RepositoryError, match="git pull failed"):
        machines.pull()
    assert git(machines.bare, "rev-parse", "main") == published.commit
    assert machines.client.load(BTC).version == 1


def test_a_newer_version_in_the_repository_is_never_overwritten(machines: Machines, tmp_path: Path) -> None:
    machines.save(BTC)
    machines.publish()
    other = BundleStore(tmp_path / "restored", feature_hash=FEATURE_HASH, signing_key=machines.key_file)
    other.save(a_bundle())
    done = publish(exchange_at(machines.ours), other.models_dir, (), machines.key_file)
    assert done.published == ()
    assert "the repository has version 2, here is 1" in done.left_out[BTC]


def test_the_same_version_with_other_content_is_told(machines: Machines, tmp_path: Path) -> None:
    machines.publish()
    other = BundleStore(tmp_path / "second", feature_hash=FEATURE_HASH, signing_key=machines.key_file)
    other.save(a_bundle(trained_by="someone else"))
    done = publish(exchange_at(machines.ours), other.models_dir, (), machines.key_file)
    assert "another version 1" in done.left_out[BTC]


@pytest.mark.parametrize(
    ("remote", "branch", "subdir"),
    [
        ("--upload-pack=touch x", "main", "models"),
        ("origin", "--force", "models"),
        ("origin", "a..b", "models"),
        ("ext::sh -c x", "main", "models"),
        ("origin", "main", "../models"),
        ("origin", "main", "/models"),
        ("origin", "main", ".git/hooks"),
        ("origin", "main", ""),
    ],
)
def test_names_that_could_be_flags_or_lead_out_are_refused(
    tmp_path: Path, remote: str, branch: str, subdir: str
) -> None:
    with pytest.raises(ConfigError):
        open_exchange(str(tmp_path), remote=remote, branch=branch, subdir=subdir)


def test_no_repository_at_all_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        open_exchange(" ", remote="origin", branch="main", subdir="models")
    with pytest.raises(RepositoryError, match="is no folder"):
        exchange_at(tmp_path / "absent").repository.require_ready(allow_dirty=False)


def test_a_folder_inside_another_repository_is_refused(machines: Machines) -> None:
    machines.publish()
    inner = machines.ours / "models"
    with pytest.raises(RepositoryError, match="lies inside the repository"):
        exchange_at(inner).repository.require_ready(allow_dirty=True)


def test_another_branch_is_refused_with_the_command_to_type(machines: Machines) -> None:
    machines.publish()
    git(machines.ours, "switch", "-qc", "work")
    with pytest.raises(RepositoryError, match="git switch main"):
        machines.publish()


def test_nothing_published_yet_is_an_error_of_the_pull(machines: Machines) -> None:
    with pytest.raises(RepositoryError, match="git pull failed"):
        machines.pull()


def test_a_login_in_an_address_is_never_told(machines: Machines) -> None:
    git(machines.theirs, "remote", "set-url", "origin", "https://s3cr3ttoken@127.0.0.1:1/x.git")
    with pytest.raises(RepositoryError) as error:
        machines.pull()
    assert "s3cr3ttoken" not in str(error.value)


def test_variables_of_another_repository_do_not_lead_git_astray(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert GitRepository(machines.ours, remote="origin", branch="main").has_remote_branch() is False
    assert os.environ["GIT_DIR"]
