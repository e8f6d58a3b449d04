"""Whether the configuration and the `.env` file can be used as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from bn_ml.env import ENV_FILE, loose_permissions
from scripts.doctor_findings import Check, Diagnosis, Status, bad, doubtful, good, told
from scripts.doctor_situation import Situation

MOST_LINES = 12


def checks(situation: Situation) -> list[Check]:
    """Give what is said of the configuration."""
    return [
        Check("configuration", partial(configuration, situation)),
        Check(".env", partial(env_file, situation)),
    ]


def configuration(situation: Situation) -> Iterator[Diagnosis]:
    """Tell every problem and every warning, one line each."""
    loaded = situation.loaded
    where = str(loaded.path) if loaded.path else "no file, defaults"
    fix = f"correct it in {loaded.path}" if loaded.path else "correct it"
    problems, warnings = _some(situation.problems), _some(loaded.warnings)
    for text in problems:
        yield told("configuration", Status.FAIL, text, fix)
    for text in warnings:
        yield told("configuration", Status.WARN, text, fix)
    hidden = len(situation.problems) - len(problems) + len(loaded.warnings) - len(warnings)
    if hidden:
        yield doubtful("configuration", f"{hidden} more", "correct those above and look again")
    if not situation.problems and not loaded.warnings:
        yield good("configuration", f"{where}, hash {loaded.hash[:12]}")


def env_file(situation: Situation) -> Iterator[Diagnosis]:
    """Tell whether others may read the file of the secrets."""
    path = situation.folder / ENV_FILE
    loose = loose_permissions(path)
    if loose is not None:
        seen, _, fix = loose.partition("; run: ")
        yield Diagnosis(".env", situation.in_live, f"{seen}, others may read it", f"run: {fix}")
    elif path.is_symlink() and not path.exists():
        yield bad(".env", f"{path} leads nowhere", "mend the link or remove it")
    else:
        yield good(".env", "only its owner may read it" if path.is_file() else "none, variables alone count")


def _some(texts: Sequence[str]) -> Sequence[str]:
    """Leave out what would push everything else off the screen."""
    return texts if len(texts) <= MOST_LINES else texts[: MOST_LINES - 1]
