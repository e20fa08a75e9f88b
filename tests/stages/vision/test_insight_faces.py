"""InsightFace's own pipeline on real SCRFD weights where they are, and on tiny networks whose answers are known."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.face_count import ARCFACE, LANDMARKS_3D, SCRFD, InsightFaceConfig
from stages.vision.insight_faces import InsightFaces, InsightFaceScorer
from tests.support import photo_clips as photos
from tests.support import tiny_onnx

if importlib.util.find_spec("insightface") is None:
    pytest.skip("insightface is not installed (extra: reference)", allow_module_level=True)
CONFIG = InsightFaceConfig(device="cpu")
#: ArcFace's template (arXiv 1801.07698, insightface/recognition): eyes, nose tip and mouth corners at 112 px.
TEMPLATE = np.asarray(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
POINTS = TEMPLATE * 0.8 + (224, 230)  # in a picture of 640 px, so without a turn


def mean_shape() -> np.ndarray:
    """InsightFace's mean 68-point shape, float [68, 3], to which it fits the landmarks."""
    from insightface.data import get_object

    return np.asarray(get_object("meanshape_68.pkl"), np.float64)


def turned(yaw_deg: float) -> np.ndarray:
    """What 1k3d68 would answer for a head that is turned to a side: the mean shape, turned, within -1..1."""
    turn, _ = cv2.Rodrigues(np.asarray([0.0, np.radians(yaw_deg), 0.0]))
    shape = mean_shape() @ turn.T
    return shape / (2 * np.abs(shape).max())


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, Path]:
    """The three networks: one face at (256, 288), 128 px wide and high, score 0.9, turned by 20 degrees."""
    return {
        SCRFD: tiny_onnx.scrfd(tmp_path / "det_10g.onnx", [(8, 9, POINTS, 0.9)]),
        LANDMARKS_3D: tiny_onnx.landmarks_3d(tmp_path / "1k3d68.onnx", turned(20)),
        ARCFACE: tiny_onnx.arcface(tmp_path / "w600k_r50.onnx"),
    }


def picture(seed: int) -> np.ndarray:
    """Soft noise, uint8 [640, 640, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
    return cv2.resize(coarse, (640, 640), interpolation=cv2.INTER_CUBIC)


def embedded_by_hand(rgb: np.ndarray) -> np.ndarray:
    """Unit vector: the crop on the template by a fit of our own, normalised to -1..1, the tiny network's means."""
    homogeneous = np.column_stack([POINTS, np.ones(5)])
    matrix = np.linalg.lstsq(homogeneous, TEMPLATE, rcond=None)[
        0
    ].T  # exact: the points are the template, scaled and moved
    crop = cv2.warpAffine(rgb, matrix, (112, 112)).astype(np.float64)
    means = ((crop - 127.5) / 127.5).transpose(2, 0, 1).reshape(3, 14, 8, 14, 8).mean(axis=(2, 4)).reshape(-1)[:512]
    return means / np.linalg.norm(means)


def test_box_points_and_score_come_from_the_detector(tiny: dict[str, Path]) -> None:
    faces = InsightFaces(list(tiny.values()), CONFIG).detect(picture(0))
    assert faces.boxes.tolist() == [[8 * 32 - 64, 9 * 32 - 64, 8 * 32 + 64, 9 * 32 + 64]]
    assert faces.scores == pytest.approx([0.9])
    assert faces.keypoints[0] == pytest.approx(POINTS, abs=1e-3)


def test_the_turn_comes_from_the_landmarks_and_the_vector_from_the_upright_crop(tiny: dict[str, Path]) -> None:
    networks = InsightFaces(list(tiny.values()), CONFIG)
    rgb = picture(1)
    view = networks.look(rgb, networks.detect(rgb), 0)
    assert view.angles is not None
    assert np.abs(view.angles) == pytest.approx([20, 0, 0], abs=0.5)
    assert view.identity @ embedded_by_hand(rgb) == pytest.approx(1, abs=1e-3)
    assert view.identity @ embedded_by_hand(rgb[..., ::-1]) < 0.99, "red and blue are not mixed up"


