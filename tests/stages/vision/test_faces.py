"""The face detector and the face mesh on real pictures."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from stages.vision.face_mesh import INNER_LIPS, MOUTH_CORNERS, FaceMesh
from stages.vision.faces import FaceDetector, tiles


@pytest.fixture(scope="module")
def detector(weight) -> FaceDetector:
    return FaceDetector(weight("face_detector"))


@pytest.fixture(scope="module")
def mesh(weight) -> FaceMesh:
    return FaceMesh(weight("face_mesh"))


def test_the_astronaut_has_one_face_where_it_is(detector, astronaut):
    faces = detector.detect(astronaut)
    assert len(faces) == 1
    x0, y0, x1, y1 = faces.boxes[0]
    assert 150 < x0 < 190
    assert 60 < y0 < 130
    assert 250 < x1 < 300
    assert 170 < y1 < 230


def test_keypoints_are_eyes_nose_mouth_in_that_order(detector, astronaut):
    right_eye, left_eye, nose, mouth = detector.detect(astronaut).keypoints[0, :4]
    assert right_eye[0] < nose[0] < left_eye[0]  # her right eye is on the picture's left
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1]


def test_a_face_of_forty_pixels_in_full_hd_is_found(detector, astronaut):
    frame = np.full((1080, 1920, 3), 90, np.uint8)
    frame[300:513, 1500:1713] = astronaut[np.linspace(0, 511, 213).astype(int)][:, np.linspace(0, 511, 213).astype(int)]
    faces = detector.detect(frame)
    assert len(faces) == 1
    assert 30 < faces.boxes[0, 3] - faces.boxes[0, 1] < 60
    assert 1550 < faces.boxes[0, 0] < 1600


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "astronaut_below_the_face"])
def test_no_face_on_cats_cups_and_rockets(detector, name, astronaut):
    picture = astronaut[300:] if name == "astronaut_below_the_face" else getattr(data, name)()
    assert len(detector.detect(picture)) == 0


def test_a_followed_face_stays_the_same_face(detector, astronaut):
    found = detector.detect(astronaut)
    moved = np.roll(astronaut, 8, axis=1)
    followed = detector.follow(moved, found.boxes[0])
    assert len(followed) == 1
    assert np.abs(followed.keypoints[0] - found.keypoints[0] - (8, 0)).max() < 8
    assert len(detector.follow(np.zeros_like(astronaut), found.boxes[0])) == 0


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_tilted_head_is_found_and_its_eyes_tilt(detector, astronaut, degrees):
    cv2 = pytest.importorskip("cv2")
    turn = cv2.getRotationMatrix2D((224, 150), degrees, 1.0)
    faces = detector.detect(cv2.warpAffine(astronaut, turn, (512, 512)))
    assert len(faces) == 1
    across = faces.keypoints[0, 1] - faces.keypoints[0, 0]
    assert np.degrees(np.arctan2(-across[1], across[0])) == pytest.approx(degrees, abs=12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (19, 23)])
def test_tiny_pictures_have_no_faces_and_do_not_fail(detector, shape):
    faces = detector.detect(np.full((*shape, 3), 127, np.uint8))
    assert len(faces) == 0
    assert faces.keypoints.shape == (0, 6, 2)


@pytest.mark.parametrize("shape", [(480, 640), (1080, 1920), (2204, 970), (100, 3000)])
def test_tiles_cover_every_pixel(shape):
    seen = np.zeros(shape, bool)
    for x0, y0, x1, y1 in tiles(shape)[1:]:
        seen[y0:y1, x0:x1] = True
    assert seen.all()


def test_lips_of_the_mesh_lie_inside_the_face_and_below_the_nose(detector, mesh, astronaut):
    faces = detector.detect(astronaut)
    landmarks, presence = mesh.landmarks(astronaut, faces.boxes[0], faces.keypoints[0])
    assert landmarks.shape == (468, 3)
    assert landmarks.dtype == np.float32
    assert presence > 0.9
    lips = landmarks[[*MOUTH_CORNERS, *INNER_LIPS], :2]
    x0, y0, x1, y1 = faces.boxes[0]
    assert (lips > (x0, y0)).all()
    assert (lips < (x1, y1)).all()
    assert (lips[:, 1] > landmarks[1, 1]).all()
    assert landmarks[1, 2] < landmarks[234, 2]  # the nose tip is nearer than the cheek


def test_the_mesh_hardly_depends_on_the_detectors_box(detector, mesh, astronaut):
    faces = detector.detect(astronaut)
    box, keypoints = faces.boxes[0], faces.keypoints[0]
    first, _ = mesh.landmarks(astronaut, box, keypoints)
    second, _ = mesh.landmarks(astronaut, box + np.float32([6, -5, 6, -5]), keypoints)
    assert np.abs(first - second)[:, :2].mean() < 1.5


def test_a_crop_without_a_face_says_so(mesh, landscape):
    box = np.asarray([100, 100, 250, 250], np.float32)
    keypoints = np.asarray([[140, 150], [210, 150], [175, 180], [175, 210], [120, 160], [230, 160]], np.float32)
    assert mesh.landmarks(landscape, box, keypoints)[1] < 0.5
