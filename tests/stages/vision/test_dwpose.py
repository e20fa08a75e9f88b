"""DWPose through rtmlib, on tiny networks in the published format: the way from pixels to keypoints and back, checked
by arithmetic; then heads, bodies and framing from keypoints that are put where a person would have them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.head_body import DWPOSE, YOLOX, DwPoseConfig
from stages.vision.dwpose import CHIN, HEAD_PER_LOWER_FACE, NASION, DwPoseScorer, WholeBodies, WholeBody, head, view
from tests.support import photo_clips as photos
from tests.support import tiny_onnx

CONFIG = DwPoseConfig(device="cpu")
BOX = (240.0, 80.0, 400.0, 560.0)  # in a picture of 640 px
needs_rtmlib = pytest.mark.skipif(importlib.util.find_spec("rtmlib") is None, reason="rtmlib is not installed")


def to_picture(points: np.ndarray) -> np.ndarray:
    """From the network's 288 x 384 to the picture, as mmpose crops: the box times 1.25, widened to 3 : 4."""
    x0, y0, x1, y1 = BOX
    center, (width, height) = ((x0 + x1) / 2, (y0 + y1) / 2), (1.25 * (x1 - x0), 1.25 * (y1 - y0))
    width, height = max(width, height * 0.75), max(height, width / 0.75)
    return points / (288, 384) * (width, height) + np.asarray(center) - np.asarray([width, height]) / 2


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    """133 points on whole half-pixels of the network's input, and their scores."""
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.integers(0, 575, 133), rng.integers(0, 767, 133)]) / 2
    return points, rng.uniform(0.35, 0.95, 133).astype(np.float32)


@pytest.fixture
def tiny(tmp_path: Path, answers: tuple[np.ndarray, np.ndarray]) -> dict[str, Path]:
    """A person, a smaller one, and a chair that is surer than both."""
    small = (20.0, 200.0, 120.0, 400.0)
    finds = [(BOX, 0, 0.6), (small, 0, 0.8), ((450.0, 100.0, 630.0, 630.0), 56, 0.99), ((0.0, 0.0, 60.0, 90.0), 0, 0.1)]
    return {
        YOLOX: tiny_onnx.yolox(tmp_path / "yolox_l.onnx", finds),
        DWPOSE: tiny_onnx.dwpose(tmp_path / "dw-ll_ucoco_384.onnx", *answers),
    }


@needs_rtmlib
def test_persons_are_found_highest_first_and_chairs_are_not(tiny: dict[str, Path]) -> None:
    boxes = WholeBodies(tiny[YOLOX], tiny[DWPOSE], CONFIG).persons(photos.astronaut(640))
    assert boxes == pytest.approx(np.asarray([BOX, (20, 200, 120, 400)]), abs=1e-2)


@needs_rtmlib
def test_boxes_are_in_pixels_of_a_picture_that_is_not_square(tiny: dict[str, Path]) -> None:
    wide = np.zeros((720, 1280, 3), np.uint8)  # seen at half size, at the top of the square
    boxes = WholeBodies(tiny[YOLOX], tiny[DWPOSE], CONFIG).persons(wide)
    assert boxes[0] == pytest.approx([480, 160, 800, 720], abs=0.1), "cut off at the lower edge"


@needs_rtmlib
def test_keypoints_come_back_to_where_they_are_in_the_picture(
    tiny: dict[str, Path], answers: tuple[np.ndarray, np.ndarray]
) -> None:
    body = WholeBodies(tiny[YOLOX], tiny[DWPOSE], CONFIG).largest(photos.astronaut(640))
    assert body.points == pytest.approx(to_picture(answers[0]), abs=0.01)
    assert body.scores == pytest.approx(answers[1], abs=1e-5)


