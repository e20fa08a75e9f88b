"""The person detector on real pictures."""

from __future__ import annotations

import numpy as np
import pytest

from stages.vision.boxes import suppress_overlaps
from stages.vision.persons import PersonDetector


@pytest.fixture(scope="module")
def detector(weight) -> PersonDetector:
    return PersonDetector(weight("person_detector"))


def test_one_person_fills_the_astronaut_photo(detector, astronaut):
    persons = detector.detect(astronaut)
    assert len(persons) == 1
    assert persons.scores[0] > 0.6
    x0, y0, x1, y1 = persons.boxes[0]
    assert x0 < 60
    assert y0 < 40
    assert x1 > 330
    assert y1 > 480


def test_two_copies_side_by_side_are_two_persons(detector, astronaut):
    assert len(detector.detect(np.hstack([astronaut, astronaut[:, ::-1]]))) == 2


def test_a_small_person_in_a_large_frame_is_found(detector, astronaut):
    frame = np.full((1080, 1920, 3), 128, np.uint8)
    frame[500:756, 900:1156] = astronaut[::2, ::2]
    persons = detector.detect(frame)
    assert len(persons) == 1
    assert persons.boxes[0, 0] > 880
    assert persons.boxes[0, 2] < 1180


def test_nobody_where_nobody_is(detector, landscape):
    assert len(detector.detect(landscape)) == 0
    assert len(detector.detect(np.zeros((360, 640, 3), np.uint8))) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (17, 9), (33, 417)])
def test_odd_and_tiny_pictures_give_well_formed_answers(detector, shape):
    persons = detector.detect(np.full((*shape, 3), 200, np.uint8))
    assert persons.boxes.shape == (len(persons), 4)
    assert persons.boxes.dtype == persons.scores.dtype == np.float32


def test_a_grey_picture_still_shows_its_person(detector, astronaut):
    grey = np.repeat(astronaut.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert len(detector.detect(grey)) == 1


def test_overlaps_keep_the_better_box_and_inner_boxes_go_only_on_request():
    boxes = np.asarray([[0, 0, 10, 10], [1, 0, 10, 10], [2, 2, 5, 5], [20, 0, 30, 10]], np.float32)
    scores = np.asarray([0.9, 0.95, 0.5, 0.4], np.float32)
    assert suppress_overlaps(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert suppress_overlaps(boxes, scores, 0.5, max_inside=0.8).tolist() == [1, 3]
