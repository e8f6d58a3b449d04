"""The alert rules ask for what is measured, say the value, and lead to a section of the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.fakes.metric_catalogue import problems_of

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "monitoring" / "prometheus"
SCRAPES = ("prometheus.yml", "prometheus.local.yml")


def _rules() -> Iterator[Mapping[str, object]]:
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


RULES = {str(rule["alert"]): rule for rule in _rules()}


def _anchors() -> set[str]:
    text = (ROOT / "docs" / "runbook_incident.md").read_text(encoding="utf-8")
    return {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_asks_only_for_series_and_labels_that_exist(name: str) -> None:
    assert problems_of(str(RULES[name]["expr"])) == []


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_a_severity_a_sentence_with_its_value_and_a_runbook_section(name: str) -> None:
    labels, told = RULES[name]["labels"], RULES[name]["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(told, dict)
    assert labels["severity"] in {"critical", "warning"}
    assert "$value" in told["summary"]
    assert told["summary"].endswith(".")
    document, _, anchor = told["runbook_url"].partition("#")
    assert document == "docs/runbook_incident.md"
    assert anchor in _anchors()


def test_no_two_rules_share_a_name() -> None:
    assert len(RULES) == len(list(_rules()))


def test_every_rule_is_fired_in_the_rule_tests() -> None:
    content = yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))
    fired = {case["alertname"] for test in content["tests"] for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == set(RULES)


@pytest.mark.parametrize("name", SCRAPES)
def test_a_scrape_configuration_reads_the_rules_and_the_metrics_route(name: str) -> None:
    content = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    assert content["rule_files"] == ["alerts.yml"]
    assert [(job["job_name"], job["metrics_path"]) for job in content["scrape_configs"]] == [("bnml", "/metrics")]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.local.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    ended = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("bnml_nothing > 1", "no series bnml_nothing"),
        ('bnml_orders_total{sides="BUY"}', "bnml_orders_total has no label sides"),
        ("sum by (symbol) (bnml_open_positions)", "bnml_open_positions has no label symbol"),
        ("rate(bnml_order_latency_seconds[5m])", "no series bnml_order_latency_seconds"),
    ],
)
def test_a_wrong_name_or_label_is_found(expression: str, problem: str) -> None:
    assert problems_of(expression) == [problem]
