"""A clip is found where it lies now, and an error tells when it is not there."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from catalogs.errors import ClipError, ErrorCode
from curation.annotation.page.lot_clips import LotClips
from tests.support.drawn_lot import CLIPS, SOURCE, draw_lot, source_row


def refusal(lot_clips: LotClips, clip_id: str) -> ErrorCode:
    with pytest.raises(ClipError) as error:
        lot_clips.span(clip_id)
    assert "/" not in error.value.detail  # no folder is named
    return error.value.code


def test_the_span_has_the_pts_that_its_id_was_made_of(tmp_path: Path) -> None:
    catalog, _, items = draw_lot(tmp_path)
    span = LotClips(catalog, items).span(items["clip_id"][2].as_py())
    assert (span.start_s, span.end_s) == (2.0, 3.0)
    assert span.start_pts * span.time_base == 2
    assert span.end_pts * span.time_base == 3


def test_a_file_that_moved_is_found_where_it_was_seen_last(tmp_path: Path) -> None:
    catalog, _, items = draw_lot(tmp_path)
    new = Path(items["path"][0].as_py()).rename(tmp_path / "moved.mp4")
    row = source_row(SOURCE, new, new.stat().st_size)
    catalog.add_sources(pa.Table.from_pylist([row | {"ingested_at": row["ingested_at"].replace(year=2027)}]))
    assert LotClips(catalog, items).span(items["clip_id"][0].as_py()).path == str(new)


def test_a_file_that_has_gone_is_said(tmp_path: Path) -> None:
    catalog, _, items = draw_lot(tmp_path)
    assert refusal(LotClips(catalog, items), items["clip_id"][CLIPS - 1].as_py()) is ErrorCode.NOT_FOUND


def test_a_file_of_another_size_is_another_file(tmp_path: Path) -> None:
    catalog, _, items = draw_lot(tmp_path)
    path = Path(items["path"][0].as_py())
    path.write_bytes(path.read_bytes() + b"more")
    assert refusal(LotClips(catalog, items), items["clip_id"][0].as_py()) is ErrorCode.CHANGED


def test_a_file_that_cannot_be_read_is_said_without_its_folder(tmp_path: Path) -> None:
    catalog, _, items = draw_lot(tmp_path)
    path = Path(items["path"][0].as_py())
    path.write_bytes(b"x" * path.stat().st_size)
    row = source_row(SOURCE, path, path.stat().st_size)  # as if these bytes had always been the source's
    catalog.add_sources(pa.Table.from_pylist([row | {"ingested_at": row["ingested_at"].replace(year=2027)}]))
    assert refusal(LotClips(catalog, items), items["clip_id"][0].as_py()) is ErrorCode.NOT_MEDIA


def test_a_file_with_another_time_base_is_another_file(tmp_path: Path) -> None:
    catalog, _, items = draw_lot(tmp_path)
    shifted = items.set_column(items.column_names.index("start_s"), "start_s", pa.array([0.123] * CLIPS))
    assert refusal(LotClips(catalog, shifted), items["clip_id"][0].as_py()) is ErrorCode.CHANGED


def test_a_pairs_second_clip_is_found_too(tmp_path: Path) -> None:
    catalog, _, items = draw_lot(tmp_path, mode="pair")
    first_only = items.slice(0, 1)
    span = LotClips(catalog, first_only).span(first_only["other_clip_id"][0].as_py())
    assert (span.start_s, span.end_s) == (1.0, 2.0)
