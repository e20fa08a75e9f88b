"""One OpenCV for all: what the reference packages use of cv2 works, and nothing complains where one is installed."""

from __future__ import annotations

import importlib.metadata
import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from funnel.main import app

FLAVOURS = sorted(set(importlib.metadata.packages_distributions().get("cv2", [])))


def test_cv2_is_whole() -> None:
    picture = np.full((8, 8, 3), 127, np.uint8)
    assert cv2.warpAffine(picture, np.eye(2, 3), (4, 4)).shape == (4, 4, 3)
    assert cv2.dnn.blobFromImage(picture, 1 / 127, (8, 8), swapRB=True).shape == (1, 3, 8, 8)
    assert cv2.imencode(".png", picture)[0]


@pytest.mark.skipif(len(FLAVOURS) > 1, reason=f"{', '.join(FLAVOURS)} are installed: `make reference` leaves one")
def test_doctor_has_nothing_to_say_about_opencv() -> None:
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert FLAVOURS == ["opencv-python-headless"]
    assert not [text for text in found["warnings"] if "opencv" in text]
