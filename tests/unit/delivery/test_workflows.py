"""The workflows: least rights, pinned actions, steps that are the Makefile's targets, every supported Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"
NAMES = ("ci", "security", "publish-pypi", "publish-docker-ghcr", "release-please")
TEXTS = {name: (GITHUB / "workflows" / f"{name}.yml").read_text(encoding="utf-8") for name in NAMES}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# What may be written, and by which job; everything else only reads.
RIGHTS = {
    ("publish-pypi", "publish"): {"id-token": "write"},
    ("publish-docker-ghcr", "image"): {"contents": "read", "packages": "write"},
    ("release-please", "release"): {"contents": "write", "pull-requests": "write"},
}
YAML_READS_ON_AS = True


def jobs() -> Iterator[tuple[str, str, Mapping[str, object]]]:
    for name, workflow in WORKFLOWS.items():
        for job, body in workflow["jobs"].items():
            yield name, job, body


def steps() -> Iterator[tuple[str, str, Mapping[str, object]]]:
    for name, job, body in jobs():
        found = body["steps"]
        assert isinstance(found, list)
        for step in found:
            yield name, job, step


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_workflows_are_exactly_the_promised_ones() -> None:
    assert {path.stem for path in (GITHUB / "workflows").glob("*.y*ml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_only_reads_by_default(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


def test_no_job_has_more_rights_than_it_needs() -> None:
    given = {(name, job): body["permissions"] for name, job, body in jobs() if "permissions" in body}
    assert given == RIGHTS


def test_every_job_ends_by_itself() -> None:
    assert [(name, job) for name, job, body in jobs() if not 0 < int(str(body.get("timeout-minutes", 0))) <= 60] == []


def test_every_action_is_pinned_to_a_commit_and_says_its_version() -> None:
    for name, text in TEXTS.items():
        for line in re.findall(r"uses: (.+)", text):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), (name, line)


def test_one_action_has_one_commit_everywhere() -> None:
    pins = {match for text in TEXTS.values() for match in re.findall(r"uses: (\S+)@([0-9a-f]{40})", text)}
    assert len({action for action, _ in pins}) == len(pins)


def test_a_checkout_keeps_no_credentials() -> None:
    for name, job, step in steps():
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            options = step.get("with")
            assert isinstance(options, dict), (name, job)
            assert options["persist-credentials"] is False, (name, job)


def test_text_from_outside_never_enters_a_shell_line() -> None:
    for name, job, step in steps():
        assert "${{" not in str(step.get("run", "")), (name, job)


def test_the_suite_and_the_package_run_on_every_supported_python() -> None:
    for job in ("test", "package"):
        assert WORKFLOWS["ci"]["jobs"][job]["strategy"]["matrix"] == {"python": PYTHONS}
    required = re.search(r'requires-python = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert required is not None
    assert required[1] == ">=3.10,<3.14"


def test_checks_are_the_targets_a_developer_runs() -> None:
    wanted = {
        "ci": {"install", "lint", "test", "package", "package-check", "sim"},
        "security": {"audit", "bandit", "secrets", "sbom"},
        "publish-pypi": {"install", "package", "package-check"},
    }
    for name, expected in wanted.items():
        used = set(re.findall(r"make ([a-z-]+)", TEXTS[name]))
        used |= set(WORKFLOWS[name]["jobs"].get("audit", {}).get("strategy", {}).get("matrix", {}).get("target", []))
        assert used == expected
        assert used <= targets(), used - targets()


def test_when_each_workflow_runs() -> None:
    # YAML 1.1 reads the key `on` as true.
    on = {name: workflow[YAML_READS_ON_AS] for name, workflow in WORKFLOWS.items()}
    assert "pull_request" in on["ci"]
    assert on["ci"]["push"] == {"branches": ["main"]}
    assert {"pull_request", "push", "schedule"} <= set(on["security"])
    assert on["publish-pypi"]["push"] == on["publish-docker-ghcr"]["push"] == {"tags": ["v*"]}
    assert on["release-please"] == {"push": {"branches": ["main"]}}
    assert not any("pull_request_target" in events for events in on.values())


def test_the_package_is_published_without_a_token() -> None:
    publish = WORKFLOWS["publish-pypi"]["jobs"]["publish"]
    assert publish["environment"]["name"] == "pypi"
    assert "secrets." not in TEXTS["publish-pypi"]
    assert publish["needs"] == "build"


def test_the_image_is_built_on_a_base_resolved_to_its_digest() -> None:
    text = TEXTS["publish-docker-ghcr"]
    base = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert base is not None
    assert f"PYTHON_TAG: {base[1]}\n" in text
    assert "PYTHON_IMAGE=${{ steps.base.outputs.image }}" in text
    assert "steps.push.outputs.digest" in text


def test_release_please_knows_the_version_of_the_package() -> None:
    config = json.loads((ROOT / "release-please-config.json").read_text(encoding="utf-8"))
    manifest = json.loads((ROOT / ".release-please-manifest.json").read_text(encoding="utf-8"))
    package = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(config["packages"]) == set(manifest) == {"."}
    assert config["packages"]["."]["release-type"] == "python"
    assert f'name = "{config["packages"]["."]["package-name"]}"' in package
    assert f'version = "{manifest["."]}"' in package


def test_versions_are_watched_in_every_place_that_names_some() -> None:
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    assert {item["package-ecosystem"] for item in updates} == {"pip", "github-actions", "docker", "docker-compose"}


def test_the_pull_request_has_a_checklist() -> None:
    text = (GITHUB / "pull_request_template.md").read_text(encoding="utf-8")
    assert text.count("- [ ]") >= 6
    assert "make check" in text


@pytest.mark.parametrize("form", ["bug_report.yml", "feature_request.yml"])
def test_an_issue_form_is_complete(form: str) -> None:
    body = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / form).read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(body)
    ids = [item["id"] for item in body["body"] if item["type"] != "markdown"]
    assert len(ids) == len(set(ids)) >= 2
    assert all(item["attributes"].get("label") for item in body["body"] if item["type"] != "markdown")


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not on this machine")
def test_actionlint_finds_nothing() -> None:
    files = [str(GITHUB / "workflows" / f"{name}.yml") for name in NAMES]
    done = subprocess.run(["actionlint", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
