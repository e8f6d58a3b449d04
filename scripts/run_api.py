"""`bnml-api`: serve the read-only API and the public site."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import cli

PURPOSE = "Serve the read-only API, its websockets and the public site until stopped (docs/api.md)."
EPILOG = """examples:
  bnml-api
  bnml-api --host 127.0.0.1 --port 8080

exit codes: 0 stopped, 1 the port is taken, 2 wrong usage or an unsafe address
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; gives 0 after SIGTERM or Ctrl-C, 1 when the port is taken, 2 for an unsafe address."""
    made = cli.parser("bnml-api", PURPOSE)
    made.epilog, made.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    made.add_argument("--host", help="address to listen on (default public_api.host, 127.0.0.1)")
    made.add_argument("--port", type=_port, help="port to listen on (default public_api.port, 8000)")
    made.add_argument(
        "--models-dir", type=Path, metavar="PATH", help="folder of the bundles (default model.models_dir)"
    )
    return cli.run(_run, made, argv)


def _run(arguments: argparse.Namespace) -> int:
    from bn_ml.config import load_settings
    from bn_ml.env import Secrets, load_env
    from monitoring.logger import configure_logging
    from public_api.app import run
    from public_api.serving import PortTaken

    environ = load_env(Path.cwd())
    settings = load_settings(arguments.config, environ=environ).settings
    secrets = Secrets.from_environ(environ)
    configure_logging(settings.monitoring, arguments.log_level or "INFO", secrets=secrets.hidden(), file_name="api.log")
    try:
        run(
            host=arguments.host,
            port=arguments.port,
            models_dir=arguments.models_dir,
            config=arguments.config,
            started=lambda url: _announce(url, as_json=arguments.json),
        )
    except PortTaken as error:
        return cli.complain(_advice(str(error), arguments.port or settings.public_api.port), cli.FAILED)
    return cli.DONE


def _announce(url: str, *, as_json: bool) -> None:
    text = f"API and site {url} | routes {url}/docs | stop: Ctrl-C"
    cli.show({"schema": "bnml.api/1", "url": url}, as_json=as_json, text=text)


def _advice(problem: str, port: int) -> str:
    from scripts.doctor_checks_ports import holder_of

    return f"{problem} by {holder_of(port)}\n  end that process, or take another port: bnml-api --port {port + 1}"


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65_535:
        raise argparse.ArgumentTypeError("must be 1-65535")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
