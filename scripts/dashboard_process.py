"""The dashboard's own process: runs Streamlit, and ends when the bot that started it is gone.

Called as `python -m scripts.dashboard_process PARENT_PID STREAMLIT_ARGUMENT...`.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from collections.abc import Sequence

LOOK_EVERY_S = 1.0
USAGE = 2


def serve(arguments: Sequence[str]) -> int:
    """Run until told to end, or until the parent has ended; gives the exit code."""
    if len(arguments) < 2 or not arguments[0].isdigit():
        print("usage: python -m scripts.dashboard_process PARENT_PID STREAMLIT_ARGUMENT...", file=sys.stderr)
        return USAGE
    parent = int(arguments[0])
    threading.Thread(target=_end_with, args=(parent,), name="parent-watch", daemon=True).start()
    sys.argv = ["streamlit", *arguments[1:]]
    # Streamlit is run as a program so that nothing of the bot's own commands ever imports it.
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)
    return 0


def _end_with(parent: int) -> None:
    """End at once when the parent is gone: a bot that was killed must leave no dashboard behind."""
    never = threading.Event()
    while os.getppid() == parent:
        never.wait(LOOK_EVERY_S)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
