"""Charts as inline SVG: lines over time, bars, and a waterfall. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bn_ml.domain.market import from_ms
from evidence.report_words import escape

WIDTH, HEIGHT = 860, 240
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 12, 28
Label = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Line:
    """A named line; `points` are (ms since 1970, value) in time order. `tone` is a class of the style sheet."""

    name: str
    points: Sequence[tuple[int, float]]
    tone: str = "line-a"
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A named bar from `base` to `base + value`. `mark` draws a tick at another value; `tone` as in `Line`."""

    name: str
    value: float
    base: float = 0.0
    tone: str = ""
    mark: float | None = None


@dataclass(frozen=True, slots=True)
class _Axis:
    """A straight scale from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(lines: Sequence[Line], label: Label, *, zero: bool = False, height: int = HEIGHT) -> str:
    """Draw lines over time; `zero` keeps 0 in sight. Gives an empty text without two points."""
    drawn = [line for line in lines if line.points]
    values = [value for line in drawn for _, value in line.points] + ([0.0] if zero else [])
    times = [at for line in drawn for at, _ in line.points]
    if len(times) < 2 or min(times) == max(times):
        return ""
    across = _Axis(min(times), max(times), LEFT, WIDTH - RIGHT)
    low, high, ticks = _scale(values)
    up = _Axis(low, high, height - BOTTOM, TOP)
    parts = [_rules(ticks, up, label), _dates(across, height)]
    parts += [_path(line, across, up) for line in drawn]
    if len(drawn) > 1:
        parts.append(_legend(drawn))
    return _svg("".join(parts), height)


def bar_chart(bars: Sequence[Bar], label: Label, *, height: int = HEIGHT, zero: bool = True) -> str:
    """Draw bars side by side, with their value on hover; names are thinned when they do not fit."""
    if not bars:
        return ""
    ends = [bar.base + bar.value for bar in bars] + [bar.base for bar in bars] + ([0.0] if zero else [])
    low, high, ticks = _scale([*ends, *(bar.mark for bar in bars if bar.mark is not None)])
    up = _Axis(low, high, height - BOTTOM, TOP)
    room = (WIDTH - LEFT - RIGHT) / len(bars)
    longest = max(len(bar.name) for bar in bars)
    step = max(1, math.ceil((longest * 6.2 + 8) / room))
    parts = [_rules(ticks, up, label)]
    for place, bar in enumerate(bars):
        parts.append(_bar(bar, LEFT + place * room, room, up, label))
        if place % step == 0:
            parts.append(_text(LEFT + (place + 0.5) * room, height - 9, bar.name, "middle"))
    return _svg("".join(parts), height)


def _svg(content: str, height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" aria-hidden="true" focusable="false">{content}</svg>'


def _scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    low, high = min(values), max(values)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1.0):
        low, high = low - max(abs(low) * 0.01, 1e-6), high + max(abs(high) * 0.01, 1e-6)
    step = _nice((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [place * step for place in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _nice(step: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(step))
    return next((power * times for times in (1, 2, 2.5, 5) if step <= power * times * 1.0000001), power * 10)


def _rules(ticks: Sequence[float], up: _Axis, label: Label) -> str:
    parts = []
    for tick in ticks:
        tone = "zero" if tick == 0 else "rule"
        parts.append(f'<path class="{tone}" d="M{LEFT} {up(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 6, up(tick) + 4, label(tick), "end"))
    return "".join(parts)


def _dates(across: _Axis, height: int, wanted: int = 6) -> str:
    places = [across.low + (across.high - across.low) * place / (wanted - 1) for place in range(wanted)]
    within_a_day = across.high - across.low < 2 * 86_400_000
    texts = [_date(from_ms(int(place)), within_a_day=within_a_day) for place in places]
    anchors = ["start", *["middle"] * (wanted - 2), "end"]
    return "".join(
        _text(across(place), height - 9, text, anchor)
        for place, text, anchor in zip(places, texts, anchors, strict=True)
    )


def _date(at: datetime, *, within_a_day: bool) -> str:
    return at.strftime("%m-%d %H:%M" if within_a_day else "%Y-%m-%d")


def _path(line: Line, across: _Axis, up: _Axis) -> str:
    steps = "L".join(f"{across(at):.1f} {up(value):.1f}" for at, value in line.points)
    drawn = f'<path class="{line.tone}" d="M{steps}"/>'
    if not line.filled:
        return drawn
    floor = up(min(max(0.0, up.low), up.high))
    first, last = across(line.points[0][0]), across(line.points[-1][0])
    return f'<path class="{line.tone}-area" d="M{first:.1f} {floor:.1f}L{steps}L{last:.1f} {floor:.1f}Z"/>{drawn}'


def _legend(lines: Sequence[Line]) -> str:
    parts, left = [], LEFT + 8.0
    for line in lines:
        parts.append(f'<path class="{line.tone}" d="M{left:.0f} {TOP + 6}h18"/>')
        parts.append(_text(left + 24, TOP + 10, line.name, "start"))
        left += 40 + 6.6 * len(line.name)
    return "".join(parts)


def _bar(bar: Bar, left: float, room: float, up: _Axis, label: Label) -> str:
    top, foot = sorted((up(bar.base), up(bar.base + bar.value)))
    tone = bar.tone or ("bar-gain" if bar.value >= 0 else "bar-loss")
    gap = min(room * 0.15, 6)
    told = f"<title>{escape(bar.name)}: {escape(label(bar.value))}</title>"
    shape = f"M{left + gap:.1f} {top:.1f}h{room - 2 * gap:.1f}V{max(foot, top + 0.5):.1f}h{-(room - 2 * gap):.1f}Z"
    drawn = f'<path class="{tone}" d="{shape}">{told}</path>'
    if bar.mark is None:
        return drawn
    return f'{drawn}<path class="mark" d="M{left + gap / 2:.1f} {up(bar.mark):.1f}h{room - gap:.1f}"/>'


def _text(across: float, down: float, text: str, anchor: str) -> str:
    return f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
