"""`bnml-model-sync`: exchange models between machines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import cli

PURPOSES = {
    "publish": "train, mirror the signed bundles into the repository, commit and push",
    "pull": "fetch the repository, verify and adopt its bundles one by one",
    "runpod-pull": "start a remote training, wait, download its archive, verify and adopt",
    "daemon": "do one of these every day",
    "list": "versions, ages and signatures of the bundles here",
    "verify": "check every bundle here: signature, digests, test vectors",
    "rollback": "put the previous version of a symbol back in service",
    "key": "print the public key of this machine, for model.trusted_keys of the others",
}
SHORTEST_LOOK_S = 5.0
ROLES = ("publisher", "client", "runpod_client")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bnml-model-sync`; gives 0 done, 1 failed or something refused, 2 wrong usage or configuration."""
    return cli.run(_command, _parser(), argv)


def _parser() -> argparse.ArgumentParser:
    made = cli.parser("bnml-model-sync", "exchange models between machines")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    subs = {name: commands.add_parser(name, help=text, description=text) for name, text in PURPOSES.items()}
    for sub in subs.values():
        _common(sub)
    for name in ("publish", "pull", "daemon"):
        _git_flags(subs[name])
    for name in ("publish", "daemon"):
        _publish_flags(subs[name])
    for name in ("runpod-pull", "daemon"):
        _runpod_flags(subs[name])
    for name in ("pull", "runpod-pull"):
        subs[name].add_argument(
            "--over-pinned", action="store_true", help="also replace versions that were put back by hand"
        )
    _daemon_flags(subs["daemon"])
    subs["rollback"].add_argument("--symbol", required=True, metavar="S", help="such as BTC/USDC")
    subs["rollback"].add_argument("--to-version", type=int, metavar="N", help="which version (default: the previous)")
    return made


def _common(sub: argparse.ArgumentParser) -> None:
    hidden = argparse.SUPPRESS
    sub.add_argument("--config", type=Path, default=hidden, metavar="PATH", help="configuration file")
    sub.add_argument("--json", action="store_true", default=hidden, help="print the result as JSON")
    sub.add_argument(
        "--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default=hidden, help="how much is logged"
    )
    sub.add_argument("--models-dir", metavar="DIR", help="folder of the bundles")


def _git_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--repo-dir", metavar="DIR", help="working copy of the exchange repository")
    sub.add_argument("--repo-models-subdir", metavar="DIR", help="folder of the bundles in the repository")
    sub.add_argument("--remote", metavar="NAME", help="git remote")
    sub.add_argument("--branch", metavar="NAME", help="git branch")
    sub.add_argument("--allow-dirty-worktree", action="store_true", help="go on despite uncommitted changes")


def _publish_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--skip-training", action="store_true", help="publish what is there")
    sub.add_argument("--symbol", action="append", metavar="S", help="train this symbol (repeatable)")
    which = sub.add_mutually_exclusive_group()
    which.add_argument("--train-missing-only", action="store_true", help="only symbols without a bundle young enough")
    which.add_argument("--train-all", action="store_true", help="every configured symbol")
    sub.add_argument("--max-model-age-hours", metavar="H", help="an older bundle is trained again")
    sub.add_argument("--commit-message", default="", metavar="TEXT", help="message of the commit")


def _runpod_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--trigger-url", metavar="URL", help="address that starts a job")
    sub.add_argument("--status-url-template", metavar="URL", help="address of a job's state, with {job_id}")
    sub.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the key")
    sub.add_argument("--trigger-method", choices=("POST", "GET", "PUT"), help="HTTP method that starts a job")
    sub.add_argument("--trigger-payload-json", metavar="JSON", help="body that starts a job")
    sub.add_argument("--headers-json", metavar="JSON", help="extra HTTP headers, never secrets")
    sub.add_argument("--request-timeout-sec", type=float, metavar="S", help="longest wait for an answer")
    sub.add_argument("--poll-interval-sec-runpod", type=float, metavar="S", help="time between looks at a job")
    sub.add_argument("--job-timeout-sec", type=float, metavar="S", help="longest job")
    sub.add_argument("--download-timeout-sec", type=float, metavar="S", help="longest download")
    sub.add_argument("--extract-subdir", metavar="DIR", help="folder of the bundles inside the archive")


def _daemon_flags(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--role", choices=ROLES, required=True, help="what is done every day")
    sub.add_argument("--at", metavar="HH:MM", help="time of day (default: the role's schedule)")
    sub.add_argument("--run-on-start", action="store_true", help="once at the start as well")
    sub.add_argument(
        "--poll-interval-sec", type=_look, default=30.0, metavar="S", help="time between looks at the clock, at least 5"
    )


def _look(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not SHORTEST_LOOK_S <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least {SHORTEST_LOOK_S:g}, got {text!r}")
    return value


def _command(arguments: argparse.Namespace) -> int:
    # Settings and bundles take pydantic and numpy: --help does without them.
    from scripts.model_sync_command import run

    return run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
