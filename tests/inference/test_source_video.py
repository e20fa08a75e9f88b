"""A video is read as training reads it, its lips are found, and what lies beside them stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import UserError
from catalogs.media import ClipMedia, MediaConfig, whole_clip
from curation.demo.motion import Pose
from curation.demo.portrait import Portrait, PortraitView
from inference.portrait import crop_around
from inference.source_video import SourceVideo, bounced, composite, open_source
from inference.video_pictures import VideoPictures
from stages.vision.face_landmarks import MeshLandmarks, steady_boxes
from tests.support.photo_clips import coffee
from tests.support.written_media import grey_ramp, write_video

FPS = 25


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures of a face in the left half of 480 x 320 pixels, that speaks and goes to the right."""
    person = Portrait(PortraitView(320, 320, "close_up"))
    frames = np.full((24, 320, 480, 3), 70, np.uint8)
    for number, frame in enumerate(frames):
        frame[:, :320] = person.frame(Pose(opening=0.5 + 0.5 * np.sin(number), shift_x=0.5 * number))
    return write_video(tmp_path_factory.mktemp("talking") / "video.mp4", list(frames), fps=FPS)


@pytest.fixture(scope="module")
def source(talking: Path) -> SourceVideo:
    return open_source(talking, FPS, 96, 96, 30, MeshLandmarks())


@pytest.mark.parametrize("fps", [16, 25, 30])
def test_pictures_are_those_on_screen_as_training_has_them(fps: int, tmp_path: Path) -> None:
    pts = [0, 30, 95, 120, 180, 260, 300, 420, 440, 600, 640, 700]  # ms
    path = write_video(tmp_path / "vfr.mp4", grey_ramp(len(pts)), pts=pts)
    clip = whole_clip(path)
    dense = ClipMedia(clip.span, MediaConfig(dense_fps=fps, dense_max_s=10)).dense().rgb
    pictures = VideoPictures(path, fps)
    assert pictures.n_pictures == len(dense)
    np.testing.assert_array_equal(pictures.read(0, len(dense)), dense)
    for first, stop in ((3, 4), (5, 9), (len(dense) - 2, len(dense))):
        np.testing.assert_array_equal(pictures.read(first, stop), dense[first:stop])


