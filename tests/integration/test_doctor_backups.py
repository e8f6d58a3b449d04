"""`bnml-doctor backups` as its users run it, and the drill: lose everything, restore, go on trading."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Symbol
from bn_ml.state_store import StateStore
from ml_engine.bundle_store import BundleStore
from scripts import doctor
from tests.fakes.backup_builders import Office, an_office
from tests.fakes.bundle_builders import FEATURE_HASH, a_bundle

BTC = Symbol("BTC/USDC")
Doctor = Callable[..., tuple[int, str]]


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    made = an_office(tmp_path)
    shutil.rmtree(made.models)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bot.yaml").write_text(
        f"storage: {{sqlite_path: {made.book}, min_free_disk_mb: 1, backup: {{base_dir: {made.backups.base}}}}}\n"
        f"monitoring: {{logs_dir: {tmp_path}/logs, metrics_dir: {tmp_path}/metrics}}\n"
        f"model: {{models_dir: {made.models}}}\n",
        encoding="utf-8",
    )
    return made


@pytest.fixture
def ask(office: Office, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Run the command; gives its exit code and what it printed, stdout first."""

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = doctor.main(["backups", *words, "--config", str(office.folder / "bot.yaml")])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def answer(told: tuple[int, str]) -> Any:
    assert told[0] == 0, told[1]
    return json.loads(told[1])


def publish(office: Office, version: int) -> BundleStore:
    bundles = BundleStore(office.models, feature_hash=FEATURE_HASH)
    bundles.save(a_bundle(version=version))
    return bundles


def test_it_lists_makes_and_verifies_backups(office: Office, ask: Doctor) -> None:
    assert ask("list") == (0, f"no backups in {office.backups.base}\n")
    assert ask("verify")[0] == 1
    made = answer(ask("create", "--json"))
    assert (made["book"], made["positions"], made["state"]) == ("paper main", 1, "NORMAL")
    code, text = ask("list")
    assert (code, text.splitlines()[0].split("\t")[:3]) == (0, ["id", "made_at", "book"])
    assert made["id"] in text
    assert ask("verify") == (0, f"OK {made['id']}: whole\n")
    assert answer(ask("verify", made["id"], "--json")) == {"whole": True, "problems": {made["id"]: []}}
    assert [row["id"] for row in answer(ask("list", "--json"))["backups"]] == [made["id"]]


def test_a_backup_with_a_changed_byte_fails_and_is_named(office: Office, ask: Doctor) -> None:
    made = answer(ask("create", "--json"))["id"]
    (office.backups.base / made / "metrics" / "latest_scan.csv").write_text("other")
    code, text = ask("verify")
    assert code == 1
    assert text.startswith(f"FAIL {made}: metrics/latest_scan.csv: ")
    code, text = ask("restore", made)
    assert code == 1
    assert "the backup is damaged" in text


def test_wrong_words_are_answered_with_the_right_ones(office: Office, ask: Doctor) -> None:
    code, text = ask("restore")
    assert code == 2
    assert "name the backup (bnml-doctor backups list)" in text
    made = answer(ask("create", "--json"))["id"]
    for word in ("verify", "restore"):
        code, text = ask(word, "20200101T000000Z")
        assert code == 1
        assert f"the newest are {made}" in text


def test_nothing_is_restored_under_a_running_bot(office: Office, ask: Doctor) -> None:
    made = answer(ask("create", "--json"))["id"]
    with ProcessLock(office.book).acquire(SystemClock().now()):
        code, text = ask("restore", made)
    assert code == 75
    assert "stop that bot" in text
    assert not list(office.book.parent.glob("replaced/*"))


def test_a_backup_is_made_beside_a_running_bot(office: Office, ask: Doctor) -> None:
    store = StateStore(office.book)
    with ProcessLock(office.book).acquire(SystemClock().now()), store.transaction():
        assert ask("create")[0] == 0
    store.close()


