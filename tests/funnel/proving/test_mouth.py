"""The reader tells from pixels how far a mouth is open, on videos that it was not fitted on."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from catalogs.media.film import write_film
from curation.demo.motion import Pose, head_poses
from curation.demo.portrait import Portrait, PortraitView
from curation.demo.visemes import Viseme
from funnel.proving.mouth import MouthReader, Spread, correlation, own_and_others, per_latent

N_FRAMES = 100


def babble(seed: int) -> list[Pose]:
    """Poses of somebody who moves lips and head for four seconds, as the tiny world's people do, without any sound."""
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.uniform(0.06, 0.2, 80))
    visemes = [
        Viseme(start, end, *random.uniform((0, -1), 1), closes=bool(random.random() < 0.2))
        for start, end in pairwise(starts)
    ]
    return head_poses(visemes, np.arange(N_FRAMES) / 25, seed)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    pytest.importorskip("skimage", reason="the portrait's photo (scikit-image) is not installed")
    return Portrait(PortraitView(96, 96, "close_up"))


@pytest.fixture(scope="module")
def reader(portrait: Portrait) -> MouthReader:
    tracks = [babble(seed) for seed in range(8)]
    videos = [np.stack([portrait.frame(pose) for pose in track]) for track in tracks]
    return MouthReader.fit(videos, [[pose.opening for pose in track] for track in tracks])


def test_an_unseen_mouth_is_read_with_r_over_99(portrait: Portrait, reader: MouthReader) -> None:
    for seed in (100, 101):
        track = babble(seed)
        read = reader.opening(np.stack([portrait.frame(pose) for pose in track]))
        assert (read.dtype, read.shape) == (np.float32, (N_FRAMES,))
        truth = [pose.opening for pose in track]
        assert np.corrcoef(read, truth)[0, 1] > 0.99
        assert np.abs(read - truth).mean() < 0.03, "on the scale of the truth"


def test_a_film_that_was_written_enlarged_and_decoded_is_read_as_well(
    portrait: Portrait, reader: MouthReader, tmp_path: Path
) -> None:
    track = babble(102)
    write_film(tmp_path / "film.mp4", (portrait.frame(pose) for pose in track), None, fps=25, scale=2)
    with av.open(str(tmp_path / "film.mp4")) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert frames.shape == (N_FRAMES, 192, 192, 3)
    assert np.corrcoef(reader.opening(frames), [pose.opening for pose in track])[0, 1] > 0.99


def test_sway_and_blinks_alone_are_not_read_as_speech(portrait: Portrait, reader: MouthReader) -> None:
    shut = np.stack([portrait.frame(pose) for pose in head_poses((), np.arange(N_FRAMES) / 25, seed=103)])
    assert np.abs(reader.opening(shut)).max() < 0.12


def test_noise_in_the_picture_hardly_matters(portrait: Portrait, reader: MouthReader) -> None:
    track = babble(104)
    clean = np.stack([portrait.frame(pose) for pose in track]).astype(float)
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 20, clean.shape), 0, 255).astype(np.uint8)
    assert np.corrcoef(reader.opening(noisy), [pose.opening for pose in track])[0, 1] > 0.95


def test_a_reader_without_frames_or_with_too_few_openings_is_refused() -> None:
    video = np.zeros((5, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(5, 4\)"):
        MouthReader.fit([video], [[0.0] * 4])
    with pytest.raises(ValueError, match="needs frames"):
        MouthReader.fit([], [])


def test_correlation_is_pearsons_and_a_constant_follows_nothing() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    assert correlation(a, a + 0.5 * b) == pytest.approx(np.corrcoef(a, a + 0.5 * b)[0, 1])
    assert correlation(a, -3 * a) == pytest.approx(-1)
    assert correlation(a, np.full(50, 0.7)) == 0
    with pytest.raises(ValueError, match="one length"):
        correlation(a, b[:-1])


def test_a_latent_has_the_mean_of_its_frames() -> None:
    opening = np.arange(9) ** 2
    assert per_latent(opening, 4).tolist() == [0, (1 + 4 + 9 + 16) / 4, (25 + 36 + 49 + 64) / 4]
    assert per_latent(opening, 1).tolist() == opening.tolist()
    with pytest.raises(ValueError, match="8 frames"):
        per_latent(opening[:8], 4)


def test_clips_are_compared_with_their_own_truth_and_with_all_others() -> None:
    truths = np.random.default_rng(1).normal(size=(3, 40))
    readings = truths + 0.1
    readings[:, 0] = 1000  # the frame that was given
    own, others = own_and_others(list(readings), list(truths), skip=1)
    assert own.values == pytest.approx([1, 1, 1])
    expected = [
        np.mean([np.corrcoef(truths[i, 1:], truths[j, 1:])[0, 1] for j in range(3) if j != i]) for i in range(3)
    ]
    assert others.values == pytest.approx(expected)
    assert own_and_others([truths[0][:30], truths[1]], list(truths[:2]))[0].mean == pytest.approx(1)
    with pytest.raises(ValueError, match="two clips"):
        own_and_others([truths[0]], [truths[0]])


def test_a_spread_says_mean_deviation_and_ends() -> None:
    spread = Spread((0.5, 1.0, 0.6))
    assert (spread.mean, spread.lowest, spread.highest) == (pytest.approx(0.7), 0.5, 1.0)
    assert spread.deviation == pytest.approx(np.std([0.5, 1.0, 0.6]))
    assert np.isnan([Spread(()).mean, Spread(()).deviation, Spread(()).lowest, Spread(()).highest]).all()
