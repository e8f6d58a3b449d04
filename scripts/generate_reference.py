"""Write the files generated from the settings models and the reason codes, or check that they are up to date."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def generated() -> Mapping[Path, str]:
    """Give the text of every generated file by its path below the repository root."""
    from bn_ml.settings_reference import bot_yaml, configuration_md, env_example
    from scripts.reason_words import reason_codes_md

    return {
        Path("configs/bot.yaml"): bot_yaml(),
        Path(".env.example"): env_example(),
        Path("docs/configuration.md"): configuration_md(),
        Path("docs/reason_codes.md"): reason_codes_md(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` name those that differ; 1 when any does."""
    parser = argparse.ArgumentParser(prog="generate_reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when a file differs")
    checking = parser.parse_args(argv).check
    different = [name for name, text in generated().items() if _present(name) != text]
    for name in different:
        print(name)
        if not checking:
            _write(ROOT / name, generated()[name])
    return 1 if checking and different else 0


def _present(name: Path) -> str | None:
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
