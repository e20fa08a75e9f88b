"""Body landmarks on real pictures."""

from __future__ import annotations

import numpy as np
import pytest

from stages.vision.pose import LEFT_ANKLE, LEFT_SHOULDER, NOSE, RIGHT_ANKLE, RIGHT_SHOULDER, PoseEstimator


@pytest.fixture(scope="module")
def estimator(weight) -> PoseEstimator:
    return PoseEstimator(weight("pose_detector"), weight("pose_landmarks"))


def test_shoulders_are_below_the_nose_and_on_their_own_sides(estimator, astronaut):
    pose = estimator.estimate(astronaut)
    assert pose is not None
    assert pose.score > 0.8
    nose, left, right = (pose.landmarks[index, :2] for index in (NOSE, LEFT_SHOULDER, RIGHT_SHOULDER))
    assert left[1] > nose[1] + 30
    assert right[1] > nose[1] + 30
    assert right[0] < nose[0] < left[0]
    assert 190 < nose[0] < 250
    assert 110 < nose[1] < 200


def test_ankles_outside_the_picture_are_not_visible(estimator, astronaut):
    pose = estimator.estimate(astronaut)
    visible = pose.visible(astronaut.shape)
    assert visible[[NOSE, LEFT_SHOULDER, RIGHT_SHOULDER]].all()
    assert not visible[[LEFT_ANKLE, RIGHT_ANKLE]].any()


def test_the_region_of_interest_picks_the_person(estimator, astronaut):
    pair = np.hstack([astronaut, astronaut])
    left = estimator.estimate(pair, np.asarray([0, 0, 470, 512], np.float32))
    right = estimator.estimate(pair, np.asarray([530, 0, 1000, 512], np.float32))
    assert left.landmarks[NOSE, 0] < 512 < right.landmarks[NOSE, 0]


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (360, 640)])
def test_no_body_in_an_empty_picture(estimator, shape):
    assert estimator.estimate(np.zeros((*shape, 3), np.uint8)) is None
