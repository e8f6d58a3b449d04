"""Whatever is told in the exposition format is read back as it was, by a reader that knows nothing of the writer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.exposition import Distribution, Family, Sample, exposition, number
from tests.fakes.prometheus_text import read_text

TEXTS = st.text(max_size=20)
VALUES = st.floats(allow_nan=False) | st.integers(-(10**17), 10**17).map(float)


@given(TEXTS, st.dictionaries(st.tuples(TEXTS, TEXTS), VALUES, max_size=5))
def test_texts_and_values_come_back_as_they_were(told: str, values: dict[tuple[str, str], float]) -> None:
    family = Family("bnml_x_total", "counter", told, ("left", "right"))
    text = exposition([(family, [Sample(value, labels) for labels, value in values.items()])])
    read = read_text(text)["bnml_x_total"]
    assert (read.kind, read.help) == ("counter", told)
    assert read.samples == {
        ("bnml_x_total", (("left", left), ("right", right))): value for (left, right), value in values.items()
    }


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(-10, 10))
def test_a_histogram_is_cumulative_and_ends_in_its_count(counts: list[int], total: float) -> None:
    family = Family("bnml_h", "histogram", "seconds", ("stage",))
    read = read_text(exposition([(family, [Distribution((0.1, 1.0, 5.0), tuple(counts), total, ("scan",))])]))["bnml_h"]
    buckets = [value for (name, _), value in read.samples.items() if name == "bnml_h_bucket"]
    assert buckets == [sum(counts[: place + 1]) for place in range(4)]
    assert [dict(labels)["le"] for name, labels in read.samples if name == "bnml_h_bucket"] == ["0.1", "1", "5", "+Inf"]
    assert read.samples["bnml_h_count", (("stage", "scan"),)] == buckets[-1]
    assert read.samples["bnml_h_sum", (("stage", "scan"),)] == pytest.approx(total)


def test_what_is_unknown_is_nan_and_a_family_without_samples_is_only_described() -> None:
    text = exposition([(Family("a", "gauge", "one"), [Sample(math.nan)]), (Family("b", "gauge", "two", ("c",)), [])])
    assert text == "# HELP a one\n# TYPE a gauge\na NaN\n# HELP b two\n# TYPE b gauge\n"


@pytest.mark.parametrize(
    ("value", "written"), [(0.0, "0"), (-3.0, "-3"), (1e300, "1e+300"), (math.inf, "+Inf"), (-math.inf, "-Inf")]
)
def test_numbers_are_written_as_scrapers_read_them(value: float, written: str) -> None:
    assert number(value) == written


@pytest.mark.parametrize(("name", "labels"), [("1a", ()), ("a-b", ()), ("", ()), ("a", ("b-c",)), ("a", ("b:c",))])
def test_names_the_format_does_not_know_are_refused(name: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="not a metric"):
        Family(name, "gauge", "", labels)


def test_a_sample_needs_the_labels_of_its_family() -> None:
    with pytest.raises(ValueError, match="zip"):
        exposition([(Family("a", "gauge", "", ("b",)), [Sample(1.0)])])
