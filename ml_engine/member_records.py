"""What a bundle tells about its members beside their votes: their kinds, numbers and windows, and test questions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_manager.windows import Windows
from ml_engine.bundle_metadata import BundleMetadata, LogisticPart, SequencePart
from ml_engine.bundle_publishing import Asked, choose_vector_rows, choose_vector_windows
from ml_engine.inference import LOGISTIC, CompactEnsemble
from ml_engine.metrics import CLASS_NAMES
from ml_engine.models import Member
from ml_engine.sequence_model import FittedSequence
from ml_engine.trainer import Trained

_BORDER_ROWS = 64
# Rows near a threshold are looked for among about so many: a sequence member answers a few hundred a second.
_SEARCHED_ROWS = 1_000


def kinds(members: Mapping[str, Member]) -> dict[str, str]:
    """Give what each member is: its library's class, a sequence member by its backend."""
    return {
        name: member.backend
        if isinstance(member, FittedSequence)
        else "LogisticRegression"
        if name == LOGISTIC
        else type(member).__name__
        for name, member in members.items()
    }


def logistic_part(ensemble: CompactEnsemble, columns: tuple[str, ...]) -> LogisticPart | None:
    """Give the anchor's numbers by name; `columns` are those of the ensemble."""
    member = ensemble.linear
    if member is None:
        return None
    flags = tuple(f"{columns[place]} is unknown" for place in member.inputs.flagged)
    return LogisticPart(
        inputs=(*columns, *flags),
        median=_numbers(member.inputs.median),
        centre=_numbers(member.inputs.centre),
        scale=_numbers(member.inputs.scale),
        coefficients={name: _numbers(own) for name, own in zip(CLASS_NAMES, member.coefficients.T, strict=True)},
        intercept=dict(zip(CLASS_NAMES, _numbers(member.intercept), strict=True)),
    )


def sequence_part(trained: Trained, *, wanted: bool) -> SequencePart:
    """Describe the sequence member, or say why there is none although it is wanted."""
    member, columns = trained.ensemble.sequence, trained.columns
    if member is None:
        return SequencePart(reason=_why_without(trained) if wanted else "")
    return SequencePart(
        enabled=True,
        sequence_length=member.length,
        backend=member.backend,
        columns=tuple(columns[place] for place in member.columns),
    )


def questions(trained: Trained, metadata: BundleMetadata, *, seed: int) -> Asked:
    """Choose the rows and windows the test vectors ask about."""
    data, train = trained.sample.data, trained.blocks.train.rows
    report = trained.blocks.report.rows[:: max(1, len(trained.blocks.report) // _SEARCHED_ROWS)]
    columns = np.array(trained.shipped.columns)
    optional = np.isin(np.array(trained.columns), metadata.optional_columns)
    windows = None if trained.ensemble.sequence is None or data.windows is None else data.windows.pick(columns)
    rows = data.values[:, columns]
    said = trained.vote.combine(trained.shipped.on(data, report))
    distance = np.abs(said[:, 2] - metadata.decision_params.min_buy_proba)
    borders = rows[report][np.sort(np.argsort(distance, kind="stable")[:_BORDER_ROWS])]
    chosen = choose_vector_rows(rows[train], optional=optional, seed=seed, borders=borders)
    return Asked(chosen, _windows_asked(trained, windows, optional, seed))


def _why_without(trained: Trained) -> str:
    if trained.sample.windows_note:
        return trained.sample.windows_note
    if trained.lessons is not None and trained.lessons.donors:
        return "the members are grown on rows of several symbols, which have no windows"
    return f"the {trained.recipe} recipe grows none"


def _windows_asked(
    trained: Trained, windows: Windows | None, optional: np.ndarray[tuple[int], np.dtype[np.bool_]], seed: int
) -> Windows | None:
    member = trained.ensemble.sequence
    if member is None or windows is None:
        return None
    own = windows.part(trained.blocks.train.rows).pick(member.columns)
    return choose_vector_windows(own, optional=optional[member.columns], seed=seed)


def _numbers(array: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, ...]:
    return tuple(float(number) for number in array)
