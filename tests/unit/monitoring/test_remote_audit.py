"""The record of requests from afar: one line each, set aside when it is large, a hindrance to nobody."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from monitoring import remote_audit
from monitoring.remote_audit import RemoteAudit
from tests.fakes.book_builders import AT


def test_each_request_is_a_line_only_its_owner_may_read(tmp_path: Path) -> None:
    audit = RemoteAudit(tmp_path / "state" / "remote_control.jsonl")
    audit.note(AT, "telegram chat ..1 @anna", "kill", "asked")
    audit.note(AT, "telegram chat ..1 @anna", "kill", "committed", "HALTED\nnow")
    rows = [json.loads(line) for line in audit.path.read_text().splitlines()]
    assert rows[0] == {
        "at": "2023-06-10T12:00:00.000Z",
        "who": "telegram chat ..1 @anna",
        "what": "kill",
        "outcome": "asked",
        "detail": "",
    }
    assert [row["outcome"] for row in rows] == ["asked", "committed"]
    assert stat.S_IMODE(audit.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("spare", "kept"), [(1, True), (0, False)])
def test_a_large_record_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int, *, kept: bool
) -> None:
    audit = RemoteAudit(tmp_path / "remote_control.jsonl")
    audit.note(AT, "x", "kill", "asked")
    monkeypatch.setattr(remote_audit, "LARGEST", audit.path.stat().st_size + spare)
    audit.note(AT, "x", "kill", "committed")
    assert len(audit.path.read_text().splitlines()) == (2 if kept else 1)
    assert audit.path.with_name("remote_control.jsonl.1").exists() is not kept


def test_a_record_that_cannot_be_written_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    RemoteAudit(tmp_path / "file" / "remote_control.jsonl").note(AT, "x", "kill", "asked")
    assert "remote control record not written" in caplog.text