def test_a_restore_says_what_came_back_and_what_did_not(office: Office, ask: Doctor) -> None:
    made = answer(ask("create", "--json"))["id"]
    code, text = ask("restore", made)
    assert code == 0
    lines = text.splitlines()
    assert lines[0].startswith(f"{office.book}: restored from backup {made} of ")
    assert lines[1] == "its newest fact is of 2023-06-10T12:00:00.000Z; what happened later is not in it"
    assert lines[2] == "open positions: BTC/USDC; open orders: 0"
    assert lines[3].startswith("control state: NORMAL")
    assert lines[4].startswith(f"the former files are in {office.book.parent}/replaced/")
    assert lines[-1].endswith("start the bot to go on")


def test_a_live_restore_says_that_trading_waits_for_the_comparison(office: Office, ask: Doctor) -> None:
    office.book.unlink()
    store = StateStore(office.book)
    store.bind_book("live", "binance-1", SystemClock().now())
    store.close()
    made = answer(ask("create", "--json"))["id"]
    told = answer(ask("restore", made, "--json"))
    assert told["control_state"] == "HALTED"
    assert told["control_reason"].startswith(f"books_restored: backup {made}")
    code, text = ask("restore", made)
    assert code == 0
    assert "NORMAL comes back by itself once the book equals the exchange" in text


def test_bundles_are_left_alone_unless_there_are_none_or_it_is_asked_for(office: Office, ask: Doctor) -> None:
    publish(office, 1)
    made = answer(ask("create", "--json"))["id"]
    bundles = publish(office, 2)
    assert "bundles: left as they are" in ask("restore", made)[1]
    assert bundles.load(BTC).version == 2
    code, text = ask("restore", made, "--models")
    assert code == 0
    assert "bundles: the former ones are in" in text
    assert "refused" not in text
    assert BundleStore(office.models, feature_hash=FEATURE_HASH).load(BTC).version == 1


def test_lost_bundles_come_back_with_every_version_and_still_verify(office: Office, ask: Doctor) -> None:
    publish(office, 1)
    publish(office, 2)
    made = answer(ask("create", "--json"))["id"]
    keys = office.models / ".keys"
    kept = office.folder / "keys"
    shutil.copytree(keys, kept)
    shutil.rmtree(office.models)
    shutil.copytree(kept, keys)
    code, text = ask("restore", made)
    assert code == 0
    assert f"bundles: restored to {office.models}" in text
    assert "refused" not in text
    bundles = BundleStore(office.models, feature_hash=FEATURE_HASH)
    bundles.verify(BTC)
    assert (bundles.load(BTC).version, [fact.version for fact in bundles.versions(BTC)]) == (2, [1, 2])


def test_bundles_whose_key_was_lost_are_named_with_the_key_to_trust(office: Office, ask: Doctor) -> None:
    publish(office, 1)
    made = answer(ask("create", "--json"))["id"]
    (signer,) = office.backups.find(made).manifest.signers
    shutil.rmtree(office.models)
    code, text = ask("restore", made)
    assert code == 0
    assert "bundle refused: BTC/USDC" in text, text
    assert f"signed by {signer}; where that key is not this machine's, list it in model.trusted_keys" in text
    trusting = BundleStore(office.models, feature_hash=FEATURE_HASH, trusted_keys=(signer,))
    assert trusting.load(BTC).version == 1


def test_a_restored_halt_of_the_operator_is_said(office: Office, ask: Doctor) -> None:
    store = StateStore(office.book)
    store.set_control(ControlState.HALTED, "kill_switch: me", "operator", SystemClock().now() - timedelta(hours=1))
    store.close()
    made = answer(ask("create", "--json"))["id"]
    text = ask("restore", made)[1]
    assert "control state: HALTED (kill_switch: me)" in text
    assert "it stays so until bnml-kill-switch --resume --reason TEXT" in text
