"""`bnml-runpod-train`: train and export a signed archive."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import cli, training_flags

ARCHIVE = Path("artifacts/exports/models_latest.zip")


def main(argv: Sequence[str] | None = None) -> int:
    """Train, pack, upload; exit code 1 when a symbol failed or the archive was not taken."""
    made = training_flags.parser("bnml-runpod-train", "train and export a signed archive; never trades")
    made.add_argument("--archive-path", type=Path, default=ARCHIVE, metavar="PATH", help="file of the archive")
    made.add_argument(
        "--upload-url-env",
        default="BNML_UPLOAD_URL",
        metavar="NAME",
        help="environment variable that holds the presigned address the archive is put to",
    )
    made.add_argument("--result-json", type=Path, metavar="PATH", help="also write the result into this file")
    made.add_argument("--serverless", action="store_true", help="wait for jobs as a RunPod worker")
    return cli.run(_train, made, argv)


def _train(arguments: argparse.Namespace) -> int:
    if arguments.serverless:
        from scripts.remote_worker import serve

        return serve(arguments)
    from scripts.remote_training import run

    return run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
