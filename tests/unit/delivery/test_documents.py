"""What the documents name exists: links, anchors, commands, targets, files, keys; both READMEs say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bn_ml.settings import Settings
from bn_ml.settings_base import walk_keys

ROOT = Path(__file__).resolve().parents[3]
TOP = ("README.md", "README.fr.md", "AGENTS.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = sorted([*(ROOT / name for name in TOP), *(ROOT / "docs").rglob("*.md")])
PROMISED = (
    "architecture.md",
    "deployment_docker.md",
    "pypi_trusted_publisher.md",
    "configuration.md",
    "reason_codes.md",
    "metrics.md",
    "data_formats.md",
    "going_live.md",
    "glossary.md",
    "acceptance.md",
    "scaling.md",
)
# Made at run time, by the reader, or told as what another program is called.
NOT_IN_THE_TREE = ("artifacts/", "models/", ".venv/", ".env", "dist/", "keys/", "/")
FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|yml|yaml|toml|json|txt|in|sh|html|js|css))`")
SCRIPTS = {
    file.name for folder in ROOT.iterdir() if (folder / "__init__.py").is_file() for file in folder.rglob("*.py")
} | {file.name for folder in ("benchmarks", "tests") for file in (ROOT / folder).rglob("*.py")}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", FENCE.sub("", text_of(path)), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower(), flags=re.UNICODE)
        found.add(plain.replace(" ", "-"))
    return found


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """Every relative link of a page: the file it leads to and the anchor."""
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(path))):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield (path.parent / file).resolve() if file else path, anchor


def commands() -> set[str]:
    return set(re.findall(r"^(bnml-[a-z0-9-]+) = ", text_of(ROOT / "pyproject.toml"), re.MULTILINE))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text_of(ROOT / "Makefile"), re.MULTILINE))


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_document_is_there(name: str) -> None:
    assert (ROOT / "docs" / name).is_file()


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert [str(file) for file, _ in links(path) if not file.exists()] == []
    lost = [f"{name_of(file)}#{anchor}" for file, anchor in links(path) if anchor and anchor not in anchors(file)]
    assert lost == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_command_named_is_installed(path: Path) -> None:
    # A hyphen, slash or dot beside it makes it a part of another name: an image, a folder, an address.
    named = set(re.findall(r"(?<![\w./:-])(bnml-[a-z0-9]+(?:-[a-z0-9]+)*)(?![\w/.-]*\.\w)", text_of(path)))
    uids = {"bnml-runtime", "bnml-trading", "bnml-execution", "bnml-models", "bnml-system"}
    assert named - commands() - uids == set()


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_make_target_named_exists(path: Path) -> None:
    text = text_of(path)
    spoken = re.findall(r"`make ([a-z][a-z-]*)", text)
    run = [word for _, block in FENCE.findall(text) for word in re.findall(r"^\s*make ([a-z][a-z-]*)", block, re.M)]
    assert {*spoken, *run} - targets() == set()


@pytest.mark.parametrize("path", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_every_file_named_is_in_the_tree(path: Path) -> None:
    missing = []
    for name in FILE.findall(text_of(path)):
        made = name.startswith(NOT_IN_THE_TREE) or "/" not in name
        if not made and not (ROOT / name).exists() and not (path.parent / name).exists():
            missing.append(name)
        if "/" not in name and name.endswith(".py") and name not in SCRIPTS:
            missing.append(name)
    assert missing == []


def test_every_key_the_handwritten_pages_name_exists() -> None:
    plain = [name for name, _ in walk_keys(Settings)]
    keys = {".".join(name.split(".")[:depth]) for name in plain for depth in range(1, name.count(".") + 2)}
    sections = "|".join(Settings.model_fields)
    unknown = {
        f"{name_of(path)}: {word}"
        for path in PAGES
        if path.name not in ("configuration.md", "CHANGELOG.md") and "decisions" not in path.parts
        for word in re.findall(rf"`((?:{sections})\.[a-z_0-9.]+)(?:: [^`]*)?`", text_of(path))
        if word.rstrip(".") not in keys
        and not re.search(r"\.(py|md|db|json|csv|log)$", word)
        # A package is called like a section: a module's name is no key.
        and not (ROOT / Path(*word.split(".")[:2])).with_suffix(".py").is_file()
    }
    assert unknown == set()


def test_no_page_speaks_of_the_machine_it_was_written_on() -> None:
    machine = re.compile(
        r"(?<![\w.])/(?:work|home|root|tmp)/|\bsession(?:s)? of the project\b|\bhelpers? (?:AL|AP|BK|DL)\b"
    )
    assert {name_of(path): machine.findall(text_of(path)) for path in PAGES if machine.search(text_of(path))} == {}


def test_both_readmes_have_the_same_headings_blocks_and_commands() -> None:
    english, french = text_of(ROOT / "README.md"), text_of(ROOT / "README.fr.md")
    levels = [re.findall(r"^(#+) ", FENCE.sub("", text), re.MULTILINE) for text in (english, french)]
    assert levels[0] == levels[1]
    assert FENCE.findall(english) == FENCE.findall(french)
    spoken = [set(re.findall(r"`((?:bnml|make)[- ][a-z-]+)", text)) for text in (english, french)]
    assert spoken[0] == spoken[1]


def test_the_glossary_has_one_french_word_for_each_english_one() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text_of(ROOT / "docs" / "glossary.md"), re.MULTILINE)[
        2:
    ]
    words = [row[0].strip() for row in rows]
    assert len(words) == len(set(words)) >= 30
    assert all(cell.strip() for row in rows for cell in row)


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    led_to = {file for file, _ in links(index)}
    assert {name_of(path) for path in (ROOT / "docs").glob("*.md") if path not in led_to and path != index} == set()
