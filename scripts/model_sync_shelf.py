"""The bundles on this machine: which versions, how old, by whom signed, whether whole, and putting one back."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from bn_ml.domain.market import Symbol, iso
from bn_ml.errors import ModelError
from ml_engine.bundle_signing import ensure_key, key_file, public_text
from ml_engine.bundle_store import BundleStore
from scripts import cli
from scripts.tables import table


def show_list(store: BundleStore, now: datetime, *, as_json: bool) -> int:
    """Print versions, ages and signatures."""
    rows = [_row(store, symbol, now) for symbol in store.symbols()]
    text = table(rows, terminal=sys.stdout.isatty()) if rows else f"no bundles in {store.models_dir}"
    cli.show({"models_dir": str(store.models_dir), "bundles": rows}, as_json=as_json, text=text)
    return cli.DONE


def verify_all(store: BundleStore, *, as_json: bool) -> int:
    """Check signature, every digest and every test vector of each bundle in service; 1 when one does not hold."""
    found: dict[str, str] = {}
    for symbol in store.symbols():
        try:
            store.verify(symbol)
        except ModelError as error:
            found[symbol] = f"{error.reason}: {error}"
        else:
            found[symbol] = ""
    lines = [f"FAIL {name}  {why}" if why else f"OK   {name}" for name, why in found.items()]
    bad = [name for name, why in found.items() if why]
    content = {"models_dir": str(store.models_dir), "ok": not bad, "bundles": found}
    cli.show(content, as_json=as_json, text="\n".join(lines) or f"no bundles in {store.models_dir}")
    if bad:
        return cli.complain(f"refused, HOLD until renewed: {', '.join(bad)}", cli.FAILED)
    return cli.DONE


def put_back(store: BundleStore, symbol: Symbol, now: datetime, *, version: int | None, as_json: bool) -> int:
    """Put the previous version, or the one named, back in service under a new number."""
    back = store.rollback(symbol, now, version=version, reason="bnml-model-sync rollback")
    pinned = back.metadata.pinned
    content_of = back.version if pinned is None else pinned.content_of
    text = f"{symbol}: version {content_of} is back as version {back.version}; a running bot takes it in its next cycle"
    cli.show({"symbol": symbol, "version": back.version, "content_of": content_of}, as_json=as_json, text=text)
    return cli.DONE


def show_key(models_dir: Path, environ: dict[str, str], *, as_json: bool) -> int:
    """Print the public key of this machine, made when there is none, for `model.trusted_keys` of the others."""
    path = key_file(models_dir, environ)
    public = public_text(ensure_key(path))
    cli.show({"public_key": public, "key_file": str(path)}, as_json=as_json, text=public)
    return cli.DONE


def _row(store: BundleStore, symbol: Symbol, now: datetime) -> dict[str, object]:
    kept = ", ".join(str(fact.version) for fact in store.versions(symbol))
    try:
        metadata = store.load(symbol).metadata
        key = store.verify(symbol)
    except ModelError as error:
        return _cells(symbol, kept, state=f"refused: {error}")
    back = metadata.pinned
    state = "ok" if back is None else f"put back (version {back.content_of})"
    return _cells(
        symbol,
        kept,
        version=metadata.version,
        trained_at=iso(metadata.trained_at),
        age_d=round(metadata.age(now).total_seconds() / 86_400, 1),
        tradable=metadata.tradable.verdict,
        signed_by=f"{key[:12]}...",
        state=state,
    )


def _cells(symbol: Symbol, kept: str, **known: object) -> dict[str, object]:
    empty: dict[str, object] = {
        "symbol": str(symbol),
        "version": 0,
        "kept": kept,
        "trained_at": "",
        "age_d": 0.0,
        "tradable": False,
        "signed_by": "",
        "state": "",
    }
    return {**empty, **known}
