"""The fixed symbols whose bars make the market columns, the same for the trainer and the bot."""

from __future__ import annotations

from collections.abc import Collection

from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings


def basket(settings: Settings, listed: Collection[Symbol] | None = None) -> tuple[Symbol, ...]:
    """Give the fixed symbols of the market columns: the configured ones without the excluded, and the benchmark.

    Where `listed` is given, symbols the market does not know are left out: they can never have a bar, so waiting for
    them would keep every other symbol from trading. The benchmark always stays: one may leave it untraded, but the
    columns are measured against it.
    """
    excluded = {Symbol(text) for text in settings.universe.exclude}
    benchmark = Symbol(settings.model.drift.benchmark_symbol)
    configured = {Symbol(text) for text in settings.universe.training_symbols}
    known = configured if listed is None else configured.intersection(listed)
    return tuple(sorted({*(known - excluded), benchmark}))
