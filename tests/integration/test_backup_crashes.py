"""A backup cut off anywhere: what can be seen is whole, what is half made goes, and the book never notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.state_reader import StateReader
from tests.fakes.backup_builders import NOW, an_office

ROOT = Path(__file__).resolve().parents[2]

_CUT_OFF = """
import json, os, resource, signal, sys
from datetime import timedelta
from pathlib import Path
from bn_ml.backup import make_backup
from bn_ml.errors import StateError
from tests.fakes.backup_builders import NOW, Office

office, deadly = Office(Path(sys.argv[1])), sys.argv[2] == "deadly"

def life(number, limit):
    # The kernel refuses what would make a file longer than the limit, or ends the process right there.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if deadly else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        make_backup(office.sources, office.backups, NOW + timedelta(minutes=number))
    except StateError as error:
        os._exit(3)
    os._exit(0)

ends = []
for number, limit in enumerate(json.loads(sys.argv[3])):
    child = os.fork()
    if not child:
        life(number, limit)
    _, status = os.waitpid(child, 0)
    ends.append(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
print(json.dumps(ends))
"""


@pytest.mark.parametrize(("kind", "end"), [("deadly", -signal.SIGXFSZ), ("survived", 3)])
def test_a_backup_cut_off_at_any_size_of_its_files_is_never_seen(tmp_path: Path, kind: str, end: int) -> None:
    office = an_office(tmp_path)
    before = office.book.read_bytes()
    whole = office.book.stat().st_size
    limits = [0, 1, 100, 900, *range(4096, whole, 16384), whole - 1, whole]
    done = subprocess.run(
        [sys.executable, "-c", _CUT_OFF, str(tmp_path), kind, json.dumps(limits)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    ends = json.loads(done.stdout)
    assert ends == [end] * (len(limits) - 1) + [0]
    (only,) = office.backups.backups()
    assert office.backups.problems(only) == ()
    assert sorted(path.name for path in office.backups.base.iterdir()) == [".lock", only.backup_id]
    assert office.book.read_bytes() == before


def test_a_process_killed_at_any_moment_of_a_backup_leaves_only_whole_ones(tmp_path: Path) -> None:
    office = an_office(tmp_path)
    program = (
        "import sys\nfrom datetime import timedelta\nfrom pathlib import Path\nfrom bn_ml.backup import make_backup\n"
        "from tests.fakes.backup_builders import NOW, Office\noffice = Office(Path(sys.argv[1]))\n"
        "for number in range(10000):\n"
        "    make_backup(office.sources, office.backups, NOW + timedelta(seconds=number))\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(7)]
    os.kill(process.pid, signal.SIGKILL)
    lines += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    made = office.backups.backups()
    assert len(lines) <= len(made) <= len(lines) + 1
    assert all(office.backups.problems(backup) == () for backup in made)
    last = office.backup(24)
    assert not [path for path in office.backups.base.iterdir() if path.name.endswith(".part")]
    assert StateReader(last.folder / "bn_ml.db").summary() == StateReader(office.book).summary()
    assert last.manifest.made_at == NOW + timedelta(hours=24)