@needs_rtmlib
def test_nothing_is_printed_and_one_thread_is_used(tiny: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    bodies = WholeBodies(tiny[YOLOX], tiny[DWPOSE], CONFIG)
    assert capfd.readouterr().out == ""
    for model in (bodies._detector, bodies._pose):
        assert model.session.get_session_options().intra_op_num_threads == 1
        assert model.session.get_providers() == ["CPUExecutionProvider"]


@needs_rtmlib
def test_each_network_is_given_its_own_order_of_colours(tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = WholeBodies(tiny[YOLOX], tiny[DWPOSE], CONFIG)
    seen: dict[str, np.ndarray] = {}
    for name in ("_detector", "_pose"):
        model = getattr(bodies, name)
        run = model.inference
        monkeypatch.setattr(model, "inference", lambda img, name=name, run=run: (seen.update({name: img}), run(img))[1])
    red = np.zeros((640, 640, 3), np.uint8)
    red[..., 0] = 255
    bodies.largest(red)
    assert seen["_detector"][320, 320].tolist() == [0, 0, 255], "BGR, not normalised"
    assert seen["_pose"][192, 144] == pytest.approx([(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375])


@needs_rtmlib
def test_the_scorer_end_to_end(tmp_path: Path, installed: Callable[..., None]) -> None:
    points, scores = np.full((133, 2), 5.0), np.zeros(133, np.float32)
    points[[CHIN, NASION]] = [[144, 110], [144, 90]]
    points[23:91] = points[23:91] + 0  # the rest of the face is unsure of its place, not of itself
    scores[23:91] = 0.9
    points[9], scores[9] = (100, 200), 0.8  # a wrist
    points[15], scores[15] = (140, 350), 0.7  # an ankle
    installed(
        **{
            YOLOX: tiny_onnx.yolox(tmp_path / "yolox_l.onnx", [(BOX, 0, 0.9)]),
            DWPOSE: tiny_onnx.dwpose(tmp_path / "dw-ll_ucoco_384.onnx", points, scores),
        }
    )
    row = DwPoseScorer(CONFIG).score(photos.clip(tmp_path, (photos.astronaut(640), 3)))
    (chin, nasion, ankle) = to_picture(points[[CHIN, NASION, 15]])[:, 1]
    height = HEAD_PER_LOWER_FACE * (chin - nasion)
    bottom = max(BOX[3], ankle)
    assert row.status == "ok"
    assert row.head_body_ratio == pytest.approx(height / (bottom - (chin - height)), abs=0.01)
    assert (row.framing, row.hands_visible_ratio) == ("full_body", 1)
    assert row.keypoint_score_median == pytest.approx(0.9, abs=0.01)


@needs_rtmlib
def test_nobody_is_not_applicable(tmp_path: Path, tiny: dict[str, Path], installed: Callable[..., None]) -> None:
    installed(**{**tiny, YOLOX: tiny_onnx.yolox(tmp_path / "nobody.onnx", [(BOX, 16, 0.99)])})
    row = DwPoseScorer(CONFIG).score(photos.clip(tmp_path, (photos.cat(640), 3)))
    assert (row.status, row.framing, row.head_body_ratio) == ("not_applicable", None, None)


# --- from keypoints, without a network --------------------------------------------------------------------------------

SHAPE = (1000, 800)


def standing(face: bool = True, cut_at: float = 1000.0) -> WholeBody:
    """A person of 7.5 heads of 120 px, top at row 50; everything from row ``cut_at`` on lies outside the picture."""
    points, scores = np.full((133, 2), -50.0, np.float32), np.zeros(133, np.float32)

    def put(indices: list[int] | range, x: float, y: float) -> None:
        points[list(indices)] = (x, y if y < cut_at else SHAPE[0] + 50)
        scores[list(indices)] = 0.9

    if face:
        put(range(23, 91), 400, 120)
        put([CHIN], 400, 170)
        put([NASION], 400, 170 - 120 / HEAD_PER_LOWER_FACE)
    put([5, 6], 400, 215)
    put([11, 12], 400, 215 + 120 / 0.45)
    put([9, 10], 300, 520)
    put([15, 16], 400, 930)
    bottom = min(950.0, cut_at)
    return WholeBody(np.asarray([300, 50, 500, bottom], np.float32), points, scores)


@pytest.mark.parametrize("face", [True, False], ids=["from the face", "from the trunk"])
def test_the_head_of_a_standing_person(face: bool) -> None:
    top, chin = head(standing(face), SHAPE, CONFIG)
    assert (top, chin) == pytest.approx((50, 170), abs=0.5)
    seen = view(standing(face), SHAPE, CONFIG)
    assert seen.head_body_ratio == pytest.approx(1 / 7.5, abs=0.002)
    assert seen.heads == pytest.approx(7.5, abs=0.05)
    assert seen.hands
    assert seen.ankles


def test_what_lies_outside_the_picture_does_not_count() -> None:
    seen = view(standing(cut_at=400), (400, 800), CONFIG)
    assert not seen.hands
    assert not seen.ankles
    assert seen.heads == pytest.approx(350 / 120, abs=0.05)


def test_without_face_and_trunk_the_head_is_not_known() -> None:
    body = standing(face=False, cut_at=400)
    assert head(body, (400, 800), CONFIG) is None
    assert view(body, (400, 800), CONFIG).head_body_ratio is None
