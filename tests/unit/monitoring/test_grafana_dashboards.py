"""The dashboards are complete, ask only for what is measured, and find their data source."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.fakes.metric_catalogue import problems_of

FOLDER = Path(__file__).resolve().parents[3] / "monitoring" / "grafana"
FILES = sorted((FOLDER / "dashboards").glob("*.json"))
TITLES = {
    "bnml-runtime": "BN-ML Runtime",
    "bnml-trading": "BN-ML Trading",
    "bnml-execution": "BN-ML Execution",
    "bnml-models": "BN-ML Models",
    "bnml-system": "BN-ML System",
}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"none", "short", "s", "ms", "percentunit", "bytes", "reqps"}


def _read(path: Path) -> dict[str, object]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def _panels(path: Path) -> list[dict[str, object]]:
    panels = _read(path)["panels"]
    assert isinstance(panels, list)
    return panels


def test_there_are_the_five_dashboards_each_under_its_own_uid() -> None:
    assert {str(_read(path)["uid"]): _read(path)["title"] for path in FILES} == TITLES
    assert [path.stem for path in FILES] == sorted(TITLES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dashboard_shows_a_day_and_can_be_narrowed(path: Path) -> None:
    content = _read(path)
    assert content["schemaVersion"] == 39
    assert (content["refresh"], content["time"]) == ("15s", {"from": "now-24h", "to": "now"})
    variables = content["templating"]
    marks = content["annotations"]
    assert isinstance(variables, dict)
    assert isinstance(marks, dict)
    assert [variable["name"] for variable in variables["list"]] == ["datasource", "symbol"]
    assert all(problems_of(mark["expr"]) == [] for mark in marks["list"])
    assert len(_panels(path)) <= 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_panel_asks_one_question_with_a_unit_and_thresholds(path: Path) -> None:
    panels = _panels(path)
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({str(panel["gridPos"]) for panel in panels}) == len(panels)
    for panel in panels:
        defaults = panel["fieldConfig"]["defaults"]  # type: ignore[index]
        assert str(panel["title"]).endswith("?")
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["datasource"] == SOURCE
        assert defaults["unit"] in UNITS
        assert defaults["thresholds"]["steps"][0]["value"] is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_panel_asks_only_for_series_and_labels_that_exist(path: Path) -> None:
    for panel in _panels(path):
        for target in panel["targets"]:  # type: ignore[attr-defined]
            assert problems_of(target["expr"]) == []
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert all(
                problems_of(f"sum by ({label}) ({name})") == [] for label in named for name in _names(target["expr"])
            )


def _names(expression: str) -> set[str]:
    return set(re.findall(r"bnml_\w+", expression))


def test_the_provisioning_names_the_data_source_of_the_dashboards_and_their_folder() -> None:
    sources = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "bnml.yml").read_text(encoding="utf-8"))
    folders = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "bnml.yml").read_text(encoding="utf-8"))
    assert [(source["uid"], source["type"]) for source in sources["datasources"]] == [("bnml-prometheus", "prometheus")]
    assert [folder["type"] for folder in folders["providers"]] == ["file"]
    assert all('"value": "bnml-prometheus"' in path.read_text(encoding="utf-8") for path in FILES)
