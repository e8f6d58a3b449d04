from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proof_builders import BTC, START, a_book, a_fill, a_trade

from bn_ml.domain.positions import Position
from bn_ml.settings import Settings
from evidence.book import Book
from evidence.proof import Given, prove
from evidence.report_data import Extras, report_data
from evidence.report_html import report_html
from evidence.report_style import STYLE
from evidence.report_trades import Excursion
from evidence.report_words import escape, figure, money, percent, price
from evidence.run_card import LeftOut, RunCard
from tests.fakes.bar_builders import some_bars

HOSTILE = "<script>alert('x')</script>\"&\x00\ud800"
VOID = {"meta", "br", "path"}


class Reader(HTMLParser):
    """Checks nesting, and keeps figures, texts, tags and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.figures: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._figure: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "data":
            self._figure = dict(attrs)["value"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._figure is not None:
            self.figures.append((self._figure, data))
            self._figure = None


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.stack == []
    return reader


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def a_run(book: Book, **changes: object) -> RunCard:
    run = RunCard("backtest", book.begin, book.end, "USDC", (BTC,), "trained weekly", 0.001, 0.0005, "c" * 64)
    return replace(run, **changes)  # type: ignore[arg-type]


def a_busy_book(trades: int, cycles: int = 0) -> Book:
    step = timedelta(minutes=45)
    closed = [a_trade(str((-1) ** k * (k % 40 + 1) / 20), name=f"p-{k}", at=START + k * step) for k in range(trades)]
    count = cycles or trades
    equities = [str(1000 + Decimal(k % 91) / 7) for k in range(count + 1)]
    fills = [a_fill(client_id=f"c-{k}", at=START + k * step) for k in range(trades)]
    book = a_book(equities, closed=closed, fills=fills, exposure=(0.1,) * count, step=step)
    return replace(book, funnel={"proba_below_min": 70, "no_skill": 3})


@pytest.fixture(scope="module")
def proven() -> dict[str, object]:
    book = a_busy_book(120)
    bars = {BTC: some_bars(1500)}
    proof = prove(book, bars, Settings(), seed=1, given=Given((BTC,), runs=20)).as_dict()
    extras = Extras(excursions={"p-1": Excursion(0.01, 0.02)})
    return report_data(book, a_run(book, seed=7, assumptions=("An assumption.",)), proof, extras)


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(proven: dict[str, object]) -> None:
    page = read(report_html(proven))
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form"}
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "url(" not in report_html(proven)
    assert "@import" not in report_html(proven)
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")


def test_every_link_leads_to_a_section(proven: dict[str, object]) -> None:
    page = read(report_html(proven))
    places = {value for name, value in page.attributes if name == "id"}
    assert {value[1:] for name, value in page.attributes if name == "href"} <= places


def test_every_figure_shown_is_in_the_twin(proven: dict[str, object]) -> None:
    known = set(numbers(json.loads(json.dumps(proven))))
    shown = read(report_html(proven)).figures
    assert len(shown) > 150
    assert [value for value, _ in shown if float(value) not in known] == []


def test_the_headline_is_shown_as_the_twin_has_it(proven: dict[str, object]) -> None:
    head = proven["headline"]
    assert isinstance(head, dict)
    shown = dict(read(report_html(proven)).figures)
    assert shown[repr(head["win_rate"])] == f"{100 * head['win_rate']:.1f} %"
    assert shown[repr(float(head["trade_count"]))] == "120"


def test_the_verdict_stands_before_everything_else(proven: dict[str, object]) -> None:
    page = report_html(proven)
    said = proven["verdict"]
    assert isinstance(said, dict)
    assert page.index(escape(said["sentence"])) < page.index('id="run"') < page.index('id="headline"')


def test_every_section_of_a_report_is_there(proven: dict[str, object]) -> None:
    page = report_html(proven)
    names = [
        "verdict",
        "run",
        "headline",
        "equity",
        "costs",
        "months",
        "distribution",
        "rolling",
        "trades",
        "calibration",
        "proof",
        "funnel",
        "assumptions",
    ]
    places = [page.index(f'<section id="{name}"') for name in names]
    assert places == sorted(places)


def test_the_same_twin_gives_the_same_bytes(proven: dict[str, object]) -> None:
    again = json.loads(json.dumps(proven))
    assert report_html(again) == report_html(proven)


def test_hostile_text_stays_text() -> None:
    held = replace(a_trade("2"), bundle_version=None)
    book = replace(a_busy_book(3), closed=(held,), funnel={HOSTILE: 3}, halts=(HOSTILE,), data_source=HOSTILE)
    run = a_run(book, models=HOSTILE, left_out=(LeftOut(HOSTILE, HOSTILE),), assumptions=(HOSTILE,), symbols=(HOSTILE,))
    page = report_html(report_data(book, run, None, Extras(no_proof=HOSTILE)))
    reader = read(page)
    assert "script" not in reader.tags
    assert any("<script>alert('x')</script>\"&??" in word for word in reader.words)
    assert page.encode("utf-8")


def test_invented_prices_are_shouted() -> None:
    book = replace(a_busy_book(3), data_source="synthetic")
    assert '<p class="banner">Prices are invented' in report_html(report_data(book, a_run(book), None))


@pytest.mark.parametrize("trades", [0, 1, 2])
def test_a_book_with_hardly_a_trade_has_a_page(trades: int) -> None:
    book = a_busy_book(trades, cycles=3)
    reader = read(report_html(report_data(book, a_run(book), None)))
    assert "Nothing was left out." in reader.words
    assert not any("nan" in word.lower().split() for word in reader.words)


def test_five_thousand_trades_fit_in_size_and_time() -> None:
    book = a_busy_book(5_000, cycles=17_000)
    begin = time.perf_counter()
    page = report_html(report_data(book, a_run(book), None))
    assert time.perf_counter() - begin < 5
    assert len(page.encode()) < 3_000_000
    assert page.count("<tr>") > 5_000


def test_long_parts_are_folded_and_charts_have_their_sentence(proven: dict[str, object]) -> None:
    page = report_html(proven)
    assert page.count("<details>") >= 4
    assert page.count("<svg ") == page.count("<figure ") == page.count("<figcaption>")
    assert all(len(label) > 40 for label in re.findall(r'<figure aria-label="([^"]*)"', page))


def test_statistics_without_a_section_of_their_own_are_shown_plainly(proven: dict[str, object]) -> None:
    proof = proven["proof"]
    assert isinstance(proof, dict)
    page = report_html({**proven, "proof": {**proof, "tail_risk": {"loss_1_in_100": 0.0321}}})
    assert "<h3>Tail risk</h3>" in page
    assert ("0.0321", "0.0321") in read(page).figures


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    full = digits if len(digits) == 6 else "".join(letter * 2 for letter in digits)
    parts = [int(full[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["light", "dark", "print"])
@pytest.mark.parametrize("name", ["text", "soft", "gain", "loss", "a"])
@pytest.mark.parametrize("ground", ["back", "card"])
def test_text_stands_out_from_its_ground(place: int, name: str, ground: str) -> None:
    theme = re.findall(r":root\{([^}]*)\}", STYLE.replace("\n", ""))[place]
    colours = dict(re.findall(r"--(\w+):(#\w+)", theme))
    light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@given(st.text())
def test_escaped_text_comes_back_without_a_tag(text: str) -> None:
    reader = read(f'<p title="{escape(text)}">{escape(text)}</p>')
    assert reader.tags == {"p"}


@given(st.floats(min_value=-1e9, max_value=1e9))
def test_a_figure_keeps_its_exact_value(value: float) -> None:
    ((exact, _),) = read(figure(value, percent)).figures
    assert float(exact) == value


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.0), "0.0 %"),
        (percent(0.12345), "12.3 %"),
        (percent(-0.00012), "-0.012 %"),
        (money(0.0), "0.00"),
        (money(-0.0004), "-0.0004"),
        (price(0.00001234), "0.00001234"),
        (price(26123.45), "26123.45"),
    ],
)
def test_digits_are_sensible(shown: str, expected: str) -> None:
    assert shown == expected


def test_positions_of_any_shape_are_drawn() -> None:
    odd = replace(a_trade(), legs=(), closed_at=None, close_reason=None, cost_quote=Decimal(0))
    assert isinstance(odd, Position)
    book = replace(a_busy_book(3), closed=(odd,))
    read(report_html(report_data(book, a_run(book), None)))
