"""This module finds where the clips of a lot lie now.

A file may have moved, gone or changed since the lot was drawn.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode
from catalogs.media import ClipSpan, MediaLimits
from catalogs.whereabouts import Whereabouts, span_by_times
from curation.annotation.records import PLACE

_SAID = {
    ErrorCode.NOT_FOUND: "the file is not there any more",
    ErrorCode.CHANGED: "the file has changed: it is another one than when it was catalogued",
}
LIMITS = MediaLimits(max_seconds=120.0)  #: an annotator does not wait longer for one clip


class LotClips:
    """Finds a lot's clips. Reads the catalog once, when it is made; opens a file for each clip that is asked for."""

    def __init__(self, catalog: Catalog, items: pa.Table) -> None:
        self._clips: dict[str, dict[str, Any]] = {
            item[f"{prefix}clip_id"]: {name: item[f"{prefix}{name}"] for name in PLACE}
            for item in items.to_pylist()
            for prefix in ("", "other_")
            if item[f"{prefix}clip_id"] is not None
        }
        self._whereabouts = Whereabouts(catalog)

    def span(self, wanted: str) -> ClipSpan:
        """Find where a clip lies now, by its id: the file must be able to have frames exactly where the id says.

        Raises:
            ClipError: not_found, changed, and what opening raises. No folder is named in it.
        """
        row = self._clips[wanted]
        path = row["path"]
        try:
            file = self._whereabouts.file_of(row["source_id"], path)
            path = file.path
            return span_by_times(file, row, LIMITS)
        except ClipError as error:
            raise for_the_page(error, path) from error

    def troubles(self) -> Counter[str]:
        """Ask the storage about the files; count the clips that cannot be shown any more, by error code."""
        troubles = self._whereabouts.troubles({row["source_id"]: row["path"] for row in self._clips.values()})
        found = (troubles.get(row["source_id"]) for row in self._clips.values())
        return Counter(error.code.value for error in found if error is not None)


def for_the_page(error: ClipError, path: str) -> ClipError:
    """Return the error as annotators may read it: no folder is named, and where it says enough no file either."""
    detail = _SAID.get(error.code) or error.detail.replace(path, path.rsplit("/", 1)[-1])
    return ClipError(error.code, detail)
