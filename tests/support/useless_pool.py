"""A pool with one file that is no video, and catalogs that know it: nothing is owed, so Ray never starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode
from stages.ingest import list_pool, sources_table, unusable_file


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A folder with the file ``broken.mp4``."""
    folder = tmp_path / "pool"
    folder.mkdir()
    (folder / "broken.mp4").write_text("no video")
    return folder


def know_useless_files(catalog: Catalog, pool: Path) -> None:
    """Write down that no file of the pool can be used."""
    listed = list_pool(str(pool))
    error = ClipError(ErrorCode.NOT_MEDIA, "no video")
    catalog.add_sources(sources_table(unusable_file(file, listed.dataset, error) for file in listed.files))
