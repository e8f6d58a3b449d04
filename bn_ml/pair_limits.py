"""The spread, depth and correlation asked of a symbol: general limits, factors for majors and the rest, overrides.

An override of `scanner.dynamic_pair_filters.by_symbol` replaces limit and factor alike; with the filters off only the
general limits count.
"""

from __future__ import annotations

from bn_ml.domain.market import Symbol
from bn_ml.settings_market import ScannerSettings, SymbolFilter
from bn_ml.settings_tree import SettingsTree


def spread_limit(symbol: Symbol, scanner: ScannerSettings) -> float:
    """Give the widest spread of an entry in a symbol, as a fraction of the middle."""
    own, filters = _override(symbol, scanner), scanner.dynamic_pair_filters
    if own is not None and own.spread_max_pct is not None:
        return own.spread_max_pct
    if not filters.enabled:
        return scanner.spread_max_pct
    is_major = symbol.base in filters.major_bases
    return scanner.spread_max_pct * (filters.spread_factor_major if is_major else filters.spread_factor_alt)


def depth_floor(symbol: Symbol, scanner: ScannerSettings) -> float:
    """Give the least depth within 1 % of the middle of an entry in a symbol, in the quote asset."""
    own, filters = _override(symbol, scanner), scanner.dynamic_pair_filters
    if own is not None and own.depth_min_usdt is not None:
        return own.depth_min_usdt
    if not filters.enabled:
        return scanner.depth_min_usdt
    is_major = symbol.base in filters.major_bases
    return scanner.depth_min_usdt * (filters.depth_factor_major if is_major else filters.depth_factor_alt)


def correlation_limit(symbol: Symbol, settings: SettingsTree) -> float:
    """Give the highest correlation with a held symbol that an entry in `symbol` may have, at most 1."""
    base, filters = settings.risk.max_correlation, settings.scanner.dynamic_pair_filters
    own = _override(symbol, settings.scanner)
    if own is not None and own.max_correlation is not None:
        return own.max_correlation
    if not filters.enabled:
        return base
    if symbol == settings.santrade_intelligence.benchmark_symbol:
        return filters.correlation_limit_benchmark
    is_major = symbol.base in filters.major_bases
    return min(base + (filters.correlation_bonus_major if is_major else filters.correlation_penalty_alt), 1.0)


def _override(symbol: Symbol, scanner: ScannerSettings) -> SymbolFilter | None:
    filters = scanner.dynamic_pair_filters
    return filters.by_symbol.get(str(symbol)) if filters.enabled else None
