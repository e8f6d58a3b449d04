"""The bundles on disk, read again only when one of them has changed."""

from __future__ import annotations

from monitoring.bundle_figures import BundleFigures, read_bundles, stamp_of
from monitoring.desk import Desk


def bundles_on_disk(desk: Desk) -> tuple[BundleFigures, ...]:
    """Give the bundles of the models folder; raises `StateError` when there is no book to keep them by."""
    folder = desk.settings.model.models_dir
    return desk.shaped("bundles", lambda: read_bundles(folder), changes_with=(str(folder), *stamp_of(folder)))
