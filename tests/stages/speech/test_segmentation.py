"""Speaker segmentation: shapes, silence, and the windows over a long track (voices: see the tests of the stage)."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import weights
from stages.speech.segmentation import FRAME_STEP_S, POWERSET, WINDOW, SpeakerSegmentation, windows

WEIGHTS = Path(weights.__file__).parent


@pytest.fixture(scope="module")
def segmentation() -> SpeakerSegmentation:
    entries = json.loads((WEIGHTS / "embedded.json").read_text())
    (file,) = (entry["file"] for entry in entries if entry["name"] == "speaker_segmentation")
    return SpeakerSegmentation(WEIGHTS / "files" / file)


def test_nobody_speaks_in_silence(segmentation):
    activity = segmentation.activity(np.zeros(WINDOW, np.float32))
    assert activity.dtype == bool
    assert activity.shape[1] == 3
    assert len(activity) * FRAME_STEP_S == pytest.approx(10, abs=0.1)
    assert not activity.any()


def test_nobody_speaks_in_noise(segmentation):
    noise = np.random.default_rng(0).normal(0, 0.1, WINDOW).astype(np.float32)
    assert segmentation.activity(noise).mean() < 0.05


def test_rows_cover_only_the_sound_that_came(segmentation):
    assert len(segmentation.activity(np.zeros(WINDOW // 4, np.float32))) * FRAME_STEP_S == pytest.approx(2.5, abs=0.05)
    assert len(segmentation.activity(np.zeros(1, np.float32))) == 1


def test_probabilities_are_probabilities(segmentation):
    chances = segmentation.probabilities(np.sin(np.arange(WINDOW, dtype=np.float32) / 20))
    assert chances.min() >= 0
    assert chances.max() <= 1 + 1e-4


@pytest.mark.parametrize("samples", [np.zeros((2, 100)), np.zeros(0), np.zeros(WINDOW + 1)])
def test_wrong_input_is_refused_with_the_expected_shape(segmentation, samples):
    with pytest.raises(ValueError, match="expected 1 to 160000 mono samples"):
        segmentation.activity(samples)


def test_the_powerset_has_each_set_of_at_most_two_voices_once():
    assert len({tuple(row) for row in POWERSET}) == 7
    assert POWERSET.sum(axis=1).max() == 2


@pytest.mark.parametrize("n_samples", [1, WINDOW, WINDOW + 1, 3 * WINDOW + 777])
def test_windows_cover_the_track_and_none_is_longer_than_ten_seconds(n_samples):
    spans = windows(n_samples)
    assert spans[0][0] == 0
    assert spans[-1][1] == n_samples
    assert all(0 < end - start <= WINDOW for start, end in spans)
    assert all(start <= before_end for (_, before_end), (start, _) in itertools.pairwise(spans))
