"""Tells the container engine whether the service of this container is well: exit code 0 or 1.

Only the standard library and the clock are imported: the check runs every half minute.
"""

from __future__ import annotations

import argparse
import http.client
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scripts import cli

LONGEST_SILENCE_S = 180.0
TIMEOUT_S = 4.0
API_PORT, DASHBOARD_PORT = 8000, 8501
DATABASE = Path("artifacts/state/bn_ml.db")


def main(argv: Sequence[str] | None = None) -> int:
    """Check one service; gives 0 when it is well, 1 with one line on stderr when it is not."""
    made = argparse.ArgumentParser(prog="container_health", description=__doc__)
    made.add_argument("service", choices=sorted(CHECKS))
    problem = CHECKS[made.parse_args(argv).service]()
    return cli.complain(problem, cli.FAILED) if problem else cli.DONE


def book_problem(database: Path = DATABASE) -> str:
    """Say why the bot seems to stand still; empty when its book was written within three minutes.

    The loop writes its health every ten seconds. The files' times count, because a generated market has its own clock.
    """
    from bn_ml.clock import SystemClock

    written = [path.stat().st_mtime for path in (database, database.with_name(f"{database.name}-wal")) if path.exists()]
    if not written:
        return f"{database} does not exist yet"
    silent_s = SystemClock().now().timestamp() - max(written)
    return f"the book was last written {silent_s:.0f} s ago" if silent_s > LONGEST_SILENCE_S else ""


def api_problem(port: int = API_PORT) -> str:
    """Say why the API is not well; a degraded answer (503) tells of the bot, not of the API."""
    return _answer_problem(port, "/healthz", (200, 503))


def dashboard_problem(port: int = DASHBOARD_PORT) -> str:
    """Say why the dashboard is not well; empty when it answers."""
    return _answer_problem(port, "/_stcore/health", (200,))


def _answer_problem(port: int, path: str, allowed: Sequence[int]) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{path} on port {port} does not answer: {type(error).__name__}"
    finally:
        connection.close()
    return "" if status in allowed else f"{path} on port {port} answers {status}"


CHECKS: Mapping[str, Callable[[], str]] = {"bot": book_problem, "api": api_problem, "dashboard": dashboard_problem}


if __name__ == "__main__":
    raise SystemExit(main())
