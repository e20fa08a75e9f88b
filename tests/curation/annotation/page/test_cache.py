"""Clips are written once however many ask, the folder stays bounded and goes with the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalogs.errors import ClipError
from catalogs.media import ClipSpan
from curation.annotation.page import cache as cache_module
from curation.annotation.page.cache import ClipCache
from curation.annotation.page.places import Places
from tests.support.drawn_lot import draw_lot

Spans = list[ClipSpan]


@pytest.fixture
def spans(tmp_path: Path) -> Spans:
    catalog, _, items = draw_lot(tmp_path)
    places = Places(catalog, items)
    return [places.span(clip_id) for clip_id in items["clip_id"].to_pylist()[:5]]


@pytest.fixture
def cache() -> Iterator[ClipCache]:
    made = ClipCache()
    yield made
    made.close()


def test_a_clip_is_written_once(spans: Spans, cache: ClipCache) -> None:
    span = spans[0]
    one, other = cache.written(span), cache.written(span)
    assert one is other
    assert one.result().path.stat().st_size == one.result().size_bytes


def test_a_failure_is_tried_again_and_leaves_no_file(spans: Spans, cache: ClipCache) -> None:
    span = spans[0]
    source = Path(span.path)
    hidden = source.rename(source.with_name("hidden"))
    with pytest.raises(ClipError):
        cache.written(span).result()
    assert not list(cache._folder.iterdir())
    hidden.rename(source)
    assert cache.written(span).result().size_bytes > 0


def test_the_oldest_clips_make_room(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_NEVER_EVICTED", 2)
    cache = ClipCache(max_bytes=1)
    paths = [cache.written(span).result().path for span in spans]
    assert [path.exists() for path in paths] == [False, False, False, True, True]
    assert cache.written(spans[0]).result().path.exists()  # written anew
    cache.close()


def test_closing_removes_the_folder(spans: Spans, cache: ClipCache) -> None:
    folder = cache.written(spans[0]).result().path.parent
    cache.close()
    assert not folder.exists()
