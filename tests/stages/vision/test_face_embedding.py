"""Face embeddings: the same face in another light is near, another face is far."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from stages.vision.face_embedding import SAME_PERSON, FaceEmbedder, align
from stages.vision.face_mesh import FaceMesh
from stages.vision.faces import FaceDetector


@pytest.fixture(scope="module")
def embed(weight):
    detector, embedder = FaceDetector(weight("face_detector")), FaceEmbedder(weight("face_embedder"))
    return lambda rgb: embedder.embed(rgb, detector.detect(rgb).keypoints[0])


def test_the_vector_has_unit_length(embed, astronaut):
    vector = embed(astronaut)
    assert vector.shape == (1024,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)


def test_mirrored_or_darker_it_is_the_same_person(embed, astronaut):
    reference = embed(astronaut)
    assert reference @ embed(np.ascontiguousarray(astronaut[:, ::-1])) > SAME_PERSON
    assert reference @ embed((astronaut * 0.6).astype(np.uint8)) > SAME_PERSON


def test_other_peoples_faces_are_other_people(weight, embed, astronaut):
    embedder, reference = FaceEmbedder(weight("face_embedder")), embed(astronaut)
    eyes_nose_mouth = np.asarray([[70, 90], [154, 90], [112, 130], [112, 172]], np.float32)
    for face in data.lfw_subset()[:12]:  # float [25, 25] grey faces, 0…1, roughly centred
        picture = cv2.resize((face * 255).astype(np.uint8), (224, 224), interpolation=cv2.INTER_CUBIC)
        assert reference @ embedder.embed(np.dstack([picture] * 3), eyes_nose_mouth) < SAME_PERSON


def test_mesh_landmarks_serve_as_well_as_keypoints(weight, embed, astronaut):
    faces = FaceDetector(weight("face_detector")).detect(astronaut)
    landmarks, _ = FaceMesh(weight("face_mesh")).landmarks(astronaut, faces.boxes[0], faces.keypoints[0])
    assert embed(astronaut) @ FaceEmbedder(weight("face_embedder")).embed(astronaut, landmarks) > 0.85


def test_alignment_puts_the_eyes_level(astronaut):
    slanted = np.asarray([[200, 140], [250, 165], [215, 178], [205, 205]], np.float32)
    assert align(astronaut, slanted).shape == (224, 224, 3)
