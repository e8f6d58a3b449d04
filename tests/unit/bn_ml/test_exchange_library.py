"""The exchange library is imported in part, and whole for whoever wants it whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

OURS = "import bn_ml.exchange, sys"
SAME = "import ccxt; assert ccxt.binance is bn_ml.exchange.binance; assert ccxt.BaseError is bn_ml.exchange.BaseError"


@pytest.mark.parametrize(
    "code",
    [
        f"{OURS}; assert 'ccxt' not in sys.modules; assert 'ccxt.kraken' not in sys.modules",
        f"{OURS}; {SAME}; ccxt.kraken()",
        f"import ccxt; {OURS}; {SAME}",
        f"{OURS}; import ccxt.async_support; {SAME}",
    ],
)
def test_only_the_venue_s_own_client_is_imported_and_the_whole_stays_whole(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
