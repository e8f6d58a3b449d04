"""`make eval-ml`: the scoreboard of learning, on made worlds and recorded bars.

Writes every figure beside its bar to `artifacts/eval/ml.json`. Pieces of work are kept under `artifacts/eval/work`, so
a stopped run goes on; `--fresh` forgets them. Exit 0 when every bar holds, 1 when one is missed or not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.bench_base import ONE_THREAD, ROOT, say

os.environ.update(ONE_THREAD)

from benchmarks.eval_ml import figures_recorded, figures_rest, figures_truth, figures_worlds
from benchmarks.eval_ml.figures import Line, Options
from benchmarks.eval_ml.running import Answer, Figure, Unit, run

LINES: tuple[Line, ...] = tuple(
    sorted(
        (*figures_truth.LINES, *figures_worlds.LINES, *figures_recorded.LINES, *figures_rest.LINES),
        key=lambda line: int(line.id[1:]),
    )
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the wanted figures and report."""
    chosen = _parser().parse_args(argv)
    data = _recorded_folder(chosen.data)
    options = Options(data, chosen.seed, chosen.seeds, chosen.quick, chosen.deep)
    wanted = [line for line in LINES if not chosen.only or line.id in chosen.only.split(",")]
    measured = [line for line in wanted if data or not line.recorded]
    started = time.perf_counter()
    plans = {line.id: line.units(options) for line in measured}
    units = [unit for plan in plans.values() for part in plan.values() for unit in part]
    answers = run(units, chosen.work, jobs=chosen.jobs, fresh=chosen.fresh)
    figures = [figure for line in wanted for figure in _figures(line, plans.get(line.id), answers)]
    _write(figures, options, chosen.out, time.perf_counter() - started)
    return _report(figures, time.perf_counter() - started)


def _figures(line: Line, plan: dict[str, Sequence[Unit]] | None, answers: dict[Unit, Answer]) -> list[Figure]:
    if plan is None:
        return [Figure(line.id, "needs recorded bars (BNML_TEST_DATA)", "not measured", "", None, 0)]
    return line.judge({name: [answers[unit] for unit in part] for name, part in plan.items()})


def _recorded_folder(given: str | None) -> str | None:
    folder = Path(given or os.environ.get("BNML_TEST_DATA", ROOT.parent / "shared" / "data"))
    return str(folder) if (folder / "spot_2022_2023").is_dir() else None


def _write(figures: Sequence[Figure], options: Options, path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {
        "options": {"seed": options.seed, "seeds": options.seeds, "quick": options.quick, "data": options.data},
        "seconds": round(seconds, 1),
        "missed": [f"{figure.id} {figure.what}" for figure in figures if figure.holds is not True],
        "figures": [asdict(figure) for figure in figures],
    }
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(body, indent=1) + "\n")
    partial.replace(path)
    say(f"written: {path}")


def _report(figures: Sequence[Figure], seconds: float) -> int:
    words = {True: "holds", False: "MISSED", None: "not measured"}
    for figure in figures:
        found, verdict = str(figure.figure), words[figure.holds]
        print(f"{figure.id:<4} {figure.what:<62} {found:>12}  {figure.bar:<15} {verdict:<12} n={figure.n}")
        if figure.note:
            print(f"       {figure.note}")
    held = sum(figure.holds is True for figure in figures)
    cpu = sum(figure.seconds for figure in figures)
    print(f"\n{held} of {len(figures)} bars hold; {seconds:.0f} s, {cpu:.0f} CPU s of work")
    return 0 if held == len(figures) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eval_ml", description=__doc__)
    parser.add_argument("--only", help="figures such as S7,S8")
    parser.add_argument("--seed", type=int, default=0, help="first seed of the made worlds (0)")
    parser.add_argument("--seeds", type=int, help="seeds of every figure; the usual number differs by figure")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--quick", action="store_true", help="two seeds, three symbols, two blocks")
    parser.add_argument("--deep", action="store_true", help="every symbol under the labels of the note too")
    parser.add_argument("--fresh", action="store_true", help="forget kept pieces of work")
    parser.add_argument("--data", help="folder of recorded bars (BNML_TEST_DATA, else ../shared/data)")
    parser.add_argument("--work", type=Path, default=ROOT / "artifacts" / "eval" / "work", help="kept pieces of work")
    parser.add_argument("--out", type=Path, default=ROOT / "artifacts" / "eval" / "ml.json", help="the scoreboard")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