def test_odd_sizes_are_made_even_and_others_are_resized(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", grey_ramp(3, 66, 98))
    pictures = VideoPictures(path, FPS)
    assert pictures.read(0, 2).shape == (2, 66, 98, 3)
    assert pictures.read(0, 2, (48, 32)).shape == (2, 32, 48, 3)


def test_a_short_video_goes_back_and_forth() -> None:
    assert bounced(4, 11).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert bounced(1, 3).tolist() == [0, 0, 0]
    assert bounced(9, 4).tolist() == [0, 1, 2, 3]


def test_the_film_is_as_long_as_asked_and_says_that_the_video_is_shorter(source: SourceVideo) -> None:
    assert len(source.order) == 30
    assert source.warnings[0].startswith("the video has 0.96 s and the sound 1.20 s")
    whole = source.pictures(0, 30)
    assert whole.shape == (30, *source.size, 3) == (30, 320, 480, 3)
    np.testing.assert_array_equal(source.pictures(20, 28), whole[20:28])
    np.testing.assert_array_equal(whole[24:30], whole[22:16:-1])


def test_the_cut_goes_to_the_face_and_the_hole_is_on_its_mouth(source: SourceVideo, talking: Path) -> None:
    assert source.crop.x < (480 - 320) // 2, "the face is in the left half"
    rgb = VideoPictures(talking, FPS).read(0, 24)
    landmarks = MeshLandmarks().find(rgb, 2, 0.4)
    assert landmarks is not None
    expected, _ = steady_boxes(source.crop.points(landmarks), (96, 96))
    assert np.abs(source.boxes - expected).max() <= 1
    hole = source.hole(0, 24)
    assert hole.shape == (1, 1, 24, 96, 96)
    for number in range(24):
        x, y = source.crop.points(landmarks[number, 48:68]).mean(axis=0).round().astype(int)
        assert hole[0, 0, number, y, x] == 1
        assert 0.02 < hole[0, 0, number].mean() < 0.4


def test_pictures_beside_the_mouth_stay_bit_by_bit_and_the_mouth_is_painted(source: SourceVideo) -> None:
    pictures = source.pictures(4, 10)
    painted = np.full((6, 96, 96, 3), 255, np.uint8)
    pasted = source.paste(pictures, painted, 4)
    scale = source.crop.cut_width / 96
    for number in range(6):
        x0, y0, x1, y1 = source.boxes[source.order[4 + number]] * scale
        x0, x1, y0, y1 = x0 + source.crop.x, x1 + source.crop.x, y0 + source.crop.y, y1 + source.crop.y
        beside = np.ones((320, 480), bool)
        beside[int(np.ceil(y0)) : int(np.floor(y1)), int(np.ceil(x0)) : int(np.floor(x1))] = False
        np.testing.assert_array_equal(pasted[number][beside], pictures[number][beside])
        assert (pasted[number, round((y0 + y1) / 2), round((x0 + x1) / 2)] == 255).all()
    np.testing.assert_array_equal(pictures, source.pictures(4, 10)), "what was given is not changed"


def test_the_models_own_picture_pasted_back_is_hardly_seen(source: SourceVideo) -> None:
    pictures = source.pictures(0, 4)
    pasted = source.paste(pictures, source.cut(pictures), 0)
    changed = np.abs(pasted.astype(int) - pictures)
    assert changed.max() > 0, "it was shrunk and enlarged"
    assert changed.mean() < 0.5


def test_paint_fades_in_inside_the_box_only() -> None:
    pictures, painted = np.zeros((1, 40, 60, 3), np.uint8), np.full((1, 40, 60, 3), 200, np.uint8)
    box = np.array([[10, 8, 50, 32]])
    soft = composite(pictures, painted, box, feather=0.25)[0, :, :, 0]
    assert not soft[:8].any()
    assert not soft[32:].any()
    assert not soft[:, :10].any()
    assert not soft[:, 50:].any()
    assert 0 < soft[20, 10] < 20
    assert (np.diff(soft[20, 10:18].astype(int)) >= 0).all()
    assert (soft[14:26, 16:44] == 200).all()
    np.testing.assert_array_equal(soft, soft[::-1, ::-1])
    hard = composite(pictures, painted, box, feather=0)[0, :, :, 0]
    assert (hard[8:32, 10:50] == 200).all()
    assert hard.sum() == 24 * 40 * 200


def test_what_is_no_talking_video_is_told_in_one_line(tmp_path: Path) -> None:
    mesh = MeshLandmarks()
    scene = write_video(tmp_path / "coffee.mp4", [coffee(320)] * 8)
    with pytest.raises(UserError, match=r"coffee\.mp4: no face is seen in enough of its pictures"):
        open_source(scene, FPS, 96, 96, 8, mesh)
    (tmp_path / "notes.mp4").write_text("not a video")
    with pytest.raises(UserError, match=r"notes\.mp4: it is no sound or video file"):
        open_source(tmp_path / "notes.mp4", FPS, 96, 96, 8, mesh)
    with pytest.raises(UserError, match=r"nowhere\.mp4: there is no such file"):
        open_source(tmp_path / "nowhere.mp4", FPS, 96, 96, 8, mesh)


def test_a_real_clip_keeps_its_size_and_its_hole_follows(media: Path) -> None:
    source = open_source(media / "derived" / "sync_demo1_00.mp4", FPS, 96, 96, 40, MeshLandmarks())
    assert source.pictures(30, 40).shape == (10, *source.size, 3)
    assert source.crop == crop_around(*source.size, 96, 96) or source.crop.cut_height <= source.size[0]
    assert 0.02 < source.hole(0, 40).mean() < 0.4
