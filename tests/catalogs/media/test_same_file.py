"""A source is measured only while its file holds the bytes that were catalogued."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from catalogs import ids
from catalogs.errors import ClipError, ErrorCode
from catalogs.filesystems import open_filesystem, revision_of
from catalogs.media import ClipMedia, ClipSpan, MediaLimits, same_file
from tests.support.s3_server import S3
from tests.support.written_media import grey_ramp, whole_span, write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", grey_ramp(20))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_video(tmp_path / "other.mp4", grey_ramp(30))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the paths whose bytes were hashed again."""
    paths: list[str] = []
    real = same_file.source_id
    monkeypatch.setattr(same_file, "source_id", lambda file, size: paths.append(str(file)) or real(file, size))
    same_file._id_of.cache_clear()
    return paths


def catalogued(path: Path, url: str | None = None) -> ClipSpan:
    """Make a span of a whole file, as a worker gets it after an ingest."""
    url = url or str(path)
    filesystem, name = open_filesystem(url)
    info = filesystem.info(name)
    with path.open("rb") as file:
        source = ids.source_id(file, info["size"])
    stamp = ids.content_stamp(info["size"], revision_of(info))
    return whole_span(path)._replace(source_id=source, path=url, stamp=stamp)


def code_of(read: Callable[[], object]) -> ErrorCode:
    with pytest.raises(ClipError) as failure:
        read()
    return failure.value.code


@pytest.mark.parametrize(("size", "revision"), [(0, ""), (1, "1796035087.2494676"), (5 << 40, '"ETag-é"')])
def test_a_stamp_is_what_sql_computes_for_owed_clips(size: int, revision: str) -> None:
    sql = "SELECT md5_number_lower(?::BIGINT || ':' || ?)"
    assert duckdb.execute(sql, [size, revision]).fetchall() == [(ids.content_stamp(size, revision),)]


def test_an_untouched_file_is_read_without_hashing_it(video: Path, hashed: list[str]) -> None:
    clip = ClipMedia(catalogued(video), dense_wanted=False)
    assert len(clip.sample()) == 5
    assert clip.sound is None
    assert hashed == []


def test_a_touched_file_is_hashed_once_and_read(video: Path, hashed: list[str]) -> None:
    span = catalogued(video)
    os.utime(video, (1, 1))
    for _ in range(3):
        assert len(ClipMedia(span).sample()) == 5
    assert len(hashed) == 1


def test_a_replaced_file_is_not_measured(video: Path, other: Path) -> None:
    span = catalogued(video)
    other.replace(video)
    assert code_of(ClipMedia(span).sample) == ErrorCode.CHANGED
    assert code_of(lambda: ClipMedia(span).sound) == ErrorCode.CHANGED
    assert len(ClipMedia(span._replace(stamp=None)).sample()) == 5  # where nothing is known, nothing is asked


def test_a_file_replaced_while_it_is_read_is_not_measured(
    video: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    span = catalogued(video)
    ask = same_file.storage_says
    monkeypatch.setattr(same_file, "storage_says", lambda path: other.replace(video) and ask(path))
    assert code_of(ClipMedia(span).sample) == ErrorCode.CHANGED


def test_a_file_overwritten_with_something_else_has_changed_rather_than_broken(video: Path) -> None:
    span = catalogued(video)
    video.write_text("no video at all")
    assert code_of(ClipMedia(span).sample) == ErrorCode.CHANGED


def test_a_file_that_has_gone_is_not_found(video: Path) -> None:
    span = catalogued(video)
    video.unlink()
    assert code_of(ClipMedia(span).sample) == ErrorCode.NOT_FOUND


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30], ids=["streamed", "from the cache"])
def test_a_remote_file_too(
    s3: S3,
    video: Path,
    other: Path,
    cache_bytes: int,
    hashed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FUNNEL_CACHE", str(tmp_path / "cache"))
    limits = MediaLimits(cache_bytes=cache_bytes)
    span = catalogued(video, s3.put("a.mp4", video))
    assert len(ClipMedia(span, limits=limits).sample()) == 5
    assert hashed == []
    s3.put("a.mp4", other)
    assert code_of(ClipMedia(span, limits=limits).sample) == ErrorCode.CHANGED


def test_a_streamed_file_costs_no_request_more(s3: S3, video: Path) -> None:
    span = catalogued(video, s3.put("a.mp4", video))
    asked = []
    for stamp in (None, span.stamp):
        s3.faults.reset_counts()
        ClipMedia(span._replace(stamp=stamp), limits=MediaLimits(cache_bytes=0), dense_wanted=False).sample()
        asked.append(s3.faults.requests.total())
    assert asked[0] == asked[1]
