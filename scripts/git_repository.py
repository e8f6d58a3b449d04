"""A working copy of the repository models are exchanged through, moved by the `git` the user has set up.

Credentials, signing and hooks are the user's own. Nothing is ever asked at a terminal, forced, rebased or merged.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bn_ml.errors import BnMlError, ConfigError
from bn_ml.redaction import Redactor

GIT_TIMEOUT_S = 600.0
_QUICK_S = 60.0
_ENDING_S = 5.0
_SHOWN = 400
_MARK = "bnml-publishing"
_REMOTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_BRANCH = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./-]*")
_LOGIN = re.compile(r"://[^/\s@]+@")


class RepositoryError(BnMlError):
    """The repository could not be read or moved; the message says what git said, without logins."""


class GitRepository:
    """One branch of one remote, checked out in `folder`."""

    def __init__(self, folder: Path, *, remote: str, branch: str) -> None:
        """Check the names; raises `ConfigError` for one git could take for a flag. Nothing is run yet."""
        problems = [
            f"model_sync.{name}: {text!r} is not a plain name"
            for name, text, shape in (("remote", remote, _REMOTE), ("branch", branch, _BRANCH))
            if not shape.fullmatch(text)
        ]
        if problems:
            raise ConfigError(problems)
        self.folder = folder
        self._remote = remote
        self._branch = branch

    def require_ready(self, *, allow_dirty: bool) -> None:
        """Raise `RepositoryError` unless the folder is the top of a working copy, on the branch, and clean."""
        if not self.folder.is_dir():
            raise RepositoryError(f"{self.folder} is no folder; clone the repository there")
        top = Path(self._text("rev-parse", "--show-toplevel"))
        if top.resolve() != self.folder.resolve():
            raise RepositoryError(f"{self.folder} lies inside the repository {top}; name a working copy of its own")
        present = self._text("symbolic-ref", "--short", "-q", "HEAD")
        if present != self._branch:
            raise RepositoryError(f"{self.folder} is on {present or 'no branch'}; run: git switch {self._branch}")
        changed = self._text("status", "--porcelain", "--untracked-files=normal")
        if changed and not allow_dirty:
            first = changed.splitlines()[0].strip()
            raise RepositoryError(
                f"{self.folder} has uncommitted changes ({first}); commit or discard them, or --allow-dirty-worktree"
            )

    def has_remote_branch(self) -> bool:
        """Ask the remote whether the branch exists there."""
        done = self._git("ls-remote", "--exit-code", "--heads", self._remote, self._branch)
        if done.returncode not in (0, 2):
            raise self._failed("ls-remote", done)
        return done.returncode == 0

    def pull(self) -> None:
        """Bring the working copy to the remote's state; raises `RepositoryError` when the two have parted."""
        self._text("pull", "--ff-only", "--no-recurse-submodules", "--quiet", self._remote, self._branch)

    def commit(self, paths: Sequence[str], message: str) -> str:
        """Commit exactly these paths (relative to the folder); gives the commit, empty when nothing changed."""
        self._text("add", "--all", "--", *paths)
        if self._git("diff", "--cached", "--quiet", "--", *paths).returncode == 0:
            return ""
        self._text("commit", "--quiet", "--message", message, "--", *paths)
        return self._text("rev-parse", "HEAD")

    def push(self) -> None:
        """Send the branch; raises `RepositoryError` when the remote does not take it."""
        self._text("push", "--quiet", self._remote, f"HEAD:refs/heads/{self._branch}")

    def take_back(self, commit: str) -> None:
        """Undo the newest commit when it is this one, files included; changes of the user are kept."""
        has_parent = self._git("rev-parse", "--quiet", "--verify", f"{commit}~1").returncode == 0
        if has_parent and self._text("rev-parse", "HEAD") == commit:
            self._text("reset", "--quiet", "--keep", f"{commit}~1")

    @contextmanager
    def writing(self, subdir: str) -> Iterator[None]:
        """Let the block write and commit below a folder of the working copy; what it leaves uncommitted is undone.

        A mark tells a later run that this one died in between, see `mend`.
        """
        mark = self._mark()
        mark.touch()
        try:
            yield
        finally:
            self._undo(subdir)
            mark.unlink()

    def mend(self, subdir: str) -> None:
        """Undo what a run that died while writing left below a folder; harmless when there was none."""
        if self.folder.is_dir() and self._git("rev-parse", "--git-dir").returncode == 0:
            mark = self._mark()
            if mark.exists():
                self._undo(subdir)
                mark.unlink()

    def _mark(self) -> Path:
        return Path(self._text("rev-parse", "--absolute-git-dir")) / _MARK

    def _undo(self, subdir: str) -> None:
        if self._git("rev-parse", "--quiet", "--verify", "HEAD").returncode == 0:
            self._text("reset", "--quiet", "HEAD", "--", subdir)
            if self._text("ls-tree", "HEAD", "--", subdir):
                self._text("checkout", "--quiet", "HEAD", "--", subdir)
        else:
            self._text("rm", "-r", "--quiet", "--cached", "--ignore-unmatch", "--", subdir)
        self._text("clean", "-d", "--force", "--quiet", "--", subdir)

    def _text(self, *arguments: str) -> str:
        done = self._git(*arguments)
        # A detached head answers with 1 and no text.
        if done.returncode and arguments[0] != "symbolic-ref":
            raise self._failed(arguments[0], done)
        return done.stdout.strip()

    def _git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        limit_s = GIT_TIMEOUT_S if arguments[0] in ("pull", "push", "ls-remote") else _QUICK_S
        command = ["git", "-C", str(self.folder), *arguments]
        try:
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                text=True,
                errors="replace",
                start_new_session=True,
            ) as running:
                return _ended(running, limit_s)
        except FileNotFoundError as error:
            raise RepositoryError("git is not installed; install it (apt install git)") from error

    def _failed(self, act: str, done: subprocess.CompletedProcess[str]) -> RepositoryError:
        said = _LOGIN.sub("://***@", Redactor().clean(done.stderr or done.stdout)).strip()
        return RepositoryError(f"git {act} failed in {self.folder}: {said[:_SHOWN] or f'exit {done.returncode}'}")


def _ended(running: subprocess.Popen[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    """Wait for git; one that takes too long, or whose waiter is interrupted, is ended with all it started."""
    try:
        out, err = running.communicate(timeout=limit_s)
    except BaseException as error:
        _end(running)
        if isinstance(error, subprocess.TimeoutExpired):
            raise RepositoryError(f"git did not end within {limit_s:g} s; is the remote reachable?") from None
        raise
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def _end(running: subprocess.Popen[str]) -> None:
    """Ask git to end, so that it takes its lock files along; insist after a moment."""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGTERM)
    try:
        running.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def _environment() -> dict[str, str]:
    """Give the user's own environment, without questions and in plain words; no variable may move the repository."""
    kept = {
        name: text for name, text in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
