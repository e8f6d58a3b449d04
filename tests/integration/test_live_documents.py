"""What the documents of live trading say is so: flags, paths, fields, and every example that can run here."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks import rehearse
from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings
from public_api.sandbox import control
from public_api.sandbox.faults import FaultKind, open_profile
from public_api.sandbox.listings import SymbolStatus
from scripts import kill_switch, run_bot, sandbox
from tests.fakes.live_sandbox import started
from tests.fakes.sandbox_process import ROOT, SandboxThread
from trader.preflight import KeyRights, PreflightFacts, judged

NAMES = ("going_live", "kill_switch", "rehearsing", "sandbox")
TEXTS = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "bnml-bot": run_bot.main,
    "bnml-kill-switch": kill_switch.main,
    "bnml-sandbox": sandbox.main,
    "python -m benchmarks.rehearse": rehearse.main,
}


def blocks(name: str, language: str = "") -> list[str]:
    """The fenced examples of a document."""
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", TEXTS[name], re.DOTALL | re.MULTILINE)
    return [text for spoken, text in found if spoken == language]


def shell_lines(start: str) -> list[str]:
    """Every example line of a command."""
    lines = [line.strip() for name in NAMES for block in blocks(name) for line in block.splitlines()]
    return [line for line in lines if line == start or line.startswith(f"{start} ")]


def first_cells(name: str, heading: str) -> list[str]:
    """The words in code marks in the first column of the table under a heading."""
    table = TEXTS[name].partition(heading)[2]
    rows = re.findall(r"^\| (.+?) \|", table.partition("\n## ")[0], re.MULTILINE)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def flags_of(main: Callable[[Sequence[str]], int], capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        main(["--help"])
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))


@pytest.fixture(scope="module")
def exchange() -> Iterator[SandboxThread]:
    running = started()
    yield running
    running.stop()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_shown_with_flags_they_have(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = flags_of(COMMANDS[command], capsys)
    lines = shell_lines(command)
    assert lines
    for line in lines:
        assert {word for word in shlex.split(line) if word.startswith("--")} <= known, line


def test_every_flag_of_the_sandbox_is_in_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    told = {word for word in first_cells("sandbox", "# The sandbox exchange") if word.startswith("--")}
    assert flags_of(sandbox.main, capsys) - told == {"--help", "--version", "--config", "--log-level"}


def test_every_path_of_the_control_port_is_in_its_table() -> None:
    known = re.findall(r"^\| `(/\w+)`", control.__doc__ or "", re.MULTILINE)
    assert first_cells("sandbox", "## Control port") == known


def test_every_kind_of_fault_is_in_its_table() -> None:
    assert sorted(first_cells("sandbox", "## Faults")) == sorted(kind.value for kind in FaultKind)


def test_the_statuses_named_exist() -> None:
    (named,) = re.findall(r"`status` \(([^)]+)\)", TEXTS["sandbox"])
    assert {word.strip("` ") for word in named.split(",")} <= {status.value for status in SymbolStatus}


def test_the_example_of_a_fault_file_is_one(tmp_path: Path) -> None:
    (text,) = [block for block in blocks("sandbox") if block.startswith("{")]
    (tmp_path / "faults.json").write_text(text)
    assert open_profile(str(tmp_path / "faults.json")).rates[FaultKind.DROP_AFTER] == 0.05


def test_every_wish_shown_is_granted(exchange: SandboxThread) -> None:
    for line in shell_lines("curl"):
        words = shlex.split(line)
        name = next(word for word in words if "9102" in word).rpartition("/")[2]
        if "-d" in words:
            exchange.post(name, **json.loads(words[words.index("-d") + 1]))
        else:
            exchange.get(name)
    exchange.world.line.plan.clear()


@pytest.mark.parametrize("number", [0, 1])
def test_the_client_examples_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    running = started()
    given = {"API_KEY": running.api_key, "API_SECRET": running.api_secret, "BASE_URL": running.base_url}
    try:
        exec(blocks("sandbox", "python")[number], dict(given))
    finally:
        running.stop()
    assert capsys.readouterr().out


def test_every_field_of_a_rehearsal_is_explained() -> None:
    source = inspect.getsource(rehearse.rehearse) + inspect.getsource(rehearse._told)
    written = set(re.findall(r'^ +"(\w+)":', source, re.MULTILINE))
    assert set(first_cells("rehearsing", "One JSON line comes out.")) - {"violations"} == written - {"violations"}


def test_every_check_of_the_preflight_is_explained() -> None:
    symbol = Symbol("BTC/USDC")
    some = (PreflightFacts(symbols=(symbol,)), PreflightFacts(rights=KeyRights(True, None, None)))
    names = {finding.name for facts in some for finding in judged(facts, Settings())}
    rows = re.findall(r"^\| ([^|]+?) \|", TEXTS["going_live"], re.MULTILINE)
    for name in names:
        assert any(name.startswith(row) for row in rows), name


def test_links_between_the_documents_lead_somewhere() -> None:
    for name in NAMES:
        for target, anchor in re.findall(r"\]\((\w+\.md)?(?:#([\w-]+))?\)", TEXTS[name]):
            text = (ROOT / "docs" / target).read_text(encoding="utf-8") if target else TEXTS[name]
            headings = {line.strip("# ").lower().replace(" ", "-") for line in text.splitlines() if line[:1] == "#"}
            assert not anchor or anchor in headings, (name, target, anchor)
