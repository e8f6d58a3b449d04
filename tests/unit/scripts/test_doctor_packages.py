"""Missing and other packages are named, whatever else is missing with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from scripts.doctor_checks_python import LOCK, PACKAGES, installed, locked_versions, normal, packages, python
from scripts.doctor_findings import Status
from tests.fakes.live_command import CLEAN

ROOT = Path(__file__).resolve().parents[3]


def test_this_installation_is_in_order() -> None:
    assert [item.status for item in (*python(), *packages())] == [Status.OK, Status.OK]


def test_the_packages_are_those_the_project_depends_on() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    _, _, rest = text.partition("\ndependencies = [")
    named = [line.strip(' ",') for line in rest.partition("]")[0].splitlines() if line.strip()]
    wanted = {normal(name.partition(">")[0]) for name in named}
    assert {normal(names[0]) for names in PACKAGES.values()} == wanted


def test_a_package_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    (found,) = packages({"numpy": ("numpy",), "nothing_like_it": ("nothing-like-it",)})
    assert (found.status, found.found) == (Status.FAIL, "missing or broken: nothing-like-it")
    assert "pip install -r requirements.txt" in found.fix
    (broken,) = packages({"nothing_like_it": ("numpy",)}, tmp_path / "none")
    assert broken.found == "missing or broken: numpy"


def test_another_version_than_the_lock_s_is_a_warning(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("numpy==0.1 \\\n    --hash=sha256:00\nPyYAML==0.2 ; python_version < '3.11'\npyyaml==0.3\n")
    assert locked_versions(lock) == {"numpy": {"0.1"}, "pyyaml": {"0.2", "0.3"}}
    (found,) = packages({"numpy": ("numpy",)}, lock)
    assert found.status is Status.WARN
    assert "(lock: 0.1)" in found.found


def test_the_first_distribution_that_is_there_counts() -> None:
    named = installed(("nothing-like-it", "numpy"))
    assert named is not None
    assert named[0] == "numpy"
    assert installed(("nothing-like-it",)) is None
    assert "numpy" in locked_versions(LOCK)


@pytest.mark.parametrize("absent", ["lightgbm", "pydantic"])
def test_the_doctor_works_where_a_package_is_missing(absent: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if normal(path.name).partition("-")[0] != absent and not path.name.startswith(("__editable__", "_virtualenv")):
            (site / path.name).symlink_to(path)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "scripts.doctor", "check", "--json"],
        cwd=tmp_path,
        env={**CLEAN, "PYTHONPATH": os.pathsep.join((str(ROOT), str(site))), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    found = {item["name"]: item for item in json.loads(done.stdout)["data"]["checks"]}
    assert absent in found["packages"]["found"]
    assert "pip install" in found["packages"]["fix"]
    assert found["python"]["status"] == "OK"
