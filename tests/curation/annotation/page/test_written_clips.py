"""Clips are written once however many ask, the folder stays bounded and goes with the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalogs.errors import ClipError
from catalogs.media import ClipSpan
from curation.annotation.page import written_clips
from curation.annotation.page.lot_clips import LotClips
from curation.annotation.page.written_clips import WrittenClips
from tests.support.drawn_lot import draw_lot

Spans = list[ClipSpan]


@pytest.fixture
def spans(tmp_path: Path) -> Spans:
    catalog, _, items = draw_lot(tmp_path)
    lot_clips = LotClips(catalog, items)
    return [lot_clips.span(clip_id) for clip_id in items["clip_id"].to_pylist()[:5]]


@pytest.fixture
def clips() -> Iterator[WrittenClips]:
    made = WrittenClips()
    yield made
    made.close()


def test_a_clip_is_written_once(spans: Spans, clips: WrittenClips) -> None:
    span = spans[0]
    first, again = clips.written(span), clips.written(span)
    assert first is again
    assert first.result().path.stat().st_size == first.result().size_bytes


def test_a_failure_is_tried_again_and_leaves_no_file(spans: Spans, clips: WrittenClips) -> None:
    span = spans[0]
    source = Path(span.path)
    hidden = source.rename(source.with_name("hidden"))
    with pytest.raises(ClipError):
        clips.written(span).result()
    assert not list(clips._folder.iterdir())
    hidden.rename(source)
    assert clips.written(span).result().size_bytes > 0


def test_the_oldest_clips_make_room(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_clips, "_NEVER_REMOVED", 2)
    clips = WrittenClips(max_bytes=1)
    paths = [clips.written(span).result().path for span in spans]
    assert [path.exists() for path in paths] == [False, False, False, True, True]
    assert clips.written(spans[0]).result().path.exists()  # written anew
    clips.close()


def test_closing_removes_the_folder(spans: Spans, clips: WrittenClips) -> None:
    folder = clips.written(spans[0]).result().path.parent
    clips.close()
    assert not folder.exists()
