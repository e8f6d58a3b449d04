"""How a search is remembered: written into a bundle's metadata, read back, and reused while it is young."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue

from bn_ml.domain.market import from_iso, from_ms, iso, to_ms
from bn_ml.settings import ModelSettings
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.models import Parameters, Recipe
from ml_engine.overfitting import UNTUNED, Luck
from ml_engine.tuning_records import COMPLETE, FAILED, PRUNED, Decision, Tuned
from ml_engine.tuning_space import SPACE

REUSE_DAYS = 7
_DAY_MS = 86_400_000


def search_key(settings: ModelSettings, plan: Recipe) -> str:
    """Give a name for what a search depends on besides the bars: another name makes a winner unfit for reuse."""
    parts = {"hpo", "rf", "xgb", "lgb", "labeling", "features", "multi_timeframe", "validation", "random_state"}
    tree = settings.model_dump(mode="json", include=parts)
    # How the work is spread changes nothing that is found.
    del tree["hpo"]["parallel"]
    text = json.dumps({"recipe": plan.name, **tree}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_reusable(previous: Tuned, *, at: int, key: str) -> bool:
    """Whether a search still serves at an instant (ms): made for the same settings, and less than a week ago."""
    return previous.key == key and 0 <= at - previous.searched_at < REUSE_DAYS * _DAY_MS


def reused(previous: Tuned) -> Tuned:
    """Give the same findings, marked as taken over."""
    return replace(previous, reused=True, trials=())


def luck_of(tuned: Tuned | None) -> Luck:
    """Give how many trials a forecast was chosen from and the variance of their Sharpe ratios per trade.

    Trials that hardly traded give no variance.
    """
    return UNTUNED if tuned is None else Luck(max(tuned.count, 1), tuned.sharpe_variance or None)


def hpo_part(tuned: Tuned | None, note: str) -> dict[str, JsonValue]:
    """Give the `hpo` part of the metadata; `note` says why there was no search."""
    if tuned is None:
        return {"trials": 0, "best_score": None, "note": note}
    found: dict[str, JsonValue] = {name: dict(values) for name, values in tuned.parameters.items()}
    return {
        "trials": tuned.count,
        "best_score": _number(tuned.best_score),
        "backend": tuned.backend,
        "objective": tuned.objective,
        "searched_at": iso(from_ms(tuned.searched_at)),
        "reused": tuned.reused,
        "key": tuned.key,
        "found": found,
        "decision": {name: _decision(decision) for name, decision in tuned.decisions.items()},
        "pbo": dict(tuned.pbo),
        "scores": _scores(tuned),
        "states": _states(tuned),
    }


def trials_part(tuned: Tuned | None) -> dict[str, JsonValue]:
    """Give the `trials` part of the metadata: one untuned forecast counts as one trial."""
    if tuned is None:
        return {"count": 1, "score_variance": 0.0, "sharpe_variance": 0.0}
    return {
        "count": max(tuned.count, 1),
        "score_variance": tuned.score_variance,
        "sharpe_variance": tuned.sharpe_variance,
    }


def previous_search(metadata: BundleMetadata) -> Tuned | None:
    """Read the search a bundle remembers; None when there was none or it cannot be understood."""
    hpo, trials = metadata.hpo, metadata.trials
    try:
        return Tuned(
            backend=str(hpo["backend"]),
            objective=str(hpo["objective"]),
            parameters=_parameters(hpo["found"]),
            decisions={name: _read_decision(name, part) for name, part in _mapping(hpo["decision"]).items()},
            count=int(_real(trials["count"])),
            score_variance=_real(trials["score_variance"]),
            sharpe_variance=_real(trials["sharpe_variance"]),
            best_score=math.nan if hpo["best_score"] is None else _real(hpo["best_score"]),
            pbo={name: _real(value) for name, value in _mapping(hpo["pbo"]).items()},
            searched_at=to_ms(from_iso(str(hpo["searched_at"]))),
            key=str(hpo["key"]),
        )
    except (KeyError, ValueError):
        return None


def _decision(decision: Decision) -> JsonValue:
    return {
        "changed": decision.changed,
        "reason": decision.reason,
        "gain": decision.gain,
        "standard_error": decision.standard_error,
        "standard_errors": round(decision.errors, 3),
        "splits": decision.splits,
    }


def _read_decision(member: str, part: JsonValue) -> Decision:
    found = _mapping(part)
    return Decision(
        member,
        bool(found["changed"]),
        str(found["reason"]),
        _real(found["gain"]),
        _real(found["standard_error"]),
        int(_real(found["splits"])),
    )


def _scores(tuned: Tuned) -> dict[str, JsonValue]:
    """Give the finished trials' scores by member, in the order they were tried."""
    members = sorted({trial.member for trial in tuned.trials})
    return {
        name: [round(trial.score, 6) for trial in tuned.trials if trial.member == name and trial.state == COMPLETE]
        for name in members
    }


def _states(tuned: Tuned) -> dict[str, JsonValue]:
    return {state: sum(trial.state == state for trial in tuned.trials) for state in (COMPLETE, PRUNED, FAILED)}


def _parameters(part: JsonValue) -> dict[str, Parameters]:
    found: dict[str, Parameters] = {}
    for member, values in _mapping(part).items():
        known = {name: value for name, value in _mapping(values).items() if name in SPACE[member]}
        found[member] = {name: value for name, value in known.items() if isinstance(value, (int, float, str))}
    return found


def _mapping(part: JsonValue) -> Mapping[str, JsonValue]:
    if not isinstance(part, Mapping):
        raise ValueError(f"not an object: {part!r}")
    return part


def _real(value: JsonValue) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"not a number: {value!r}")
    return float(value)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
