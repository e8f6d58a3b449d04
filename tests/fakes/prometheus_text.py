"""A small reader of the Prometheus text format 0.0.4, written from its description and not from the writer."""

from __future__ import annotations

from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]


@dataclass
class ReadFamily:
    """What a text says of one name: its type, its help, and its samples by full name and labels."""

    kind: str = "untyped"
    help: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def read_text(text: str) -> dict[str, ReadFamily]:
    """Read a text; raises `ValueError` for anything a scraper would refuse."""
    families: dict[str, ReadFamily] = {}
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            name, _, told = line[7:].partition(" ")
            families.setdefault(name, ReadFamily()).help = _unescaped(told, quoted=False)
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            if families.setdefault(name, ReadFamily()).samples:
                raise ValueError(f"type after samples: {name}")
            families[name].kind = kind
        elif line and not line.startswith("#"):
            _take(line, families)
    return families


def _take(line: str, families: dict[str, ReadFamily]) -> None:
    end = min(place for place in (line.find("{"), line.find(" ")) if place >= 0)
    name, rest = line[:end], line[end:]
    labels: list[tuple[str, str]] = []
    if rest.startswith("{"):
        rest = rest[1:]
        while not rest.startswith("}"):
            label, _, rest = rest.partition('="')
            stop = _closing(rest)
            labels.append((label, _unescaped(rest[:stop], quoted=True)))
            rest = rest[stop + 1 :].removeprefix(",")
        rest = rest[1:]
    family = families.get(name) or families[_base(name)]
    key = (name, tuple(labels))
    if key in family.samples:
        raise ValueError(f"said twice: {key}")
    family.samples[key] = float(rest.strip())


def _base(name: str) -> str:
    for ending in ("_bucket", "_sum", "_count"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    raise ValueError(f"a sample without its type: {name}")


def _closing(text: str) -> int:
    place = 0
    while text[place] != '"':
        place += 2 if text[place] == "\\" else 1
    return place


def _unescaped(text: str, *, quoted: bool) -> str:
    told, place = "", 0
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            place += 1
            letter = {"n": "\n", "\\": "\\", '"': '"' if quoted else '\\"'}[text[place]]
        told += letter
        place += 1
    return told
