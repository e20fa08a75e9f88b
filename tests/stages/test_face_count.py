"""How many faces a clip shows, and what is measured on the main one."""

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.face_count import COLUMNS, FaceCountConfig, FaceCountMeasurement, FaceFinder, MediaPipeScorer
from stages.vision.boxes import follow
from stages.vision.face_mesh import head_angles as angles_of
from tests.support import photo_clips as photos
from weights import registry


@pytest.fixture(scope="module")
def scorer() -> MediaPipeScorer:
    return MediaPipeScorer(FaceCountConfig())


@pytest.fixture(scope="module")
def woman(scorer: MediaPipeScorer, tmp_path_factory: pytest.TempPathFactory) -> FaceCountMeasurement:
    return scorer.score(photos.clip(tmp_path_factory.mktemp("woman"), (photos.astronaut(), 5)))


def test_one_face_all_the_time(woman: FaceCountMeasurement) -> None:
    assert (woman.status, woman.face_count_max, woman.face_count_median, woman.face_visible_ratio) == ("ok", 1, 1, 1)


def test_the_face_is_measured_from_hairline_to_chin(woman: FaceCountMeasurement) -> None:
    assert woman.face_height_px_median == pytest.approx(130, abs=25)  # rows 60 to 190 by eye
    assert woman.face_area_ratio_median == pytest.approx(130 * 105 / 512**2, rel=0.35)


def test_a_smaller_face_in_a_larger_picture_keeps_its_pixels(
    scorer: MediaPipeScorer, woman: FaceCountMeasurement, tmp_path: Path
) -> None:
    # 2048 x 2048 is shrunk for the sample; heights are in source pixels all the same.
    row = scorer.score(photos.clip(tmp_path, (photos.padded(photos.astronaut(), 4), 2)))
    assert row.face_count_max == 1
    assert row.face_height_px_median == pytest.approx(woman.face_height_px_median, rel=0.1)
    assert row.face_area_ratio_median == pytest.approx(woman.face_area_ratio_median / 16, rel=0.25)


def test_two_faces_side_by_side(scorer: MediaPipeScorer, tmp_path: Path) -> None:
    pair = photos.beside(photos.astronaut(), photos.astronaut(mirrored=True))
    assert scorer.score(photos.clip(tmp_path, (pair, 5))).face_count_max == 2


def test_no_face_is_a_measured_fact(scorer: MediaPipeScorer, tmp_path: Path) -> None:
    row = scorer.score(photos.clip(tmp_path, (photos.cat(), 3), (photos.coffee(), 3)))
    assert (row.status, row.face_count_max, row.face_visible_ratio) == ("ok", 0, 0)
    assert row.face_height_px_median is row.identity_similarity_min is row.face_yaw_deg_abs_max is None


def test_a_face_in_half_of_the_clip_is_visible_half_the_time(scorer: MediaPipeScorer, tmp_path: Path) -> None:
    row = scorer.score(photos.clip(tmp_path, (photos.astronaut(), 5), (photos.cat(), 5)))
    assert row.face_visible_ratio == pytest.approx(0.5)


def test_roll_follows_a_turned_picture(scorer: MediaPipeScorer, woman: FaceCountMeasurement, tmp_path: Path) -> None:
    def rolled(degrees: float) -> float:
        turn = cv2.getRotationMatrix2D((224, 125), degrees, 1.0)  # about the face
        picture = cv2.warpAffine(photos.astronaut(), turn, (512, 512))
        return scorer.score(photos.clip(tmp_path, (picture, 2))).face_roll_deg_abs_max

    # Her own tilt adds on one side and takes away on the other.
    assert rolled(-25) + rolled(25) == pytest.approx(50, abs=6)
    assert abs(rolled(-25) - rolled(25)) == pytest.approx(2 * woman.face_roll_deg_abs_max, abs=8)


@pytest.mark.parametrize(
    ("axis", "index"), [((0, 1, 0), 0), ((1, 0, 0), 1), ((0, 0, 1), 2)], ids=["yaw", "pitch", "roll"]
)
def test_a_turned_mesh_gives_back_its_angle(axis: tuple[int, int, int], index: int) -> None:
    mesh = np.zeros((468, 3), np.float32)
    mesh[[33, 263, 10, 152]] = [(-45, -30, 0), (45, -30, 0), (0, -90, 0), (0, 90, 0)]
    turn, _ = cv2.Rodrigues(np.asarray(axis, float) * np.radians(20))
    angles = angles_of((mesh @ turn.T).astype(np.float32))
    assert np.abs(angles)[index] == pytest.approx(20, abs=0.1)
    assert np.delete(np.abs(angles), index) == pytest.approx([0, 0], abs=0.1)


def test_the_same_face_resembles_itself_and_another_does_not(
    scorer: MediaPipeScorer, media: Path, tmp_path: Path
) -> None:
    def first_picture(name: str) -> np.ndarray:
        return cv2.resize(photos.real_clip(media / "video" / name).sample().rgb[0], (512, 512))

    first, other = first_picture("retalking_face1.mp4"), first_picture("retalking_face3.mp4")
    same = scorer.score(photos.clip(tmp_path, (first, 5))).identity_similarity_min
    changed = scorer.score(photos.clip(tmp_path, (first, 3), (other, 3))).identity_similarity_min
    assert same > 0.9
    assert changed < 0.6


def test_the_main_face_is_followed_through_a_larger_neighbour() -> None:
    near, far = [0, 0, 100, 100], [300, 0, 380, 80]
    pictures = [np.asarray([near, far]), np.asarray([far, [5, 0, 85, 80]]), np.asarray([[5, 0, 75, 70], far])]
    assert follow(pictures, distance=1.5) == [0, 1, 0]
    assert follow([np.zeros((0, 4)), np.asarray([near])], distance=1.5) == [None, 0]
    assert follow([np.zeros((0, 4))], distance=1.5) == [None]


def test_without_the_mesh_the_angles_are_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry.find
    monkeypatch.setattr(registry, "find", lambda name: None if name in ("face_mesh", "face_embedder") else found(name))
    row = MediaPipeScorer(FaceCountConfig()).score(photos.clip(tmp_path, (photos.astronaut(), 2)))
    assert row.face_count_max == 1
    assert row.face_height_px_median > 80
    assert row.face_yaw_deg_abs_max is row.identity_similarity_min is None


def test_finds_depend_on_the_config(tmp_path: Path) -> None:
    clip = photos.clip(tmp_path, (photos.astronaut(), 2))
    config = FaceCountConfig()
    assert FaceFinder(config).find(clip) is FaceFinder().find(clip)
    assert FaceFinder(replace(config, min_score=0.6)).find(clip) is not FaceFinder().find(clip)


def test_every_column_has_a_field() -> None:
    assert set(COLUMNS.names) <= {field.name for field in fields(FaceCountMeasurement)}


@pytest.mark.parametrize(
    ("name", "is_single"),
    [("skyreelsa1_3.mp4", True), ("mmaction_two_people_fullbody.mp4", False), ("psd_fades.mp4", False)],
)
def test_labelled_clips(scorer: MediaPipeScorer, media: Path, name: str, is_single: bool) -> None:
    assert (scorer.score(photos.real_clip(media / "video" / name)).face_count_max == 1) is is_single
