"""`bnml-backtest audit`: does anything in the user's own pipeline know the future?"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import cli

if TYPE_CHECKING:
    from bn_ml.domain.market import Symbol
    from bn_ml.settings import Settings
    from ml_engine.audit_findings import Check
    from ml_engine.audit_run import Subject
    from ml_engine.bundle import ModelBundle

log = logging.getLogger("bnml.audit")


def parser() -> argparse.ArgumentParser:
    """Give the flags of the audit."""
    made = cli.parser("bnml-backtest audit", "Look for leaks in features, labels, blocks and bundles; exit 1 on any.")
    made.add_argument("--symbol", metavar="S", help="symbol to audit (default: the first configured)")
    made.add_argument("--bundle", type=Path, metavar="DIR", help="bundle folder to audit (default: the one in service)")
    made.add_argument("--rows", type=_whole, default=50, metavar="N", help="rows to test (default 50)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="which rows are drawn")
    made.add_argument("--self-test", action="store_true", help="plant every forbidden thing; each must be found")
    made.add_argument("--deep", action="store_true", help="also train on shuffled labels and mirrored bars")
    made.add_argument("--until", metavar="DATE", help="use nothing known after this instant (UTC)")
    made.add_argument("--market-data", choices=("live", "synthetic", "replay", "auto"), help="where bars come from")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Audit; gives 0 when clean, 1 on any finding or too little tested, 2 for bad use."""
    return cli.run(_audit, parser(), argv)


def _audit(arguments: argparse.Namespace) -> int:
    # Read by the learning libraries when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ml_engine.audit_findings import is_clean
    from ml_engine.audit_run import audit, self_test

    logging.basicConfig(level=arguments.log_level or "INFO", stream=sys.stderr, format="%(levelname)s %(message)s")
    subject = _subject(arguments)
    checks = audit(subject, _tell, deep=arguments.deep)
    if arguments.self_test:
        checks += self_test(subject, _tell)
    clean = is_clean(checks)
    content = {"symbol": str(subject.symbol), "clean": clean, "checks": [check.as_dict() for check in checks]}
    cli.show(content, as_json=arguments.json, text=_table(checks, clean=clean))
    return cli.DONE if clean else cli.FAILED


def _subject(arguments: argparse.Namespace) -> Subject:
    """Read the configuration and the bars a training would read."""
    from bn_ml.config import load_settings
    from bn_ml.domain.market import Symbol, from_iso
    from bn_ml.errors import ConfigError
    from ml_engine.audit_run import Subject
    from ml_engine.training_data import load_market
    from scripts.market_basket import basket
    from scripts.training_market import open_history, training_clock, training_end

    chosen = {"data.paper_market_data_mode": arguments.market_data} if arguments.market_data else {}
    settings = load_settings(arguments.config, overrides=chosen).settings
    try:
        until = None if arguments.until is None else from_iso(arguments.until)
        symbol = Symbol(arguments.symbol or settings.universe.training_symbols[0])
    except ValueError as error:
        raise ConfigError([f"--until or --symbol: {error}"]) from error
    clock = training_clock(settings, until)
    history, source = open_history(settings, clock)
    end_ms = training_end(settings, clock, until, history, (symbol,))
    log.info("auditing %s on bars from %s", symbol, source)
    market = load_market(history, (symbol,), basket(settings), settings.model, end_ms=end_ms)
    if symbol not in market.bars:
        raise ConfigError([f"--symbol {symbol}: {market.missing.get(symbol, 'no bars')}"])
    return Subject(
        settings.model,
        settings.risk,
        symbol,
        market,
        rows=arguments.rows,
        seed=arguments.seed,
        max_gap_bars=settings.data.max_gap_bars,
        bundle=_bundle(arguments, settings, symbol),
    )


def _bundle(arguments: argparse.Namespace, settings: Settings, symbol: Symbol) -> ModelBundle | None:
    """Give the bundle to audit: the named one, the one in service, or none."""
    from bn_ml.errors import ModelError
    from ml_engine.bundle import read_core
    from ml_engine.bundle_files import read_verified
    from ml_engine.bundle_signing import key_file, local_public_key
    from ml_engine.bundle_store import BundleStore

    key = key_file(Path(settings.model.models_dir), os.environ)
    if arguments.bundle is not None:
        trusted = (*settings.model.trusted_keys, *((local_public_key(key),) if key.exists() else ()))
        return read_core(read_verified(arguments.bundle, trusted).content)
    store = BundleStore(settings.model.models_dir, trusted_keys=settings.model.trusted_keys, signing_key=key)
    try:
        return store.load(symbol)
    except ModelError as error:
        log.info("no bundle audited: %s", error)
        return None


def _tell(step: str) -> None:
    log.info("audit: %s", step)


def _table(checks: Sequence[Check], *, clean: bool) -> str:
    lines = [
        f"{check.verdict:<12} {check.name:<40} tested {check.tested:>6}  {check.note}".rstrip() for check in checks
    ]
    for check in checks:
        lines += [f"  {finding.text()}" for finding in check.findings]
    return "\n".join([*lines, "clean: no leak found" if clean else "NOT clean"])


def _whole(text: str) -> int:
    if not (text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