def test_the_scorer_compares_the_main_face_between_pictures(
    tiny: dict[str, Path], tmp_path: Path, installed: Callable[..., None]
) -> None:
    installed(**tiny)
    clip = photos.clip(tmp_path, (picture(2), 3), (picture(3), 3))
    row = InsightFaceScorer(CONFIG).score(clip)
    assert (row.status, row.face_count_max, row.face_count_median, row.face_visible_ratio) == ("ok", 1, 1, 1)
    assert row.face_height_px_median == pytest.approx(128)
    assert row.face_area_ratio_median == pytest.approx(128**2 / 640**2)
    assert row.face_score_min == pytest.approx(0.9)
    assert row.face_yaw_deg_abs_max == pytest.approx(20, abs=0.5)
    vectors = np.stack([embedded_by_hand(rgb) for rgb in clip.sample().rgb])
    assert row.identity_similarity_min == pytest.approx((vectors @ vectors.T).min(), abs=1e-3)


def test_a_face_that_is_turned_too_far_is_not_compared(
    tiny: dict[str, Path], tmp_path: Path, installed: Callable[..., None]
) -> None:
    installed(**{**tiny, LANDMARKS_3D: tiny_onnx.landmarks_3d(tmp_path / "turned.onnx", turned(60))})
    row = InsightFaceScorer(CONFIG).score(photos.clip(tmp_path, (picture(2), 3)))
    assert row.face_yaw_deg_abs_max == pytest.approx(60, abs=0.5)
    assert row.identity_similarity_min is None


@pytest.mark.parametrize(
    ("absent", "null"), [(ARCFACE, "identity_similarity_min"), (LANDMARKS_3D, "face_yaw_deg_abs_max")]
)
def test_without_an_optional_network_its_columns_are_null(
    tiny: dict[str, Path], tmp_path: Path, installed: Callable[..., None], absent: str, null: str
) -> None:
    installed(**{name: path for name, path in tiny.items() if name != absent})
    row = InsightFaceScorer(CONFIG).score(photos.clip(tmp_path, (picture(2), 3)))
    assert (row.face_count_max, getattr(row, null), row.identity_similarity_min) == (1, None, None)


def test_a_face_below_the_score_does_not_count(
    tiny: dict[str, Path], tmp_path: Path, installed: Callable[..., None]
) -> None:
    installed(**tiny)
    row = InsightFaceScorer(replace(CONFIG, min_score=0.95)).score(photos.clip(tmp_path, (picture(2), 3)))
    assert (row.status, row.face_count_max, row.face_visible_ratio) == ("ok", 0, 0)


def test_two_faces_count_and_a_tiny_one_in_the_background_does_not(
    tmp_path: Path, installed: Callable[..., None]
) -> None:
    two = tiny_onnx.scrfd(tmp_path / "two.onnx", [(4, 9, POINTS, 0.9), (12, 9, POINTS, 0.8)])
    installed(**{SCRFD: two})
    assert InsightFaceScorer(CONFIG).score(photos.clip(tmp_path, (picture(2), 3))).face_count_max == 2


# --- real weights -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scrfd(weights_folder: Path) -> Path:
    """SCRFD-2.5G: the published detector of buffalo_m, in the same format."""
    path = weights_folder / "scrfd_2.5g_kps.onnx"
    if not path.is_file():
        pytest.skip("scrfd_2.5g_kps.onnx is not in FUNNEL_WEIGHTS")
    return path


def test_the_real_detector_finds_a_real_face(scrfd: Path, tmp_path: Path, installed: Callable[..., None]) -> None:
    installed(**{SCRFD: scrfd})
    scorer = InsightFaceScorer(CONFIG)
    single = scorer.score(photos.clip(tmp_path, (photos.astronaut(), 3)))
    assert single.face_count_max == 1
    assert single.face_height_px_median == pytest.approx(125, abs=20)  # rows 55 to 180 by eye
    pair = photos.beside(photos.astronaut(), photos.astronaut(mirrored=True))
    assert scorer.score(photos.clip(tmp_path, (pair, 3))).face_count_max == 2
    assert scorer.score(photos.clip(tmp_path, (photos.cat(), 3))).face_count_max == 0


@pytest.mark.slow
def test_one_face_or_not_on_labelled_clips(scrfd: Path, media: Path, installed: Callable[..., None]) -> None:
    installed(**{SCRFD: scrfd})
    scorer = InsightFaceScorer(CONFIG)
    with (media / "manifest.csv").open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["kind"] == "video" and row["n_scenes"] == "1"]
    labelled = {row["file"]: int(row["n_faces"]) for row in rows if row["n_faces"].isdigit()}
    found = {name: scorer.score(photos.real_clip(media / name)).face_count_max for name in labelled}
    wrong = {name for name, count in labelled.items() if (found[name] == 1) is not (count == 1)}
    assert len(labelled) >= 30
    assert len(wrong) <= 0.05 * len(labelled), wrong
