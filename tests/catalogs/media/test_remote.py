"""Media on a real S3 server are fetched in part, and a storage that fails fails the clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ClipError, ErrorCode
from catalogs.media import ClipMedia, ClipSpan, MediaLimits, open_media, probe
from tests.support.s3_server import S3, fresh_clients
from tests.support.written_media import grey_ramp, whole_span, write_video

NO_CACHE = MediaLimits(cache_bytes=0)


def noise(count: int, height: int, width: int) -> list[np.ndarray]:
    """Make frames that do not compress: a file of real size in little time."""
    random = np.random.default_rng(7)
    return [random.integers(0, 255, (height, width, 3), np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 s of noise with sound; the index is at the end of the file."""
    sound = np.random.default_rng(7).normal(0, 0.1, (1, 40 * 16_000)).astype(np.float32)
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_video(path, noise(1000, 176, 208), sound=sound)


def part(span: ClipSpan, start_s: float, end_s: float) -> ClipSpan:
    start, end = (span.start_pts + round(at / span.time_base) for at in (start_s, end_s))
    return span._replace(start_s=start_s, end_s=end_s, start_pts=start, end_pts=end)


def test_a_remote_clip_is_the_local_one(s3: S3, tmp_path: Path) -> None:
    local = write_video(tmp_path / "a.mp4", grey_ramp(50), sound=np.ones((1, 32_000), np.float32) * 0.1)
    span = whole_span(local)
    near = ClipMedia(span, dense_wanted=False)
    far = ClipMedia(span._replace(path=s3.put("a.mp4", local)), dense_wanted=False)
    assert np.array_equal(near.sample().rgb, far.sample().rgb)
    assert near.sound is not None
    assert far.sound is not None
    assert np.array_equal(near.sound.samples, far.sound.samples)


def test_a_sparse_stage_fetches_a_small_part_of_a_long_source(s3: S3, long_video: Path) -> None:
    size = long_video.stat().st_size
    assert size > 20_000_000
    span = part(whole_span(long_video)._replace(path=s3.put("long.mp4", long_video)), 20.0, 22.0)
    s3.faults.reset_counts()
    assert len(ClipMedia(span, dense_wanted=False).sample()) == 5
    assert 0 < s3.faults.sent_bytes < 0.4 * size
    assert s3.faults.requests.total() < 10


def test_a_header_is_read_without_the_rest(s3: S3, long_video: Path) -> None:
    url, size = s3.put("long.mp4", long_video), long_video.stat().st_size
    s3.faults.reset_counts()
    assert probe(url, size, NO_CACHE).duration_s == pytest.approx(40.0, abs=0.1)
    assert 0 < s3.faults.sent_bytes < 0.5 * size  # a quarter is the packets that tell the frame rate


def test_throttling_and_cut_connections_do_not_show(s3: S3, long_video: Path) -> None:
    span = part(whole_span(long_video)._replace(path=s3.put("long.mp4", long_video)), 5.0, 8.0)
    s3.faults.throttle_every, s3.faults.cut_every = 4, 3
    assert len(ClipMedia(span, dense_wanted=False).sample()) == 5
    assert s3.faults.injected["SlowDown"]
    assert s3.faults.injected["cut"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fresh_clients()


@pytest.mark.parametrize("after_bytes", [0, 5_000_000])
def test_a_storage_that_breaks_midway_is_not_bad_media(
    s3: S3, long_video: Path, impatient: None, after_bytes: int
) -> None:
    span = whole_span(long_video)._replace(path=s3.put("long.mp4", long_video))
    s3.faults.cut_after_bytes = after_bytes
    clip = ClipMedia(span, limits=NO_CACHE, dense_wanted=False)
    with pytest.raises(ClipError) as failure:
        clip.sample()
    assert failure.value.code == ErrorCode.UNREADABLE
    with pytest.raises(ClipError) as failure:
        _ = clip.sound
    assert failure.value.code == ErrorCode.UNREADABLE
    with pytest.raises(ClipError) as failure:
        probe(span.path, long_video.stat().st_size, NO_CACHE)
    assert failure.value.code == ErrorCode.UNREADABLE


def test_a_source_that_went_away_or_is_forbidden(s3: S3, tmp_path: Path, impatient: None) -> None:
    span = whole_span(write_video(tmp_path / "a.mp4", grey_ramp(10)))
    with pytest.raises(ClipError) as failure:
        ClipMedia(span._replace(path=f"{s3.url}/none.mp4")).sample()
    assert failure.value.code == ErrorCode.NOT_FOUND
    s3.faults.refuse = "AccessDenied"
    with pytest.raises(ClipError) as failure:
        ClipMedia(span._replace(path=f"{s3.url}/none.mp4")).sample()
    assert failure.value.code == ErrorCode.UNREADABLE


def test_a_source_replaced_while_it_is_read(s3: S3, long_video: Path, tmp_path: Path) -> None:
    url = s3.put("long.mp4", long_video)
    other = write_video(tmp_path / "b.mp4", grey_ramp(10))

    def read_while_it_is_replaced() -> None:
        with open_media(url, NO_CACHE) as container:
            s3.put("long.mp4", other)
            for _ in container.demux():
                pass

    with pytest.raises(ClipError) as failure:
        read_while_it_is_replaced()
    assert failure.value.code == ErrorCode.CHANGED


def test_remote_text_is_not_media(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video at all " * 50)
    with pytest.raises(ClipError) as failure:
        probe(s3.put("a.mp4", tmp_path / "a.mp4"), 800, NO_CACHE)
    assert failure.value.code == ErrorCode.NOT_MEDIA


def test_decoding_time_is_counted(tmp_path: Path) -> None:
    clip = ClipMedia(whole_span(write_video(tmp_path / "a.mp4", grey_ramp(10))))
    assert clip.decode_seconds == 0.0
    clip.sample()
    pictures = clip.decode_seconds
    assert pictures > 0.0
    clip.dense()
    assert clip.decode_seconds == pictures
    _ = clip.sound
    assert clip.decode_seconds > pictures
