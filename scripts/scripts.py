"""Stands in for this package in `python scripts/<name>.py`, where Python searches this folder and not the checkout.

Installed or not, such a command then runs the files beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

if __name__ == "scripts":
    __path__ = [str(_HERE)]
    sys.path[0] = str(_HERE.parent)
